# SPDX-License-Identifier: Apache-2.0
"""RLock: threading's manners, recursion, handles and bad input, within one process."""

import os
import pickle
import signal
import threading
import time
import weakref

import pytest
from child import until

import ipcsys
from ipcsys import RLock, Segment


def in_thread(call):
    """What `call` returns, or raises, in a thread of its own."""
    found = []

    def run():
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    return found[0]


def test_its_thread_takes_it_again_and_others_wait():
    lock = RLock()
    for _ in range(3):
        assert lock.acquire() is True
    assert lock._recursion_count() == 3 and lock._is_owned()
    assert in_thread(lambda: lock.acquire(False)) is False
    for left in (2, 1, 0):
        assert in_thread(lambda: lock.acquire(timeout=0.01)) is False
        lock.release()
        assert lock._recursion_count() == left
    assert in_thread(lambda: (lock.acquire(False), lock.release())) == (True, None)


def test_acquire_takes_threadings_and_multiprocessings_spellings():
    lock = RLock()
    assert lock.acquire(blocking=True) and lock.acquire(block=False) and lock.acquire(True, 0)
    assert lock.acquire(False, None) and lock.acquire(timeout=None)
    assert lock._recursion_count() == 5


@pytest.mark.parametrize(
    ("arguments", "keywords", "error"),
    [
        ((False, 1), {}, ValueError),
        ((True, -2), {}, ValueError),
        ((), {"timeout": float("nan")}, ValueError),
        ((), {"timeout": 1e30}, OverflowError),
        ((), {"timeout": "1"}, TypeError),
        ((), {"wait": 1}, TypeError),
        ((True,), {"block": True}, TypeError),
        ((1, 2, 3), {}, TypeError),
    ],
)
def test_bad_arguments_of_acquire_raise_and_take_nothing(arguments, keywords, error):
    lock = RLock()
    with pytest.raises(error):
        lock.acquire(*arguments, **keywords)
    assert not lock.locked() and not lock._is_owned()


def test_only_its_thread_may_release_it():
    lock = RLock(name="door")
    with pytest.raises(ipcsys.NotHeld, match="cannot release un-acquired lock"):
        lock.release()
    lock.acquire()
    assert type(in_thread(lock.release)) is ipcsys.NotHeld
    assert issubclass(ipcsys.NotHeld, RuntimeError)
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()


def test_release_save_gives_all_takings_and_acquire_restore_takes_them_back():
    lock = RLock()
    with pytest.raises(RuntimeError):
        lock._release_save()
    lock.acquire()
    lock.acquire()
    saved = lock._release_save()
    assert saved[0] == 2 and not lock.locked()
    assert in_thread(lambda: lock.acquire(False) and lock.release()) is None
    assert lock._acquire_restore(saved) is None
    assert lock._recursion_count() == 2
    for wrong in (None, (), (1,), (1, "x")):
        with pytest.raises(TypeError):
            lock._acquire_restore(wrong)


def test_the_context_manager_nests():
    lock = RLock()
    with lock as first, lock:
        assert first is True and lock._recursion_count() == 2
    assert not lock.locked()


def test_its_text_says_who_holds_it_and_how_often():
    lock, named = RLock(), RLock(name="door")
    assert repr(lock).startswith("<unlocked ipcsys.RLock object owner=0 count=0 at 0x")
    with named, named:
        text = f"<locked ipcsys.RLock object 'door' owner={os.getpid()} count=2 at 0x"
        assert repr(named).startswith(text)
        assert named.owner == os.getpid() and named.locked() and not named.abandoned


def test_a_timeout_ends_neither_early_nor_much_too_late():
    lock = RLock()

    def wait():
        start = time.monotonic()
        return lock.acquire(timeout=0.15), time.monotonic() - start

    with lock:
        taken, seconds = in_thread(wait)
    assert taken is False and 0.15 <= seconds < 1.0


def test_many_threads_exclude_one_another():
    lock, inside, most = RLock(), [], []

    def work():
        for _ in range(200):
            with lock, lock:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert max(most) == 1 and len(most) == 1200


def hold_elsewhere(lock):
    """A thread that holds it until the event is set."""
    held, go = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            go.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    return thread, go


