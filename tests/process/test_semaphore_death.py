# SPDX-License-Identifier: Apache-2.0
"""Permits outlive their holder's death, exactly; a stopped holder keeps them."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time

import pytest
from child import Child, until

from ipcsys import BoundedSemaphore, Event, Segment, Semaphore, _core

HOLD = """
permits = ipcsys.Semaphore(name="permits", create=False)
for _ in range(int(sys.argv[1])):
    permits.acquire()
say("held")
for line in sys.stdin:
    permits.release(int(line))
    say("released")
"""


@contextlib.contextmanager
def holders(*counts):
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(HOLD, count)) for count in counts]
        for child in children:
            child.expect("held")
        yield children


def taken(permits):
    """How many can be had now; gives them back."""
    count = 0
    while permits.acquire(False):
        count += 1
    if count:
        permits.release(count)
    return count


def test_a_waiter_gets_a_permit_of_a_killed_holder_at_once():
    permits, times = Semaphore(2, name="permits"), []
    for _ in range(5):
        with holders(2) as [holder]:
            died = []

            def kill(holder=holder, died=died):
                time.sleep(0.05)
                died.append(time.monotonic())
                holder.process.kill()

            killer = threading.Thread(target=kill)
            killer.start()
            assert permits.acquire(timeout=10)
            times.append(time.monotonic() - died[0])
            killer.join()
        permits.release()
        assert permits.value == 2 and permits.check() == []
    assert min(times) < 0.02, times  # the promise is about 1 ms; this machine may be busy


def test_the_dead_give_back_exactly_what_they_held():
    permits = Semaphore(9, name="permits")
    with holders(2, 3, 4) as [two, three, four]:
        assert permits.value == 0 and not permits.acquire(False)
        three.kill()
        until(lambda: taken(permits) == 3, 5)
        two.say(1)
        two.expect("released")
        assert taken(permits) == 4
        two.kill()
        four.kill()
        until(lambda: taken(permits) == 9, 5)
    assert permits.value == 9 and permits.check() == []


def test_several_deaths_at_one_instant_give_everything_back():
    permits = Semaphore(8, name="permits")
    with holders(2, 2, 2, 2) as children:
        os.sync()
        for child in children:
            child.process.send_signal(signal.SIGKILL)
        for _ in range(8):
            assert permits.acquire(timeout=10)
        assert not permits.acquire(False)
    permits.release(8)
    assert permits.value == 8 and permits.check() == []


def test_thousands_of_permits_of_a_dead_process_come_back():
    permits = Semaphore(4000, name="permits")
    with holders(4000) as [holder]:
        assert permits.value == 0
        holder.kill()
        assert permits.acquire(timeout=10) and permits.value == 3999
    permits.release()


def test_a_process_that_ends_without_release_is_a_dead_one():
    permits = Semaphore(3, name="permits")
    with Child("ipcsys.Semaphore(name='permits').acquire(); say('held')") as child:
        child.expect("held")
        child.finish()
    assert permits.value == 2
    until(lambda: taken(permits) == 3, 5)


def test_a_stopped_holder_is_never_robbed():
    permits = Semaphore(1, name="permits")
    with holders(1) as [holder]:
        holder.stop()
        assert permits.acquire(timeout=0.7) is False
        assert permits.acquire(False) is False
        assert permits.value == 0
        holder.go_on()
        holder.say(1)
        holder.expect("released")
        assert permits.acquire(timeout=5)


PRODUCE = """
items = ipcsys.Semaphore(name="items", create=False)
for _ in range(int(sys.argv[1])):
    items.release()
say("made")
hear()
"""

CONSUME = """
items = ipcsys.Semaphore(name="items", create=False)
for _ in range(int(sys.argv[1])):
    assert items.acquire(timeout=10)
say("had")
hear()
"""


def test_a_counter_gains_nothing_at_the_death_of_producer_and_consumer():
    items = Semaphore(0, name="items")
    with Child(PRODUCE, 1000) as producer:
        producer.expect("made")
        with Child(CONSUME, 300) as consumer:
            consumer.expect("had")
            consumer.kill()
        assert items.value == 700
        producer.kill()
    _core.sweep()
    assert taken(items) == 700
    for _ in range(700):
        assert items.acquire(False)
    assert not items.acquire(timeout=0.3), "a permit out of nothing"
    assert items.value == 0 and items.check() == []


def test_a_release_on_behalf_of_another_cancels_its_oldest_claim():
    permits = Semaphore(4, name="permits")
    with holders(2) as [first], holders(2) as [second]:
        permits.release()  # we have none: it is one of the first's
        first.kill()
        until(lambda: taken(permits) == 2, 5)
        second.kill()
        until(lambda: taken(permits) == 4, 5)
    assert permits.check() == []


def test_unowned_permits_do_not_come_back():
    permits = Semaphore(2, name="permits", owned=False)
    with holders(2) as [holder]:
        holder.kill()
        assert not permits.acquire(timeout=0.3)
    permits.release(2)
    assert permits.value == 2


def test_a_bounded_one_is_still_bounded_after_deaths():
    permits = BoundedSemaphore(2, name="permits")
    with holders_of_bounded(2) as holder:
        holder.kill()
        assert permits.acquire(timeout=10) and permits.acquire(timeout=10)
    permits.release(2)
    with pytest.raises(ValueError):
        permits.release()


@contextlib.contextmanager
def holders_of_bounded(count):
    with Child(HOLD.replace("ipcsys.Semaphore", "ipcsys.BoundedSemaphore"), count) as child:
        child.expect("held")
        yield child


def work(permits, inside, over, rounds):
    for _ in range(rounds):
        with permits:
            inside.release()
            if inside.value > 2:
                over.set()
            assert inside.acquire(timeout=10)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_no_more_processes_inside_than_permits(method):
    context = multiprocessing.get_context(method)
    permits, inside, over = Semaphore(2), Semaphore(0, owned=False), Event()
    workers = [
        context.Process(target=work, args=(permits, inside, over, 300)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert not over.is_set() and permits.value == 2 and inside.value == 0


def test_in_a_segment_the_dead_give_back_too():
    with Segment(name="ground") as segment:
        permits = segment.construct(Semaphore, "permits", 3)
        pid = os.fork()
        if pid == 0:
            permits.acquire()
            permits.acquire()
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        for _ in range(3):
            assert permits.acquire(timeout=10)
        permits.release(3)
        assert permits.check() == [] and segment.check() == []
        permits.close()


def test_a_forked_child_has_no_claims_of_its_parents():
    permits = Semaphore(3)
    permits.acquire()
    pid = os.fork()
    if pid == 0:
        permits.acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert permits.acquire(timeout=10) and permits.acquire(timeout=10)
    assert not permits.acquire(False)
    permits.release(3)
    assert permits.value == 3 and permits.check() == []


def test_death_while_taking_back_from_the_dead():
    """The heirs of the dead are killed at it, again and again."""
    permits = Semaphore(3, name="permits")
    for _ in range(10):
        with holders(3) as [holder]:
            heirs = []
            for _ in range(2):
                pid = os.fork()
                if pid == 0:
                    while True:
                        if permits.acquire(timeout=5):
                            permits.release()
                heirs.append(pid)
            time.sleep(0.02)
            holder.process.kill()
            time.sleep(0.0005)
            for pid in heirs:
                os.kill(pid, signal.SIGKILL)
            for pid in heirs:
                os.waitpid(pid, 0)
        for _ in range(3):
            assert permits.acquire(timeout=10)
        assert not permits.acquire(False)
        permits.release(3)
        assert permits.value == 3 and permits.check() == []
