# SPDX-License-Identifier: Apache-2.0
"""SharedDeque: a deque's manners, waiting, handles and bad input, in one process."""

import collections
import pickle
import threading
import time

import pytest

import ipcsys
from ipcsys import SharedDeque


@pytest.fixture
def shared():
    with SharedDeque() as shared:
        yield shared
        assert shared.closed or shared.check() == []


def test_the_everyday_methods_do_what_those_of_deque_do(shared):
    plain = collections.deque()
    for both in (shared, plain):
        both.append(1)
        both.appendleft(0)
        both.extend([2, "three", b"four" * 100])
        both.extendleft([-1, -2])
        assert list(both) == [-2, -1, 0, 1, 2, "three", b"four" * 100]
        assert both[0] == -2 and both[-1] == b"four" * 100 and both[3] == 1 and len(both) == 7
        both[1] = [1, 2]
        both[-1] = "last"
        assert list(reversed(both)) == ["last", "three", 2, 1, 0, [1, 2], -2]
        assert both.pop() == "last" and both.popleft() == -2
        assert "three" in both and "four" not in both
        for index in (5, -6, 10**30):
            with pytest.raises(IndexError):
                both[index]
            with pytest.raises(IndexError):
                both[index] = 1
        with pytest.raises(TypeError):
            both["x"]
        both += [5]
        assert both == collections.deque([[1, 2], 0, 1, 2, "three", 5])
        both.clear()
        assert len(both) == 0 and not both and both.maxlen is None
        for pop in (both.pop, both.popleft):
            with pytest.raises(IndexError):
                pop()
    assert isinstance(shared, SharedDeque)


@pytest.mark.parametrize("maxlen", [0, 1, 3])
def test_append_at_the_limit_drops_the_other_end(maxlen):
    plain = collections.deque(range(5), maxlen)
    with SharedDeque(range(5), maxlen) as shared:
        assert shared == plain and shared.maxlen == maxlen and repr(shared)[6:] == repr(plain)[0:].replace("deque", "Deque", 1)
        for both in (shared, plain):
            both.append("r")
            both.appendleft("l")
            both.extend("abcdef")
            both.extendleft("xy")
        assert shared == plain and shared.copy() == plain and shared.copy().maxlen == maxlen


def test_push_refuses_when_full(shared):
    assert shared.push(1) is True
    with SharedDeque(maxlen=2) as limited:
        assert limited.push(1) and limited.push(2)
        assert limited.push(3) is False and list(limited) == [1, 2]
        started = time.monotonic()
        assert limited.push(3, timeout=0.1) is False and limited.push(3, 0.05) is False
        assert 0.14 < time.monotonic() - started < 5
        limited.popleft()
        assert limited.push(3, timeout=None) is True and list(limited) == [2, 3]


def test_pop_with_a_timeout_raises_empty_in_time(shared):
    for pop in (shared.pop, shared.popleft):
        started = time.monotonic()
        with pytest.raises(ipcsys.Empty):
            pop(timeout=0.1)
        with pytest.raises(ipcsys.Empty):
            pop(0)
        assert 0.09 < time.monotonic() - started < 5
    shared.append(1)
    assert shared.pop(timeout=None) == 1


def test_a_waiting_pop_gets_what_is_pushed(shared):
    got = []
    threads = [
        threading.Thread(target=lambda: got.append(shared.popleft(timeout=20))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    for number in range(3):
        shared.append(number)
    shared.extend([3, 4])
    for thread in threads:
        thread.join(20)
    assert sorted(got) == [0, 1, 2, 3, 4]


def test_a_waiting_push_gets_the_space_of_a_pop():
    with SharedDeque([1], maxlen=1) as limited:
        done = []
        threads = [
            threading.Thread(target=lambda: done.append(limited.push(2, timeout=20)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        assert limited.pop() == 1
        assert limited.pop(timeout=20) == 2 and limited.pop(timeout=20) == 2
        for thread in threads:
            thread.join(20)
        assert done == [True, True]


def test_closing_ends_a_wait():
    shared = SharedDeque()
    caught = []

    def wait():
        with pytest.raises(ipcsys.Closed):
            shared.pop(timeout=20)
        caught.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    started = time.monotonic()
    shared.close()
    thread.join(20)
    assert caught and time.monotonic() - started < 5


@pytest.mark.parametrize("timeout", ["1", float("nan"), -1, []])
def test_odd_timeouts_are_refused(shared, timeout):
    shared.append(1)
    for use in (shared.pop, shared.popleft):
        with pytest.raises((TypeError, ValueError)):
            use(timeout=timeout)
    with pytest.raises((TypeError, ValueError)):
        shared.push(1, timeout=timeout)
    with pytest.raises(TypeError):
        shared.pop(1, 2)
    with pytest.raises(TypeError):
        shared.pop(time=1)
    with pytest.raises(TypeError):
        shared.push()
    assert list(shared) == [1]


@pytest.mark.parametrize(("maxlen", "error"), [(-1, ValueError), ("5", TypeError), (2**70, OverflowError)])
def test_odd_limits_are_refused(maxlen, error):
    with pytest.raises(error):
        SharedDeque(maxlen=maxlen)


def test_long_deques_grow_and_shrink(shared):
    plain = collections.deque()
    for number in range(5000):
        for both in (shared, plain):
            both.append(b"v" * (number % 50))
            if number % 3 == 0:
                both.appendleft(number)
    assert shared == plain and shared.check() == []
    while len(plain) > 10:
        assert shared.popleft() == plain.popleft() and shared.pop() == plain.pop()
    assert shared == plain and shared.check() == []
    shared.extend(range(100_000))
    assert len(shared) == len(plain) + 100_000 and shared[-1] == 99_999
    shared.clear()
    shared.append(1)
    assert list(shared) == [1]


def test_the_limit_is_the_creators():
    with SharedDeque("ab", 5, name="d") as first, SharedDeque("xyz", 2, name="d") as second:
        assert second.maxlen == 5 and list(second) == ["a", "b"]
        second.append("c")
        assert first == second


def test_a_pickled_deque_is_the_same_deque(shared):
    with pickle.loads(pickle.dumps(shared)) as other:
        other.append(5)
        assert shared.pop() == 5


def test_a_closed_deque_raises_closed_from_everything():
    shared = SharedDeque([1])
    shared.close()
    for use in (
        lambda: shared.append(1),
        lambda: shared.appendleft(1),
        lambda: shared.extend([1]),
        lambda: shared.push(1),
        lambda: shared.pop(),
        lambda: shared.popleft(timeout=1),
        lambda: shared[0],
        lambda: shared.__setitem__(0, 1),
        lambda: len(shared),
        lambda: list(shared),
        lambda: 1 in shared,
        lambda: shared.clear(),
        lambda: shared.maxlen,
    ):
        with pytest.raises(ipcsys.Closed):
            use()
