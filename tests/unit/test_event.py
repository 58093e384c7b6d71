# SPDX-License-Identifier: Apache-2.0
"""Event: threading's manners, names and bad input, within one process."""

import pickle
import signal
import threading
import time

import pytest

import ipcsys
from ipcsys import Event


def test_set_and_clear_are_seen_by_all_handles():
    first, second = Event(name="start"), Event(name="start")
    assert not first.is_set()
    second.set()
    assert first.is_set() and first.wait() is True
    first.set()
    first.clear()
    first.clear()
    assert not second.is_set()


def test_wait_says_whether_it_was_set():
    event = Event()
    start = time.monotonic()
    assert event.wait(0.1) is False
    assert time.monotonic() - start >= 0.1
    assert event.wait(timeout=0) is False
    assert event.wait(-1) is False
    event.set()
    assert event.wait(0) is True and event.wait(timeout=None) is True


def test_set_wakes_every_waiter_even_if_cleared_at_once():
    event, results = Event(), []
    threads = [threading.Thread(target=lambda: results.append(event.wait(10))) for _ in range(20)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    start = time.monotonic()
    event.set()
    event.clear()
    for thread in threads:
        thread.join(10)
    assert results == [True] * 20
    assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    ("arguments", "keywords", "error"),
    [
        (("1",), {}, TypeError),
        ((float("nan"),), {}, ValueError),
        ((1, 2), {}, TypeError),
        ((), {"time": 1}, TypeError),
        ((1,), {"timeout": 1}, TypeError),
    ],
)
def test_bad_arguments_of_wait_raise(arguments, keywords, error):
    with pytest.raises(error):
        Event().wait(*arguments, **keywords)


def test_a_huge_timeout_is_for_ever():
    event = Event()
    threading.Timer(0.05, event.set).start()
    assert event.wait(1e300) is True
    assert event.wait(float("inf")) is True


def test_ctrl_c_ends_the_wait():
    event = Event()
    for timeout in (None, 20):
        timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
        timer.start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            event.wait(timeout)
        assert time.monotonic() - start < 5
        timer.join()


def test_a_pickled_event_is_the_same_event():
    event = Event()
    copy = pickle.loads(pickle.dumps(event))
    copy.set()
    assert event.is_set()


def test_a_closed_event_refuses_every_call():
    event = Event()
    with event as same:
        assert same is event
    for call in (event.is_set, event.set, event.clear, event.wait, event.__enter__):
        with pytest.raises(ipcsys.Closed):
            call()
    assert "closed" in repr(event) and event.closed


def test_close_wakes_the_threads_that_wait_on_the_handle():
    event, heard = Event(), []

    def wait():
        try:
            event.wait()
        except ipcsys.Closed as error:
            heard.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    event.close()
    thread.join(5)
    assert len(heard) == 1


def test_the_repr_names_it():
    assert "'start'" in repr(Event(name="start"))
