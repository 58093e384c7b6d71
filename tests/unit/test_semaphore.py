# SPDX-License-Identifier: Apache-2.0
"""Semaphore and BoundedSemaphore in one process: manners, handles, bad input."""

import gc
import inspect
import pickle
import sys
import threading
import time
import weakref

import pytest

import ipcsys
from ipcsys import BoundedSemaphore, Segment, Semaphore, _core

KINDS = [Semaphore, BoundedSemaphore]


@pytest.fixture(params=["unnamed", "named", "in a segment"])
def make(request):
    """Makes a semaphore of the given kind and value in one of the three places."""
    made = []

    def make(kind, value=1, **options):
        if request.param == "unnamed":
            made.append(kind(value, **options))
        elif request.param == "named":
            made.append(kind(value, name="permits", create="new", **options))
        else:
            segment = Segment(name="ground", create="new")
            made.append(segment)
            made.append(segment.construct(kind, "permits", value, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("kind", KINDS)
def test_permits_are_taken_and_given_back(make, kind):
    permits = make(kind, 2)
    assert permits.acquire() is True and permits._value == permits.value == 1
    with permits as got:
        assert got is True and permits.value == 0
        assert permits.acquire(False) is False
        assert permits.acquire(timeout=0.01) is False
        assert permits.acquire(timeout=0) is False
    assert permits.release() is None and permits.value == 2
    assert permits.check() == []


def test_release_may_bring_more_than_there_were(make):
    permits = make(Semaphore, 0)
    permits.release(3)
    permits.release(n=2)
    assert permits.value == 5
    for _ in range(5):
        assert permits.acquire(False)
    assert not permits.acquire(False) and permits.check() == []


def test_a_bounded_one_refuses_to_exceed_its_initial_value(make):
    permits = make(BoundedSemaphore, 2)
    with pytest.raises(ValueError, match="^Semaphore released too many times$"):
        permits.release()
    permits.acquire()
    with pytest.raises(ValueError):
        permits.release(2)
    assert permits.value == 1
    permits.release()
    assert permits.value == permits._initial_value == 2 and permits.check() == []


def test_both_spellings_of_acquire_are_taken():
    permits = Semaphore(9)
    for acquired in (
        permits.acquire(True), permits.acquire(True, None), permits.acquire(True, -1),
        permits.acquire(blocking=True, timeout=1), permits.acquire(block=False),
        permits.acquire(block=True, timeout=None), permits.acquire(False, -1),
        permits.acquire(True, 0.5),
    ):  # fmt: skip
        assert acquired is True
    assert permits.value == 1
    assert permits.acquire(timeout=-5) is True and permits.acquire(timeout=-0.5) is False


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda s: s.acquire(False, 1), ValueError),
        (lambda s: s.acquire(timeout=float("nan")), ValueError),
        (lambda s: s.acquire(timeout="1"), TypeError),
        (lambda s: s.acquire(timeout=1e300), OverflowError),
        (lambda s: s.acquire(wait=True), TypeError),
        (lambda s: s.acquire(True, blocking=True), TypeError),
        (lambda s: s.acquire(True, 1, 2), TypeError),
        (lambda s: s.release(0), ValueError),
        (lambda s: s.release(-1), ValueError),
        (lambda s: s.release(1.5), TypeError),
        (lambda s: s.release("1"), TypeError),
        (lambda s: s.release(1, 2), TypeError),
        (lambda s: s.release(count=1), TypeError),
        (lambda s: s.release(2**64), OverflowError),
        (lambda s: s.release(2**63 - 1), ValueError),
    ],
)
def test_bad_arguments_are_refused_and_change_nothing(call, error):
    permits = Semaphore(3)
    with pytest.raises(error):
        call(permits)
    assert permits.value == 3 and permits.check() == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("value", "error"),
    [(-1, ValueError), (-sys.maxsize, ValueError), (-(2**70), ValueError),
     (2**48 + 1, OverflowError), (2**80, OverflowError), ("1", TypeError), (1.0, TypeError),
     (None, TypeError)],
)  # fmt: skip
def test_odd_initial_values_are_refused(kind, value, error):
    with pytest.raises(error):
        kind(value)


def test_what_it_is_called():
    assert repr(Semaphore(3)).startswith("<ipcsys.Semaphore at 0x")
    assert repr(Semaphore(3)).endswith(": value=3>")
    assert repr(BoundedSemaphore(3)).endswith(": value=3/3>")
    named = BoundedSemaphore(2, name="permits")
    named.acquire()
    assert repr(named).startswith("<ipcsys.BoundedSemaphore 'permits' at 0x")
    assert repr(named).endswith(": value=1/2>")
    named.close()
    assert repr(named).endswith(": closed>")
    assert issubclass(BoundedSemaphore, Semaphore)
    for kind in KINDS:
        assert str(inspect.signature(kind)).startswith("(value=1, *, owned=True, name=None")
        assert str(inspect.signature(kind.acquire)) == "(self, /, blocking=True, timeout=None)"
        assert str(inspect.signature(kind.release)) == "(self, /, n=1)"