def test_ctrl_c_ends_any_wait():
    lock = RLock()
    thread, go = hold_elsewhere(lock)
    for wait in (lock.acquire, lambda: lock.acquire(timeout=20), lock.__enter__):
        timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            wait()
        timer.join()
    go.set()
    thread.join(10)
    assert lock.acquire(False)


def test_acquire_restore_hears_signals_only_when_it_has_the_lock():
    lock = RLock()
    saved = (lock.acquire(), lock._release_save())[1]
    thread, go = hold_elsewhere(lock)
    timers = [
        threading.Timer(0.1, signal.raise_signal, [signal.SIGINT]),
        threading.Timer(0.3, go.set),
    ]
    for timer in timers:
        timer.start()
    with pytest.raises(KeyboardInterrupt):
        lock._acquire_restore(saved)
    assert go.is_set()
    assert lock._is_owned()
    thread.join(10)


def test_a_thread_that_ends_without_release_keeps_it_taken():
    lock = RLock()
    in_thread(lock.acquire)
    assert lock.acquire(timeout=0.05) is False and lock.locked()


def test_a_forked_child_is_not_the_holder():
    lock = RLock()
    with lock:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                fair = not lock._is_owned() and lock._recursion_count() == 0
                fair = fair and lock.acquire(False) is False and lock.locked()
                try:
                    lock.release()
                except RuntimeError:
                    status = 0 if fair else 2
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        assert lock._recursion_count() == 1


def test_a_closed_handle_refuses_every_call():
    lock, other = RLock(name="door"), RLock(name="door")
    lock.close()
    assert lock.closed and "closed" in repr(lock)
    for call in (
        lock.acquire, lock.release, lock.locked, lock.__enter__, lock.__reduce__, lock._is_owned,
        lock._recursion_count, lock._release_save, lambda: lock._acquire_restore((1, 1)),
    ):  # fmt: skip
        with pytest.raises(ipcsys.Closed):
            call()
    assert other.acquire(False)


def test_close_wakes_the_threads_that_wait_on_the_handle():
    lock, heard = RLock(), []
    lock.acquire()
    thread = threading.Thread(target=lambda: heard.append(in_thread(lock.acquire)))
    thread.start()
    time.sleep(0.1)
    lock.close()
    thread.join(5)
    assert type(heard[0]) is ipcsys.Closed


def test_kinds_do_not_mix():
    lock = ipcsys.Lock(name="door")
    with pytest.raises(ipcsys.MismatchError, match=r"'door' is an? Lock, not an? RLock"):
        RLock(name="door")
    assert lock.acquire(False)


class Named(RLock):
    """A subclass with its own state."""

    def __init__(self, label):
        super().__init__()
        self.label = label


def test_subclasses_keep_their_state_through_a_pickle():
    lock = Named("red")
    copy = pickle.loads(pickle.dumps(lock))
    assert type(copy) is Named and copy.label == "red" and weakref.ref(copy)() is copy
    with lock:
        assert copy._is_owned() and copy.acquire() is True
        copy.release()
        assert copy.locked()
    assert not copy.locked()


def test_handles_on_one_name_are_one_lock():
    first, second = RLock(name="door"), pickle.loads(pickle.dumps(RLock(name="door")))
    first.acquire()
    second.acquire()
    assert first._recursion_count() == 2
    second.release()
    second.release()
    assert not first.locked()


def test_it_stands_in_a_segment_and_is_gone_when_destroyed():
    segment = Segment("shelf", "1 MiB")
    lock = segment.construct(RLock, "door")
    with lock, segment["door"] as other:
        assert other is True and lock._recursion_count() == 2
    assert type(segment.find("door")) is RLock
    segment.destroy("door")
    with pytest.raises(ipcsys.ObjectGone):
        lock.acquire()
    assert segment.check() == []
    segment.close()


def test_a_waiter_is_told_that_the_lock_was_destroyed():
    segment = Segment("shelf", "1 MiB")
    lock, heard = segment.construct(RLock, "door"), []
    lock.acquire()
    thread = threading.Thread(target=lambda: heard.append(in_thread(lock.acquire)))
    thread.start()
    time.sleep(0.05)
    segment.destroy("door")
    until(lambda: heard)
    thread.join(5)
    assert type(heard[0]) is ipcsys.ObjectGone
