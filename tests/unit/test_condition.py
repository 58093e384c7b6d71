# SPDX-License-Identifier: Apache-2.0
"""Condition: threading's manners, its lock, order, handles and bad input, in one process."""

import gc
import pickle
import platform
import re
import signal
import threading
import time
import weakref

import pytest
from child import Child, until

import ipcsys
from ipcsys import Condition, Lock, RLock, Segment


def waiters(condition):
    return int(re.search(r", (\d+)\)>$", repr(condition))[1])


class Waiters:
    """Threads that wait one after the other; `heard` says in what order they went on."""

    def __init__(self, condition, count, timeout=None):
        self.condition, self.heard = condition, []
        self.threads = [threading.Thread(target=self._run, args=(n, timeout)) for n in range(count)]
        for number, thread in enumerate(self.threads, 1):
            thread.start()
            until(lambda number=number: waiters(condition) == number)

    def _run(self, number, timeout):
        with self.condition:
            self.heard.append((number, self.condition.wait(timeout)))

    def join(self):
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()


LOCKS = {
    "its own": lambda: None,
    "a Lock": Lock,
    "an RLock": RLock,
    "threading's Lock": threading.Lock,
    "threading's RLock": threading.RLock,
    "a subclass": lambda: type("Mine", (RLock,), {})(),
}


@pytest.fixture(params=LOCKS.values(), ids=LOCKS)
def condition(request):
    return Condition(request.param())


def test_notify_reaches_the_oldest_first(condition):
    crowd = Waiters(condition, 4)
    for told in range(1, 5):
        with condition:
            condition.notify()
            assert waiters(condition) == 4 - told
        until(lambda told=told: len(crowd.heard) == told)
    crowd.join()
    assert crowd.heard == [(0, True), (1, True), (2, True), (3, True)]
    assert condition.check() == []


def test_notify_of_some_leaves_the_others_waiting(condition):
    crowd = Waiters(condition, 5)
    with condition:
        condition.notify(3)
        assert waiters(condition) == 2
    until(lambda: len(crowd.heard) == 3)
    time.sleep(0.05)
    assert sorted(crowd.heard) == [(0, True), (1, True), (2, True)]
    with condition:
        condition.notify(100)
        assert waiters(condition) == 0
    crowd.join()


@pytest.mark.parametrize("call", ["notify_all", "notifyAll"])
def test_notify_all_reaches_all(condition, call):
    crowd = Waiters(condition, 12)
    with condition:
        if call == "notifyAll":
            with pytest.warns(DeprecationWarning, match="notifyAll"):
                condition.notifyAll()
        else:
            condition.notify_all()
        assert waiters(condition) == 0
        assert crowd.heard == [], "they go on only once the lock is free"
    crowd.join()
    assert sorted(crowd.heard) == [(n, True) for n in range(12)]
    assert condition.check() == []


def test_a_notification_without_waiters_is_not_kept(condition):
    with condition:
        condition.notify()
        condition.notify_all()
        assert condition.wait(0.02) is False


def test_a_wait_in_vain_ends_neither_early_nor_much_too_late(condition):
    with condition:
        start = time.monotonic()
        assert condition.wait(0.15) is False
        assert 0.15 <= time.monotonic() - start < 1.0
        assert condition.wait(0) is False and condition.wait(-1) is False
        assert condition._is_owned()
    assert waiters(condition) == 0


def test_a_waiter_that_gave_up_is_not_notified(condition):
    crowd = Waiters(condition, 1, timeout=0.05)
    until(lambda: crowd.heard == [(0, False)])
    late = Waiters(condition, 1)
    with condition:
        condition.notify()
    late.join()
    assert late.heard == [(0, True)]


def test_wait_gives_up_the_lock_and_takes_it_again(condition):
    seen = []

    def other():
        with condition:
            seen.append("in")
            condition.notify()

    with condition:
        thread = threading.Thread(target=other)
        thread.start()
        assert condition.wait(10) is True
        assert seen == ["in"] and condition._is_owned()
    thread.join(10)


@pytest.mark.parametrize("make", [lambda: Condition(), lambda: Condition(RLock())])
def test_wait_gives_up_a_recursive_lock_whole_and_restores_its_depth(make):
    condition = make()

    def other():
        with condition:
            condition.notify()

    for _ in range(3):
        condition.acquire()
    thread = threading.Thread(target=other)
    thread.start()
    assert condition.wait(10) is True
    for _ in range(3):
        condition.release()
    assert not condition._is_owned()
    thread.join(10)


