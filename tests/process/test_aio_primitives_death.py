# SPDX-License-Identifier: Apache-2.0
"""Semaphore, Condition, Barrier and RWLock: tasks and other processes, and their deaths."""

import asyncio
import contextlib
import threading
import time

import pytest
from child import Child

import ipcsys
from ipcsys import aio
from ipcsys.aio import loops


def run(main):
    async def bounded():
        return await asyncio.wait_for(main, 60)

    return asyncio.run(bounded())


@pytest.fixture
def no_bound(monkeypatch):
    """Only a byte wakes: no timer helps."""
    monkeypatch.setattr(loops, "BOUND", 1000.0)
    monkeypatch.setattr(loops, "FIRST_BOUND", 1000.0)


async def hear(child, line):
    await asyncio.to_thread(child.expect, line)


def test_other_processes_wake_tasks_by_each_of_the_primitives(no_bound):
    code = """
semaphore, condition = ipcsys.Semaphore(0, name="s"), ipcsys.Condition(name="c")
barrier, lock = ipcsys.Barrier(2, name="b"), ipcsys.RWLock(name="r")
lock.acquire_write()
say("ready")
hear()
semaphore.release()
hear()
with condition:
    condition.notify()
hear()
barrier.wait(10)
hear()
lock.release_write()
lock.acquire_read()
say("reads")
hear()
lock.release_read()
barrier.close()
"""
    semaphore, condition = aio.Semaphore(0, name="s"), aio.Condition(name="c")
    barrier, lock = aio.Barrier(2, name="b"), aio.RWLock(name="r")

    async def woken(child, wait):
        task = asyncio.create_task(wait)
        await asyncio.sleep(0.05)
        assert not task.done()
        child.say()
        return await asyncio.wait_for(task, 10)

    async def notified():
        async with condition:
            return await condition.wait()

    async def main(child):
        assert await woken(child, semaphore.acquire()) is True
        assert await woken(child, notified()) is True
        assert await woken(child, barrier.wait()) in (0, 1)
        assert await woken(child, lock.acquire_read()) is True
        await hear(child, "reads")
        lock.release_read()
        assert await woken(child, lock.acquire_write()) is True
        lock.release_write()

    with Child(code) as child:
        child.expect("ready")
        run(main(child))
        child.finish()
    barrier.close()


@pytest.mark.parametrize(
    ("holds", "waits"),
    [
        ("ipcsys.Semaphore(1, name='x').acquire()", lambda: aio.Semaphore(1, name="x").acquire()),
        ("ipcsys.RLock(name='x').acquire()", lambda: aio.RLock(name="x").acquire()),
        ("ipcsys.Condition(name='x').acquire()", lambda: aio.Condition(name="x").acquire()),
        ("ipcsys.RWLock(name='x').acquire_write()", lambda: aio.RWLock(name="x").acquire_read()),
        ("ipcsys.RWLock(name='x').acquire_write()", lambda: aio.RWLock(name="x").acquire_write()),
        ("ipcsys.RWLock(name='x').acquire_read()", lambda: aio.RWLock(name="x").acquire_write()),
    ],
    ids=["permit", "rlock", "condition", "write-read", "write-write", "read-write"],
)
def test_what_a_killed_process_held_comes_to_the_task_that_waits(holds, waits):
    async def main(holder):
        task = asyncio.create_task(waits())
        await asyncio.sleep(0.15)
        assert not task.done()
        died = time.monotonic()
        holder.process.kill()
        assert await task is True
        return time.monotonic() - died

    with Child(f"held = {holds}\nsay('held')\nhear()") as holder:
        holder.expect("held")
        took = run(main(holder))
    assert took < 2, took  # a bound is 0.1 s; this machine may be busy