def test_the_value_of_one_that_exists_is_not_changed_by_opening_it():
    with Semaphore(5, name="permits"):
        other = Semaphore(1, name="permits", create=False)
        assert other.value == 4
        with pytest.raises(ipcsys.MismatchError, match="'permits' is a Semaphore"):
            BoundedSemaphore(1, name="permits")
        with pytest.raises(ipcsys.MismatchError):
            ipcsys.Lock(name="permits")
        with pytest.raises(ipcsys.AlreadyExists):
            Semaphore(name="permits", create=True)
    with pytest.raises(ipcsys.NotFound):
        Semaphore(name="nobody's", create=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickled_one_is_the_same(make, kind):
    permits = make(kind, 4, owned=False)
    permits.acquire()
    copy = pickle.loads(pickle.dumps(permits))
    assert type(copy) is kind and copy.value == 3 and copy.owned is False
    copy.acquire()
    assert permits.value == 2
    copy.close()


def test_a_destroyed_one_is_gone_and_its_memory_serves_the_next():
    with Segment(name="ground") as segment:
        first = segment.construct(Semaphore, "permits", 3)
        first.acquire()
        assert segment.destroy("permits")
        for use in (first.acquire, first.release, lambda: first.value, first.check):
            with pytest.raises(ipcsys.ObjectGone):
                use()
        second = segment.construct(Semaphore, "permits", 1)
        assert second.value == 1 and second.acquire() and not second.acquire(False)
        assert isinstance(segment.find("permits"), Semaphore)
        segment.construct(BoundedSemaphore, "bound", 2)
        assert type(segment.find("bound")) is BoundedSemaphore
        assert segment.check() == [] and second.check() == []
        with pytest.raises(ZeroDivisionError), segment.transaction():
            segment.construct(Semaphore, "never", 1)
            1 / 0  # noqa: B018
        assert "never" not in segment and segment.check() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_one_says_so(make, kind):
    permits = make(kind)
    permits.close()
    permits.close()
    assert permits.closed
    for use in (permits.acquire, permits.release, permits.check, lambda: permits.value,
                lambda: pickle.dumps(permits)):  # fmt: skip
        with pytest.raises(ipcsys.Closed):
            use()


def test_one_without_its_init_says_so():
    with pytest.raises(ipcsys.Closed):
        Semaphore.__new__(Semaphore).acquire()
    with pytest.raises(RuntimeError):
        Semaphore(1).__init__(2)


def test_closing_wakes_the_threads_that_wait():
    permits = Semaphore(0)
    raised = []

    def wait():
        try:
            permits.acquire()
        except ipcsys.Closed as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    permits.close()
    thread.join(5)
    assert len(raised) == 1


def test_subclasses_and_weak_references_work():
    class Named(Semaphore):
        def __init__(self, value, label):
            super().__init__(value)
            self.label = label

    permits = Named(2, "tables")
    copy = pickle.loads(pickle.dumps(Semaphore(1)))
    assert copy.acquire() and permits.acquire() and permits.label == "tables"
    watch = weakref.ref(permits)
    del permits
    gc.collect()
    assert watch() is None
    with pytest.raises(TypeError):
        Semaphore.anything = 1


def test_exactly_as_many_waiters_go_on_as_permits_come():
    permits, passed = Semaphore(0), []

    def wait():
        assert permits.acquire(timeout=20)
        passed.append(1)

    threads = [threading.Thread(target=wait) for _ in range(12)]
    for thread in threads:
        thread.start()
    for count in (1, 4, 7):
        before = len(passed)
        permits.release(count)
        limit = time.monotonic() + 10
        while len(passed) < before + count and time.monotonic() < limit:
            time.sleep(0.001)
        time.sleep(0.02)
        assert len(passed) == before + count
    for thread in threads:
        thread.join(10)
    assert permits.value == 0 and permits.check() == []


def test_thousands_of_permits_are_one_step_each_way(make):
    permits = make(Semaphore, 5000)
    for _ in range(5000):
        assert permits.acquire(False)
    assert not permits.acquire(False)
    permits.release(5000)
    assert permits.value == 5000 and permits.check() == []


def test_unowned_permits_are_nobodys():
    permits = Semaphore(1, owned=False)
    assert permits.owned is False and Semaphore(1).owned is True
    permits.acquire()
    permits.release(2)
    assert permits.value == 2 and permits.check() == []


def test_dropped_semaphores_leave_nothing_in_the_pool():
    before = _core.cells()["used"]
    many = [Semaphore(i) for i in range(200)]
    assert [one.value for one in many] == list(range(200))
    assert _core.cells()["used"] == before + 200
    del many
    again = [Semaphore(1) for _ in range(200)]
    assert all(one.value == 1 and one.check() == [] for one in again)
    del again
    Semaphore(1)
    assert _core.cells()["used"] <= before + 1 and _core.check_cells() == []


def test_a_thread_that_waits_hears_ctrl_c():
    import os
    import signal

    permits = Semaphore(0)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        permits.acquire(timeout=20)
    permits.release()
    assert permits.acquire(False) and permits.check() == []


def test_too_little_address_space_is_an_error_with_a_number():
    """The bodies of unnamed semaphores are mapped 16 MiB at a time."""
    import subprocess

    code = """
import resource, ipcsys
kept = ipcsys.Semaphore()
with open("/proc/self/statm") as facts:
    size = int(facts.read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (size + (8 << 20), -1))
many = []
try:
    for _ in range(200):
        many.append(ipcsys.Semaphore(1))
except MemoryError as error:
    assert "cannot map 17039360 bytes" in str(error), error
    print("refused after", len(many))
assert kept.acquire() and many[-1].acquire()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "refused after 63\n", done.stdout + done.stderr