def test_wait_for_waits_until_the_predicate_is_true(condition):
    state, answers = [0], []

    def wait():
        with condition:
            answers.append(condition.wait_for(lambda: state[0] == 3 and "three", timeout=20))

    thread = threading.Thread(target=wait)
    thread.start()
    for _ in range(3):
        time.sleep(0.01)
        with condition:
            state[0] += 1
            condition.notify()
    thread.join(10)
    assert answers == ["three"]
    with condition:
        assert condition.wait_for(lambda: 0, 0.05) == 0
        assert condition.wait_for(predicate=lambda: [1], timeout=None) == [1]
        with pytest.raises(ZeroDivisionError):
            condition.wait_for(lambda: 1 / 0)
        with pytest.raises(TypeError):
            condition.wait_for()


@pytest.mark.parametrize("make", [Condition, lambda: Condition(Lock()), lambda: Condition(RLock())])
def test_without_the_lock_nothing_is_done(make):
    condition = make()
    for call in (condition.wait, lambda: condition.wait(0), lambda: condition.wait_for(lambda: 0)):
        with pytest.raises(ipcsys.NotHeld, match="^cannot wait on un-acquired lock$"):
            call()
    for call in (condition.notify, condition.notify_all, lambda: condition.notify(0)):
        with pytest.raises(RuntimeError, match="^cannot notify on un-acquired lock$"):
            call()
    with pytest.raises(RuntimeError):
        condition.release()


def test_another_threads_recursive_lock_is_not_ours():
    condition, failures = Condition(), []

    def wait():
        for call in (condition.wait, condition.notify, condition.notify_all, condition.release):
            try:
                call()
            except RuntimeError as error:
                failures.append(error)

    with condition:
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(10)
    assert len(failures) == 4


@pytest.mark.parametrize(
    ("method", "arguments", "keywords", "error"),
    [
        ("wait", ("1",), {}, TypeError),
        ("wait", (float("nan"),), {}, ValueError),
        ("wait", (1, 2), {}, TypeError),
        ("wait", (), {"seconds": 1}, TypeError),
        ("notify", ("1",), {}, TypeError),
        ("notify", (1, 2), {}, TypeError),
        ("notify", (), {"count": 1}, TypeError),
        ("acquire", (False, 1), {}, ValueError),
    ],
)
def test_bad_arguments_raise(method, arguments, keywords, error):
    condition = Condition()
    with condition, pytest.raises(error):
        getattr(condition, method)(*arguments, **keywords)
    assert not condition.locked()


def test_notify_takes_any_number():
    condition = Condition()
    crowd = Waiters(condition, 3)
    with condition:
        condition.notify(0)
        condition.notify(-5)
        condition.notify(-(10**30))
        assert waiters(condition) == 3
        condition.notify(n=10**30)
        assert waiters(condition) == 0
    crowd.join()


def test_what_cannot_be_a_lock_is_refused():
    for wrong in (5, "lock", object()):
        with pytest.raises(AttributeError):
            Condition(wrong)
    with pytest.raises(TypeError):
        Condition(None, Lock())
    with pytest.raises(TypeError):
        Condition(colour="red")


def interrupted(call):
    """The call, with Ctrl-C a tenth of a second later; what it raised."""
    timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
    finally:
        timer.join()


def test_ctrl_c_ends_a_wait_with_the_lock_held(condition):
    with condition:
        for wait in (condition.wait, lambda: condition.wait(20)):
            interrupted(wait)
            assert condition._is_owned()
        interrupted(lambda: condition.wait_for(lambda: False))
        assert condition._is_owned() and waiters(condition) == 0
    assert condition.check() == []


@pytest.mark.parametrize("make", [Condition, lambda: Condition(Lock())])
def test_an_interrupt_that_meets_a_notification_passes_it_on(make):
    condition = make()
    first, later = [], []

    def other():
        with condition:
            later.append(condition.wait(20))

    def poke():
        until(lambda: waiters(condition) == 2)
        with condition:
            condition.notify()
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.2)  # the main thread is notified and waits for the lock

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threads = [threading.Thread(target=poke)]
        with condition:
            threads[0].start()
            try:
                threads.append(threading.Thread(target=other))
                threads[1].start()
                first.append(condition.wait(20))
            except KeyboardInterrupt:
                first.append("interrupted")
        for thread in threads:
            thread.join(20)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert first == ["interrupted"] and later == [True]


def test_a_signal_handler_that_returns_does_not_end_the_wait():
    condition, seen = Condition(), []
    previous = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    try:
        threading.Timer(0.05, signal.raise_signal, [signal.SIGUSR1]).start()
        with condition:
            assert condition.wait(0.3) is False
        assert seen == [1]
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_it_lends_its_locks_methods():
    lock = Lock()
    condition = Condition(lock)
    assert condition.acquire(block=False) is True
    assert lock.locked() and condition.locked() and condition.acquire(False) is False
    assert condition._is_owned()
    condition.release()
    assert condition._release_save is not None and not condition._is_owned()
    condition.acquire()
    saved = condition._release_save()
    assert saved is None and not lock.locked()
    condition._acquire_restore(saved)
    assert lock.locked() and condition.abandoned is False
    own = Condition()
    with own as entered, own:
        assert entered is True
        assert own._release_save()[0] == 2 and not own.locked()
        own._acquire_restore((2, 0))