@pytest.mark.parametrize(
    ("has", "waits"),
    [
        ("ipcsys.Semaphore(1, name='x').acquire()", lambda: aio.Semaphore(1, name="x").acquire()),
        ("ipcsys.RWLock(name='x').acquire_read()", lambda: aio.RWLock(name="x").acquire_write()),
        ("ipcsys.RWLock(name='x').acquire_write()", lambda: aio.RWLock(name="x").acquire_read()),
        ("ipcsys.Barrier(3, name='x').wait()", lambda: aio.Barrier(3, name="x").wait()),
    ],
    ids=["permit", "reader", "writer", "party"],
)
def test_the_kernel_tells_a_loop_of_the_death_of_any_holder(has, waits):
    async def main(holder):
        task = asyncio.create_task(waits())
        await asyncio.sleep(0.15)
        assert not task.done()
        loops.hub_of(asyncio.get_running_loop())._timer.cancel()  # no bound ends it
        holder.process.kill()
        with contextlib.suppress(threading.BrokenBarrierError):
            assert await asyncio.wait_for(task, 10) is True

    with Child(f"say('here')\nheld = {has}\nhear()") as holder:
        holder.expect("here")
        time.sleep(0.1)
        run(main(holder))


def test_a_killed_party_breaks_the_barrier_for_the_tasks_that_wait():
    barrier = aio.Barrier(3, name="b")

    async def main(party):
        tasks = [asyncio.create_task(barrier.wait())]
        await asyncio.sleep(0.15)
        assert barrier.n_waiting == 2
        party.process.kill()
        with pytest.raises(threading.BrokenBarrierError):
            await asyncio.wait_for(tasks[0], 10)
        barrier.reset()

    with Child("say('here')\nipcsys.Barrier(3, name='b').wait()") as party:
        party.expect("here")
        run(main(party))
    assert not barrier.broken and barrier.shared.check() == []
    barrier.close()


WAITERS = """
import asyncio
from ipcsys import aio
async def main():
    condition = aio.Condition(name="c")
    async def waits():
        async with condition:
            await condition.wait()
    tasks = [asyncio.create_task(waits()) for _ in range(3)]
    await asyncio.sleep(0.05)
    say("waiting")
    await asyncio.gather(*tasks)
asyncio.run(main())
"""


def test_tasks_killed_in_a_condition_cost_the_living_no_notification():
    condition, woken = aio.Condition(name="c"), 0

    async def waits():
        nonlocal woken
        async with condition:
            assert await condition.wait(20)
            woken += 1

    async def main():
        with contextlib.ExitStack() as stack:
            children = [stack.enter_context(Child(WAITERS)) for _ in range(2)]
            for child in children:
                await hear(child, "waiting")
            tasks = [asyncio.create_task(waits()) for _ in range(2)]
            await asyncio.sleep(0.05)
            for child in children:
                child.stop()  # so that they cannot act on what they are given
            async with condition:
                condition.notify(6)  # the six that came first, all in the children
            for child in children:
                child.kill()
        await asyncio.gather(*tasks)
        async with condition:
            assert await condition.wait(0.02) is False

    run(main())
    ipcsys._core.sweep()
    assert woken == 2


def test_a_killed_writer_in_a_task_opens_the_gate_for_readers():
    lock = aio.RWLock(name="r")
    code = """
import asyncio
from ipcsys import aio
async def main():
    task = asyncio.create_task(aio.RWLock(name="r").acquire_write())
    await asyncio.sleep(0.05)
    say("intends")
    await task
asyncio.run(main())
"""

    async def main():
        assert await lock.acquire_read()
        with Child(code) as child:
            await hear(child, "intends")

            def try_read():
                taken = lock.shared.try_read()
                if taken:
                    lock.release_read()
                return taken

            assert await asyncio.to_thread(try_read) is False
            child.kill()
        assert await lock.acquire_read(timeout=10)
        lock.release_read()
        lock.release_read()
        assert await lock.acquire_write(timeout=10) and not lock.abandoned
        lock.release_write()

    run(main())
    assert lock.shared.check() == []
