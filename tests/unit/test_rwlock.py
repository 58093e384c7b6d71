# SPDX-License-Identifier: Apache-2.0
"""RWLock: readers and writers, upgrades, names, handles and bad input, within one process."""

import gc
import os
import pickle
import signal
import threading
import time
import weakref

import pytest
from child import until

import ipcsys
from ipcsys import RWLock, Segment, _core


def in_thread(work):
    """Start it; join() returns what it returned or raises what it raised."""
    outcome = []

    def run():
        try:
            outcome.append((work(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join():
        thread.join(10)
        assert outcome, "the thread hangs"
        value, error = outcome[0]
        if error:
            raise error
        return value

    return join


def test_readers_share_and_writers_do_not():
    lock = RWLock()
    assert lock.acquire_read() is True and lock.acquire_read(False) is True
    assert (lock.readers, lock.writer) == (2, None)
    assert lock.acquire_write(False) is False and lock.acquire_write(timeout=0.02) is False
    lock.release_read()
    lock.release_read()
    assert lock.acquire_write() is True
    assert (lock.readers, lock.writer) == (0, os.getpid())
    assert in_thread(lambda: lock.acquire_read(timeout=0.02))() is False
    assert in_thread(lambda: lock.try_write())() is False
    lock.release_write()
    assert lock.try_write() is True
    lock.release_write()
    assert lock.try_read() is True
    lock.release_read()
    assert lock.check() == []


def test_with_statements_release_whatever_is_held_at_their_end():
    lock = RWLock()
    with lock.read() as held:
        assert held is lock and lock.readers == 1
        lock.upgrade()
        assert lock.writer == os.getpid()
    with lock.write():
        lock.downgrade()
        assert lock.readers == 1 and lock.writer is None
    with pytest.raises(KeyError), lock.write():
        raise KeyError
    assert (lock.readers, lock.writer) == (0, None)
    guard = lock.read()
    with guard, guard:
        assert lock.readers == 2
    assert lock.readers == 0


def test_a_guard_outlives_the_name_of_its_lock():
    guard = RWLock().write()
    with guard as lock:
        assert lock.writer == os.getpid()
    del lock, guard


def test_a_guard_that_must_not_wait_raises_timeout():
    lock = RWLock()
    with lock.write():
        for make in (lock.read, lock.write):
            for timeout in (0, 0.01):

                def work(make=make, timeout=timeout):
                    with make(timeout):
                        pass

                with pytest.raises(ipcsys.Timeout):
                    in_thread(work)()
                with pytest.raises(TimeoutError):
                    with make(timeout=timeout):
                        pass
    with lock.read(timeout=5), lock.read(None):
        pass


@pytest.mark.parametrize("method", ["acquire_read", "acquire_write", "upgrade"])
def test_bad_arguments_of_acquire_raise_and_take_nothing(method):
    lock = RWLock()
    for arguments, keywords, error in [
        ((False, 1), {}, ValueError),
        ((True, -2), {}, ValueError),
        ((), {"timeout": float("nan")}, ValueError),
        ((), {"timeout": 1e30}, OverflowError),
        ((), {"timeout": "1"}, TypeError),
        ((), {"wait": 1}, TypeError),
        ((), {"blocking": True, "block": True}, TypeError),
        ((1, 2, 3), {}, TypeError),
    ]:
        with pytest.raises(error):
            getattr(lock, method)(*arguments, **keywords)
    assert (lock.readers, lock.writer) == (0, None)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error"),
    [
        ((-1,), {}, ValueError),
        (("1",), {}, TypeError),
        ((float("nan"),), {}, ValueError),
        ((1, 2), {}, TypeError),
        ((), {"deadline": 1}, TypeError),
    ],
)
def test_bad_arguments_of_guards_raise(arguments, keywords, error):
    lock = RWLock()
    for make in (lock.read, lock.write):
        with pytest.raises(error):
            make(*arguments, **keywords)


def test_releasing_what_is_not_held_raises_not_held():
    lock = RWLock(name="door")
    calls = [lock.release_read, lock.release_write, lock.downgrade, lock.upgrade]
    for call in calls:
        with pytest.raises(ipcsys.NotHeld, match="door"):
            call()
    with lock.read():
        for call in (lock.release_write, lock.downgrade):
            with pytest.raises(RuntimeError):
                call()
    with lock.write():
        for call in (lock.release_read, lock.upgrade):
            with pytest.raises(ipcsys.NotHeld):
                call()
    assert (lock.readers, lock.writer) == (0, None)


def test_another_thread_or_handle_may_release():
    lock = RWLock(name="door")
    other = RWLock(name="door")
    lock.acquire_read()
    other.release_read()
    lock.acquire_write()
    in_thread(other.release_write)()
    other.acquire_read()
    in_thread(lock.release_read)()
    assert (other.readers, other.writer) == (0, None)


def test_a_waiting_writer_comes_before_new_readers():
    lock = RWLock()
    lock.acquire_read()
    writes = in_thread(lock.acquire_write)
    until(lambda: in_thread(lock.try_read)() is False or lock.release_read())
    assert in_thread(lambda: lock.acquire_read(timeout=0.6))() is False  # longer than any slice
    lock.release_read()
    assert writes() is True and lock.writer == os.getpid()
    lock.release_write()


def test_a_thread_that_reads_may_read_again_while_a_writer_waits():
    lock = RWLock()
    lock.acquire_read()
    writes = in_thread(lock.acquire_write)
    until(lambda: in_thread(lock.try_read)() is False or lock.release_read())
    assert lock.acquire_read(timeout=5) is True
    lock.release_read()
    lock.release_read()
    assert writes() is True
    lock.release_write()


def test_readers_who_waited_come_before_the_next_writer():
    lock, order = RWLock(), []
    lock.acquire_write()

    def write():
        lock.acquire_write()
        order.append("w")
        lock.release_write()

    def read():
        lock.acquire_read()
        order.append("r")
        time.sleep(0.05)
        lock.release_read()

    joins = [in_thread(write), in_thread(read), in_thread(read)]
    time.sleep(0.3)
    lock.release_write()
    for join in joins:
        join()
    assert order == ["r", "r", "w"]


def test_neither_readers_nor_writers_starve():
    lock, stop = RWLock(), threading.Event()
    counts = {"r": 0, "w": 0}

    def work(kind, acquire, release):
        while not stop.is_set():
            assert acquire(timeout=20)
            counts[kind] += 1
            release()

    joins = [
        in_thread(lambda: work("r", lock.acquire_read, lock.release_read)) for _ in range(2)
    ] + [in_thread(lambda: work("w", lock.acquire_write, lock.release_write)) for _ in range(2)]
    until(lambda: min(counts.values()) > 50, 20)
    stop.set()
    for join in joins:
        join()
    assert (lock.readers, lock.writer, lock.check()) == (0, None, [])


def test_an_upgrade_lets_nobody_write_in_between():
    lock, log = RWLock(), []
    lock.acquire_read()

    def write():
        with lock.write():
            log.append("stranger")

    stranger = in_thread(write)
    until(lambda: in_thread(lock.try_read)() is False or lock.release_read())
    assert lock.upgrade(timeout=5) is True  # although a writer waited first
    log.append("upgraded")
    lock.release_write()
    stranger()
    assert log == ["upgraded", "stranger"]


def test_an_upgrade_waits_for_other_readers_and_keeps_the_read_when_it_fails():
    lock = RWLock()
    lock.acquire_read()
    lock.acquire_read()  # another reader, for all the lock knows
    assert lock.upgrade(False) is False and lock.upgrade(timeout=0.02) is False
    assert lock.readers == 2
    lock.release_read()
    assert lock.upgrade() is True
    lock.release_write()


def test_the_second_of_two_upgraders_is_told_so():
    lock = RWLock()
    lock.acquire_read()
    lock.acquire_read()
    first = in_thread(lock.upgrade)
    until(lambda: in_thread(lock.try_read)() is False or lock.release_read())
    with pytest.raises(ipcsys.DeadlockError):
        lock.upgrade()
    with pytest.raises(RuntimeError):
        lock.upgrade(timeout=1)
    lock.release_read()
    assert first() is True
    lock.release_write()


def test_a_downgrade_lets_readers_in_and_no_writer():
    lock = RWLock()
    lock.acquire_write()
    reads, writes = in_thread(lock.acquire_read), in_thread(lambda: lock.acquire_write(timeout=5))
    time.sleep(0.1)
    lock.downgrade()
    assert reads() is True and lock.writer is None and lock.readers == 2
    lock.release_read()
    lock.release_read()
    assert writes() is True
    lock.release_write()


def test_ctrl_c_ends_any_wait():
    lock = RWLock()
    in_thread(lock.acquire_write)()
    for wait in (lock.acquire_read, lock.acquire_write, lock.read().__enter__):
        timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
        timer.start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            wait()
        assert time.monotonic() - start < 5
        timer.join()
    lock.downgrade()
    lock.acquire_read()
    timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        lock.upgrade()
    timer.join()
    assert lock.readers == 2
    lock.release_read()
    assert lock.upgrade(False)
    lock.release_write()


def test_a_timeout_ends_neither_early_nor_much_too_late():
    lock = RWLock()
    lock.acquire_write()
    for acquire in (lock.acquire_read, lock.acquire_write):
        start = time.monotonic()
        assert acquire(timeout=0.3) is False
        assert 0.3 <= time.monotonic() - start < 1.5


def test_a_name_is_one_lock_for_all_handles():
    first, second = RWLock(name="door"), RWLock(name="door")
    with first.read():
        assert second.readers == 1 and not second.try_write()
    with second.write():
        assert not first.try_read()
    with pytest.raises(ipcsys.MismatchError, match=r"'door' is an? RWLock, not an? Lock"):
        ipcsys.Lock(name="door")
    first.close()
    second.close()
    RWLock.remove("door")
    with pytest.raises(ipcsys.NotFound):
        RWLock(name="door", create=False)


def test_a_closed_handle_refuses_every_call():
    lock = RWLock(name="door")
    guard = lock.read()
    lock.close()
    lock.close()
    assert lock.closed and lock.name is None and "closed" in repr(lock)
    calls = [
        lock.acquire_read, lock.acquire_write, lock.try_read, lock.try_write, lock.release_read,
        lock.release_write, lock.upgrade, lock.downgrade, lock.check, lock.__enter__,
        lock.__reduce__, guard.__enter__, lambda: guard.__exit__(None, None, None),
        lambda: lock.readers, lambda: lock.writer, lambda: lock.abandoned,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ipcsys.Closed):
            call()
    with pytest.raises(ipcsys.Closed):
        RWLock.__new__(RWLock).try_read()


def test_close_wakes_the_threads_that_wait_on_the_handle():
    for method in ("acquire_read", "acquire_write"):
        holder, lock = RWLock(name="door"), RWLock(name="door")
        holder.acquire_write()
        waits = in_thread(getattr(lock, method))
        time.sleep(0.1)
        lock.close()
        with pytest.raises(ipcsys.Closed):
            waits()
        holder.release_write()
        assert holder.try_write() is True
        holder.release_write()


class Named(RWLock):
    """A subclass with its own state."""

    def __init__(self, label):
        super().__init__()
        self.label = label


def test_subclasses_keep_their_state_through_a_pickle():
    lock = Named("red")
    copy = pickle.loads(pickle.dumps(lock))
    assert type(copy) is Named and copy.label == "red"
    with lock.read():
        assert copy.readers == 1
    assert weakref.ref(copy)() is copy
    with pytest.raises(TypeError):
        pickle.dumps(lock.read())


def test_it_stands_in_a_segment_too():
    with Segment("hall", size="256 KiB", cleanup="last") as segment:
        lock = segment.construct(RWLock, "door")
        other = segment.find("door")
        assert type(other) is RWLock and other.name == "door"
        with lock.read():
            assert other.readers == 1 and not other.try_write()
        copy = pickle.loads(pickle.dumps(lock))
        with copy.write():
            assert not lock.try_read()
        segment.destroy("door")
        with pytest.raises(ipcsys.ObjectGone):
            lock.acquire_read()
        for handle in (lock, other, copy):
            handle.close()
        assert segment.check() == []


def test_many_made_and_dropped_leave_no_cells():
    keep = RWLock()
    locks = [RWLock() for _ in range(300)]
    for lock in locks[::3]:
        lock.acquire_read()
        lock.release_read()
    del locks, lock
    gc.collect()
    RWLock()
    assert _core.cells()["used"] == 1 and _core.check_cells() == []
    assert keep.try_read() is True


def test_a_new_lock_in_a_used_cell_is_free():
    first = RWLock()
    first.acquire_write()
    del first
    second = RWLock()
    assert second.try_read() is True and second.abandoned is False and second.readers == 1