def test_its_text_shows_the_lock_and_the_waiters():
    assert re.fullmatch(
        r"<Condition\(<unlocked ipcsys.RLock object owner=0 count=0 at 0x\w+>, 0\)>",
        repr(Condition()),
    )
    lock = threading.Lock()
    assert repr(Condition(lock)) == f"<Condition({lock!r}, 0)>"
    assert "'door'" in repr(Condition(name="door"))


def test_a_closed_handle_refuses_every_call():
    condition, other = Condition(name="door"), Condition(name="door")
    condition.close()
    assert condition.closed and "closed" in repr(condition) and condition.name is None
    for call in (
        condition.acquire, condition.release, condition.wait, condition.notify, condition.check,
        condition.notify_all, condition.locked, condition.__enter__, condition.__reduce__,
        condition._is_owned,
    ):  # fmt: skip
        with pytest.raises(ipcsys.Closed):
            call()
    assert other.acquire(False)
    made = Condition.__new__(Condition)
    with pytest.raises(ipcsys.Closed):
        made.wait()


def test_close_wakes_the_threads_that_wait_on_the_handle():
    condition, other, heard = Condition(name="door"), Condition(name="door"), []

    def wait():
        condition.acquire()
        try:
            condition.wait()
        except ipcsys.Closed as error:
            heard.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: waiters(other) == 1)
    condition.close()
    thread.join(5)
    assert len(heard) == 1 and waiters(other) == 0
    assert other.acquire(False), "a lock that nobody could release again was taken"


def test_handles_on_one_name_are_one_condition_with_its_lock():
    here, there = Condition(name="door"), Condition(name="door")
    crowd = Waiters(here, 2)
    with there:
        assert here.locked()
        there.notify_all()
    crowd.join()


def test_everybody_brings_the_same_kind_of_lock():
    own, given = Condition(name="own"), Condition(Lock(), name="given")
    with pytest.raises(ipcsys.MismatchError, match="'own' has its lock with it"):
        Condition(Lock(), name="own")
    with pytest.raises(ipcsys.MismatchError, match="'given' was made with a lock"):
        Condition(name="given")
    with pytest.raises(ipcsys.MismatchError, match=r"'own' is an? Condition, not an? Lock"):
        Lock(name="own")
    assert not own.locked() and not given.locked()


class Named(Condition):
    """A subclass with its own state."""

    def __init__(self, label, lock=None):
        super().__init__(lock)
        self.label = label


@pytest.mark.parametrize("lock", [lambda: None, Lock, RLock])
def test_a_pickle_brings_the_lock_and_the_state(lock):
    condition = Named("red", lock())
    copy = pickle.loads(pickle.dumps(condition))
    assert type(copy) is Named and copy.label == "red" and weakref.ref(copy)() is copy
    crowd = Waiters(condition, 1)
    with copy:
        assert condition.locked()
        copy.notify()
    crowd.join()
    with pytest.raises(TypeError):
        Condition._restore()


def test_a_circle_through_the_lock_is_collected():
    class Holder(RLock):
        pass

    lock = Holder()
    lock.condition = Condition(lock)
    gone = weakref.ref(lock.condition)
    del lock
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("given", [False, True])
def test_it_stands_in_a_segment_and_is_gone_when_destroyed(given):
    segment, heard = Segment("shelf", "1 MiB"), []
    lock = segment.construct(Lock, "lock") if given else None
    condition = segment.construct(Condition, "door", *([lock] if given else []))
    crowd = Waiters(condition, 3)
    other = Condition(lock, name="door", segment=segment, create=False)
    with other:
        other.notify_all()
    crowd.join()

    def wait():
        with pytest.raises(ipcsys.ObjectGone):
            condition.acquire()
            condition.wait()
        heard.append(1)

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: waiters(other) == 1)
    segment.destroy("door")
    thread.join(10)
    assert heard == [1] and segment.check() == []
    with pytest.raises(ipcsys.ObjectGone):
        condition.notify()
    segment.close()


def test_more_wait_than_the_first_page_has_seats_for():
    condition = Condition()
    crowd = Waiters(condition, 230)
    with condition:
        condition.notify(100)
        assert waiters(condition) == 130
        condition.notify_all()
    crowd.join()
    assert condition.check() == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="stepping needs the trap flag")
@pytest.mark.parametrize("call", ["notify", "notify_all"])
def test_notifying_nobody_stores_nothing_and_makes_no_system_call(call):
    with Child(f"""
from ipcsys.testing import stepping
condition = ipcsys.Condition()
condition.acquire()
condition.{call}()
condition.wait(0)
say(len(stepping.trace(condition.{call}).events))
""") as child:
        child.expect("0")
        child.finish()
