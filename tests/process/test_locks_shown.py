# SPDX-License-Identifier: Apache-2.0
"""What `ipcsys locks` and ipcsys.sync say of other processes, alive and dead."""

import json
import os
import signal
import subprocess
import sys

from child import Child, until

import ipcsys
from ipcsys import Lock, _core, sync

CROSS = """
one, other = ipcsys.Lock(name=sys.argv[1]), ipcsys.Lock(name=sys.argv[2])
one.acquire()
say("holds")
hear()
other.acquire()
say("through")
hear()
"""


def find(label):
    (found,) = [lock for lock in sync.locks() if lock.label == label]
    return found


def shown():
    done = subprocess.run(
        [sys.executable, "-m", "ipcsys", "locks", "--json"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout)


def test_two_processes_that_wait_for_each_other_are_shown_until_one_dies():
    with Child(CROSS, "a", "b") as first, Child(CROSS, "b", "a") as second:
        first.expect("holds")
        second.expect("holds")
        assert shown()[0] == 0
        first.say()
        second.say()
        until(lambda: len(_core.waits()) == 2)
        status, found = shown()
        assert status == 1
        (cycle,) = found["cycles"]
        assert cycle["certain"] and cycle["for_ever"]
        waits = {(step["pid"], step["thread"], step["waits_for"]) for step in cycle["steps"]}
        assert waits == {
            (first.pid, first.pid, "b"), (second.pid, second.pid, "a"),
        }  # fmt: skip
        assert sync.who_holds("a").pid == first.pid and sync.who_holds("b").pid == second.pid
        assert 0 <= sync.who_holds("a").seconds < 60
        first.kill()
        second.expect("through")
        assert shown()[0] == 0
        assert find("a").abandoned and sync.who_holds("a").pid == second.pid


def test_what_a_killed_process_held_is_shown_as_left_by_the_dead():
    lock = Lock(name="door")
    with Child("lock = ipcsys.Lock(name='door'); lock.acquire(); say('held'); hear()") as holder:
        holder.expect("held")
        assert sync.who_holds("door").pid == holder.pid
        holder.kill()
        until(lambda: sync.who_holds("door") is None)
        assert find("door").state == "left by the dead" and find("door").abandoned
        assert [(dead.pid, dead.alive) for dead in find("door").holders] == [(None, False)]
    assert lock.acquire(timeout=5)
    assert (find("door").state, find("door").abandoned) == ("held", True)
    assert sync.who_holds("door").pid == os.getpid()
    lock.release()
    assert not find("door").abandoned


def test_a_killed_waiter_is_no_waiter_any_more():
    lock = Lock(name="door")
    lock.acquire()
    with Child("ipcsys.Lock(name='door').acquire()") as waiter:
        until(lambda: find("door").waiters)
        assert find("door").waiters[0].pid == waiter.pid
        waiter.kill()
        until(lambda: not find("door").waiters)


def test_a_slot_taken_over_shows_nothing_of_its_last_tenant():
    lock = Lock(name="door")
    lock.acquire()
    for _ in range(2):
        with Child("say('go'); ipcsys.Lock(name='door').acquire()") as waiter:
            until(lambda: find("door").waiters)
            waiter.kill()
            _core.sweep()
    with Child("ipcsys.Lock(name='door'); say('here'); hear()") as tenant:
        tenant.expect("here")
        assert {member["pid"] for member in _core.members()} == {os.getpid(), tenant.pid}
        assert _core.waits() == []


def test_a_stopped_holder_is_named():
    lock = Lock(name="door")
    with Child("lock = ipcsys.Lock(name='door'); lock.acquire(); say('held'); hear()") as holder:
        holder.expect("held")
        holder.stop()
        assert lock.acquire(timeout=0.1) is False
        assert sync.who_holds("door").pid == holder.pid and not find("door").abandoned


def test_a_killed_readers_share_is_gone_and_a_killed_writer_leaves_it_abandoned():
    table = ipcsys.RWLock(name="table")
    code = "t = ipcsys.RWLock(name='table'); t.acquire_{}(); say('in'); hear()"
    with Child(code.format("read")) as reader:
        reader.expect("in")
        assert [holder.pid for holder in find("table").holders] == [reader.pid]
        reader.kill()
        until(lambda: not find("table").holders)
        assert (find("table").state, find("table").abandoned) == ("free", False)
    with Child(code.format("write")) as writer:
        writer.expect("in")
        assert sync.who_holds("table").pid == writer.pid
        writer.kill()
        until(lambda: sync.who_holds("table") is None)
        assert (find("table").state, find("table").abandoned) == ("left by the dead", True)
    with table.write():
        assert find("table").state == "written"


FORKS = """
import signal
lock = ipcsys.Lock(name="door")
def fork(*_):
    if os.fork() == 0:
        say("child")
        os._exit(0)
signal.signal(signal.SIGUSR1, fork)
say("waits")
lock.acquire()
say("through")
hear()
"""


def test_a_handler_that_forks_leaves_the_parents_wait_alone():
    lock = Lock(name="door")
    lock.acquire()
    with Child(FORKS) as waiter:
        waiter.expect("waits")
        until(lambda: find("door").waiters)
        os.kill(waiter.pid, signal.SIGUSR1)
        waiter.expect("child")
        assert [found.pid for found in find("door").waiters] == [waiter.pid]
        lock.release()
        waiter.expect("through")
        assert _core.waits() == []


def test_a_wait_inside_a_signal_handler_is_a_wait_of_its_own():
    code = """
import signal
door, inner = ipcsys.Lock(name="door"), ipcsys.Lock(name="inner")
signal.signal(signal.SIGUSR1, lambda *_: inner.acquire())
say("waits")
door.acquire()
say("through")
hear()
"""
    with ipcsys.Lock(name="door") as _, Child(code) as waiter:
        inner = Lock(name="inner")
        inner.acquire()
        waiter.expect("waits")
        until(lambda: find("door").waiters)
        os.kill(waiter.pid, signal.SIGUSR1)
        until(lambda: find("inner").waiters)
        assert len(find("door").waiters) == 1
        inner.release()
        until(lambda: not find("inner").waiters)
        assert len(find("door").waiters) == 1


IN_SEGMENT = """
segment = ipcsys.Segment("plant", create=False)
segment["gate"].acquire()
segment["cranes"].acquire()
segment["plan"].acquire_read()
say("holds")
hear()
"""


def test_what_stands_in_a_segment_is_shown_with_holders_and_waiters():
    with ipcsys.Segment("plant", "1 MiB") as segment:
        for key, kind in {
            "gate": Lock, "cranes": ipcsys.Semaphore, "plan": ipcsys.RWLock, "bell": ipcsys.Event,
            "stock": ipcsys.SharedMap,
        }.items():  # fmt: skip
            segment.construct(kind, key).close()
        with Child(IN_SEGMENT) as holder, Child(IN_SEGMENT) as waiter:
            until(lambda: find("plant/gate").waiters)
            first, second = sorted(
                (holder, waiter), key=lambda each: each.pid != sync.who_holds("plant/gate").pid
            )
            gate = find("plant/gate")
            assert (gate.kind, gate.segment, gate.name) == ("Lock", "plant", "gate")
            assert [each.pid for each in gate.waiters] == [second.pid]
            assert gate.holders[0].thread == first.pid and gate.holders[0].seconds >= 0
            until(lambda: find("plant/plan").holders)
            assert [each.pid for each in find("plant/cranes").holders] == [first.pid]
            assert find("plant/plan").state == "read"
            assert find("plant/bell").state == "clear"
            assert {lock.name for lock in sync.locks() if lock.segment} == {
                "gate", "cranes", "plan", "bell",
            }  # fmt: skip
            first.kill()
            second.expect("holds")
            assert find("plant/gate").abandoned
            assert sync.who_holds("plant/gate").pid == second.pid


TASKS = """
import asyncio
from ipcsys import aio

async def main():
    one, other = aio.Lock(name=sys.argv[1]), aio.Lock(name=sys.argv[2])
    async with one:
        say("holds")
        hear()
        await asyncio.create_task(asyncio.sleep(0))  # a turn for another task
        await other.acquire()
    say("through")
    hear()

asyncio.run(main())
"""


def test_event_loops_whose_tasks_wait_for_each_other_are_shown_until_one_dies():
    with Child(TASKS, "a", "b") as first, Child(TASKS, "b", "a") as second:
        first.expect("holds")
        second.expect("holds")
        first.say()
        second.say()
        until(lambda: len(_core.waits()) == 2)
        status, found = shown()
        (cycle,) = found["cycles"]
        assert status == 1 and cycle["certain"] and cycle["for_ever"]
        assert {(step["pid"], step["waits_for"]) for step in cycle["steps"]} == {
            (first.pid, "b"), (second.pid, "a"),
        }  # fmt: skip
        assert all(step["task"] for step in cycle["steps"])
        first.kill()
        second.expect("through")
        assert sync.cycles() == [] and _core.waits() == []


def test_consumers_that_wait_for_jobs_in_two_processes_are_no_cycle():
    code = """
jobs = ipcsys.Semaphore(0, name="jobs")
jobs.acquire()
say("one")
hear()
jobs.acquire()
say("two")
"""
    jobs = ipcsys.Semaphore(0, name="jobs")
    with Child(code) as first, Child(code) as second:
        jobs.release(2)
        first.expect("one")
        second.expect("one")
        first.say()
        second.say()
        until(lambda: len(find("jobs").waiters) == 2)
        assert len(find("jobs").holders) == 2 and shown()[1]["cycles"] == []
        jobs.release(2)
        first.expect("two")
        second.expect("two")
