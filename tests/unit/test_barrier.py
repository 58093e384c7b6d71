# SPDX-License-Identifier: Apache-2.0
"""Barrier: what CPython's own tests do not ask, within one process."""

import gc
import pickle
import signal
import threading
import time
import weakref

import pytest
from child import until

import ipcsys
from ipcsys import Barrier, Segment, _core


def meeting(barrier, count, *arguments):
    """So many threads wait; a function that joins them and returns what they got."""
    got = []

    def wait():
        try:
            got.append(barrier.wait(*arguments))
        except Exception as error:
            got.append(type(error))

    threads = [threading.Thread(target=wait, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()

    def join():
        for thread in threads:
            thread.join(10)
        assert len(got) == count, "a thread hangs"
        return sorted(got, key=str)

    return join


def test_each_party_gets_an_index_of_its_own_round_after_round():
    barrier = Barrier(4)
    for _ in range(50):
        assert meeting(barrier, 4)() == [0, 1, 2, 3]
    assert barrier.parties == 4 and barrier.n_waiting == 0 and not barrier.broken
    assert barrier.check() == []


def test_the_last_one_acts_before_any_goes_on():
    log = []

    def act():
        time.sleep(0.05)
        log.append("acted")

    barrier = Barrier(3, act)
    waits = meeting(barrier, 2)
    until(lambda: barrier.n_waiting == 2)
    assert log == [] and barrier.wait() == 2 and log == ["acted"]
    assert waits() == [0, 1]


def test_an_action_that_raises_breaks_the_barrier():
    barrier = Barrier(2, lambda: 1 / 0)
    waits = meeting(barrier, 1)
    until(lambda: barrier.n_waiting == 1)
    with pytest.raises(ZeroDivisionError):
        barrier.wait()
    assert waits() == [ipcsys.BrokenBarrierError] and barrier.broken


def test_more_threads_than_parties_go_in_turns():
    barrier = Barrier(2, lambda: time.sleep(0.01))
    assert meeting(barrier, 10)() == [0] * 5 + [1] * 5


def test_a_wait_that_times_out_while_the_last_one_acts_is_no_break():
    barrier = Barrier(2, lambda: time.sleep(0.3))
    waits = meeting(barrier, 1, 0.1)
    until(lambda: barrier.n_waiting == 1)
    assert barrier.wait() == 1
    assert waits() == [0] and not barrier.broken


def test_a_timeout_breaks_it_for_all():
    barrier = Barrier(3)
    waits = meeting(barrier, 1)
    until(lambda: barrier.n_waiting == 1)
    start = time.monotonic()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(0.1)
    assert 0.1 <= time.monotonic() - start < 2
    assert waits() == [ipcsys.BrokenBarrierError]
    with pytest.raises(RuntimeError):
        barrier.wait()
    barrier.reset()
    assert not barrier.broken and meeting(barrier, 3)() == [0, 1, 2]


def test_the_timeout_of_the_barrier_holds_where_a_wait_says_none():
    barrier = Barrier(2, timeout=0.05)
    with pytest.raises(ipcsys.BrokenBarrierError):
        barrier.wait()
    barrier.reset()
    with pytest.raises(ipcsys.BrokenBarrierError):
        barrier.wait(timeout=None)
    barrier.reset()
    waits = meeting(barrier, 1, 5)
    until(lambda: barrier.n_waiting == 1)
    time.sleep(0.1)
    assert barrier.wait() == 1 and waits() == [0]


@pytest.mark.parametrize("timeout", [0, -1])
def test_no_time_at_all_breaks_it_unless_one_is_the_last(timeout):
    barrier = Barrier(2)
    with pytest.raises(ipcsys.BrokenBarrierError):
        barrier.wait(timeout)
    assert barrier.broken
    assert Barrier(1).wait(timeout) == 0


@pytest.mark.parametrize(
    ("arguments", "keywords", "error"),
    [
        ((), {}, TypeError),
        ((None,), {}, TypeError),
        ((0,), {}, ValueError),
        ((-1,), {}, ValueError),
        ((70_000,), {}, ValueError),
        ((2.0,), {}, TypeError),
        (("2",), {}, TypeError),
        ((2, 5), {}, TypeError),
        ((2, None, "1"), {}, TypeError),
        ((2, None, float("nan")), {}, ValueError),
        ((2,), {"colour": "red"}, TypeError),
        ((2, None, None, "name"), {}, TypeError),
    ],
)
def test_bad_arguments_raise(arguments, keywords, error):
    with pytest.raises(error):
        Barrier(*arguments, **keywords)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error"),
    [
        (("1",), {}, TypeError),
        ((float("nan"),), {}, ValueError),
        ((1, 2), {}, TypeError),
        ((), {"deadline": 1}, TypeError),
    ],
)
def test_bad_arguments_of_wait_raise_and_count_nobody(arguments, keywords, error):
    barrier = Barrier(2)
    with pytest.raises(error):
        barrier.wait(*arguments, **keywords)
    assert barrier.n_waiting == 0 and not barrier.broken


def test_ctrl_c_ends_a_wait_and_the_barrier_stays_whole():
    barrier = Barrier(2)
    timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        barrier.wait()
    timer.join()
    assert barrier.n_waiting == 0 and not barrier.broken
    assert meeting(barrier, 2)() == [0, 1]


def test_names_agree_on_the_number_of_parties():
    barrier = Barrier(2, name="gate")
    with pytest.raises(ipcsys.MismatchError, match="'gate' is a Barrier of 2 parties, not of 3"):
        Barrier(3, name="gate")
    other = Barrier(name="gate", create=False)
    assert other.parties == 2 and other.name == "gate"
    waits = meeting(other, 1)
    assert barrier.wait(5) in (0, 1)
    waits()
    with pytest.raises(ipcsys.MismatchError, match=r"'gate' is a Barrier, not an? Event"):
        ipcsys.Event(name="gate")
    other.close()
    barrier.close()
    Barrier.remove("gate")


def test_a_closed_handle_refuses_every_call():
    barrier = Barrier(2)
    barrier.close()
    barrier.close()
    assert barrier.closed and "closed" in repr(barrier)
    calls = [
        barrier.wait, barrier.abort, barrier.reset, barrier.check, barrier.__enter__,
        barrier.__reduce__, lambda: barrier.parties, lambda: barrier.n_waiting,
        lambda: barrier.broken,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ipcsys.Closed):
            call()


def test_close_wakes_the_threads_that_wait_on_the_handle():
    barrier, other = Barrier(2, name="gate"), Barrier(2, name="gate")
    waits = meeting(other, 1)
    until(lambda: barrier.n_waiting == 1)
    other.close()
    assert waits() == [ipcsys.Closed]
    assert barrier.n_waiting == 0 and not barrier.broken
    assert meeting(barrier, 2)() == [0, 1]


class Named(Barrier):
    """A subclass with its own state."""

    def __init__(self, label):
        super().__init__(2, print, 7)
        self.label = label


def test_a_pickle_has_the_same_parties_action_and_timeout(capsys):
    barrier = Named("red")
    copy = pickle.loads(pickle.dumps(barrier))
    assert type(copy) is Named and copy.label == "red" and copy.parties == 2
    waits = meeting(barrier, 1)
    until(lambda: copy.n_waiting == 1)
    assert copy.wait() == 1 and waits() == [0]
    assert capsys.readouterr().out == "\n"
    assert weakref.ref(copy)() is copy
    for state in (None, (), ({}, 5, None), ({}, None, "x"), ({}, None)):
        with pytest.raises(TypeError):
            copy.__setstate__(state)


def test_a_barrier_and_its_action_may_know_each_other():
    class Machine:
        def __init__(self):
            self.barrier = Barrier(1, self.act)
            self.acts = 0

        def act(self):
            self.acts += 1

    machine = Machine()
    machine.barrier.wait()
    assert machine.acts == 1
    gone = weakref.ref(machine)
    del machine
    gc.collect()
    assert gone() is None
    Barrier(1)
    assert _core.check_cells() == [] and _core.cells()["used"] <= 1


def test_it_stands_in_a_segment_too():
    with Segment("hall", size="256 KiB", cleanup="last") as segment:
        barrier = segment.construct(Barrier, "gate", 2)
        other = segment["gate"]
        assert type(other) is Barrier and other.parties == 2
        waits = meeting(other, 1)
        assert barrier.wait(5) in (0, 1)
        waits()
        with pytest.raises(ipcsys.MismatchError):
            segment.find_or_construct(Barrier, "gate", 3)
        segment.destroy("gate")
        with pytest.raises(ipcsys.ObjectGone):
            barrier.wait()
        barrier.close()
        other.close()
        assert segment.check() == []


def test_an_action_may_use_the_barrier_otherwise():
    barrier = Barrier(2, lambda: seen.append((barrier.n_waiting, barrier.broken)))
    seen = []
    assert meeting(barrier, 2)() == [0, 1] and seen == [(2, False)]
    breaking = Barrier(2, lambda: breaking.abort())
    assert meeting(breaking, 2)() == [ipcsys.BrokenBarrierError] * 2


def test_a_signal_handler_that_returns_does_not_end_the_wait():
    barrier, seen = Barrier(2), []
    old = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    try:
        timers = [
            threading.Timer(0.05, signal.raise_signal, [signal.SIGUSR1]),
            threading.Timer(0.4, barrier.wait),
        ]
        for timer in timers:
            timer.start()
        assert barrier.wait() in (0, 1) and seen == [1]
        for timer in timers:
            timer.join()
    finally:
        signal.signal(signal.SIGUSR1, old)
