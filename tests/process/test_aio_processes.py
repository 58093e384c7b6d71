# SPDX-License-Identifier: Apache-2.0
"""Tasks that wait for other processes, and what they find when those die."""

import asyncio
import contextlib
import mmap
import os
import signal
import struct
import time

import pytest
from child import Child

import ipcsys
from ipcsys import _core, aio
from ipcsys.aio import loops

HOLD = """
lock = ipcsys.Lock(name="door")
lock.acquire()
say("held")
hear()
lock.release()
say("released")
hear()
"""

WAITER = """
import asyncio
from ipcsys import aio
async def main():
    event, lock, items = aio.Event(name="start"), aio.Lock(name="door"), aio.Queue(name="items")
    waits = [asyncio.create_task(wait) for wait in (event.wait(), lock.acquire(), items.get())]
    await asyncio.sleep(0.05)
    say("waiting")
    await asyncio.gather(*waits)
    lock.release()
    say("done")
asyncio.run(main())
"""


def run(main):
    async def bounded():
        return await asyncio.wait_for(main, 60)

    return asyncio.run(bounded())


@pytest.fixture
def no_bound(monkeypatch):
    """Only a byte wakes: no timer helps."""
    monkeypatch.setattr(loops, "BOUND", 1000.0)
    monkeypatch.setattr(loops, "FIRST_BOUND", 1000.0)


async def say(child, line=""):
    await asyncio.to_thread(child.say, line)


def test_another_process_wakes_a_task(no_bound):
    lock, event, items = aio.Lock(name="door"), aio.Event(name="start"), aio.Queue(name="items")
    work = """
lock, event = ipcsys.Lock(name="door"), ipcsys.Event(name="start")
items = ipcsys.Queue(name="items")
lock.acquire()
say("held")
for step in (lock.release, event.set, lambda: items.put("x")):
    hear()
    step()
"""

    async def main(child):
        for wait, answer in ((lock.acquire, True), (event.wait, True), (items.get, "x")):
            task = asyncio.create_task(wait())
            await asyncio.sleep(0.05)
            assert not task.done()
            await say(child)
            assert await task == answer

    with Child(work) as child:
        child.expect("held")
        run(main(child))
        child.finish()
    lock.release()


def test_one_change_wakes_the_tasks_of_all_processes():
    event, lock, items = (
        ipcsys.Event(name="start"), ipcsys.Lock(name="door"), ipcsys.Queue(name="items")
    )  # fmt: skip
    lock.acquire()
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(WAITER)) for _ in range(3)]
        for child in children:
            child.expect("waiting")
        event.set()
        event.clear()
        for _ in children:
            items.put("x")
        lock.release()
        for child in children:
            child.expect("done")
            child.finish()


def test_a_killed_holder_is_noticed_long_before_the_bound():
    lock = aio.Lock(name="door")

    async def waited(holder):
        task = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0.3)  # beyond the first looks: the loop watches the holder by now
        died = time.monotonic()
        holder.process.kill()
        assert await task is True
        return time.monotonic() - died

    times = []
    for _ in range(4):
        with Child(HOLD) as holder:
            holder.expect("held")
            times.append(run(waited(holder)))
        assert lock.abandoned
        lock.release()
        assert not lock.abandoned
    assert min(times) < 0.03, times


def test_a_holder_that_stands_still_is_not_robbed():
    lock = aio.Lock(name="door")

    async def main(holder):
        holder.stop()
        assert await lock.acquire(timeout=0.6) is False
        task = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0.1)
        holder.go_on()
        await say(holder)
        assert await task and not lock.abandoned
        lock.release()

    with Child(HOLD) as holder:
        holder.expect("held")
        run(main(holder))


def test_killed_waiters_leave_nothing_behind(namespace_folder):
    lock, items = ipcsys.Lock(name="door"), ipcsys.Queue(name="items")
    event = ipcsys.Event(name="start")
    lock.acquire()
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(WAITER)) for _ in range(3)]
        for child in children:
            child.expect("waiting")
        folders = os.path.join(namespace_folder, ".m")
        fifos = [
            os.path.join(folders, folder, "post")
            for folder in os.listdir(folders)
            if os.path.exists(os.path.join(folders, folder, "post"))
        ]
        assert len(fifos) == 3
        for child in children:
            child.kill()
    lock.release()
    event.set()
    items.put("x")
    _core.sweep()
    assert not any(os.path.exists(fifo) for fifo in fifos)
    assert lock.acquire(timeout=1) and not lock.abandoned and items.get(timeout=1) == "x"
    lock.release()
    assert _core.check_members() == [] and items.check() == []


def test_tasks_of_processes_that_are_killed_lose_no_lock_and_no_item():
    code = """
import asyncio
from ipcsys import aio
async def work(lock, items, done):
    while True:
        async with lock:
            await asyncio.sleep(0)
        await done.put(await items.get())
async def main():
    lock, items, done = aio.Lock(name="door"), aio.Queue(name="items"), aio.Queue(name="done")
    say("ready")
    await asyncio.gather(*(work(lock, items, done) for _ in range(4)))
asyncio.run(main())
"""
    lock, items, done = aio.Lock(name="door"), aio.Queue(name="items"), aio.Queue(name="done")
    seen, sent, kills = set(), 0, 0

    async def main(children):
        nonlocal sent, kills
        while kills < 12:
            for number, child in enumerate(children):
                for _ in range(20):
                    await items.put(sent)
                    sent += 1
                await asyncio.sleep(0.01)
                await asyncio.to_thread(child.kill)
                child.__exit__()
                kills += 1
                children[number] = await asyncio.to_thread(Child, code)
                children[number].expect("ready")
                assert await lock.acquire(timeout=10)
                lock.release()
                while not done.empty():
                    seen.add(done.get_nowait())
        deadline = time.monotonic() + 20
        while len(seen) < sent - 4 * kills and time.monotonic() < deadline:
            with contextlib.suppress(ipcsys.Empty):
                seen.add(await done.get(timeout=0.2))

    children = [Child(code) for _ in range(2)]
    try:
        for child in children:
            child.expect("ready")
        run(main(children))
    finally:
        for child in children:
            child.__exit__()
    while not items.empty():
        seen.add(items.get_nowait())
    while not done.empty():
        seen.add(done.get_nowait())
    assert sent - 4 * kills <= len(seen) <= sent  # a killed consumer loses one item a task
    assert items.shared.check() == [] and done.shared.check() == []


@pytest.mark.parametrize(("offset", "name"), [(384, "get"), (256, "put")])
def test_a_queue_lock_that_is_held_does_not_block_the_loop(offset, name, namespace_folder):
    """The holder of a queue's inner lock stands still: other tasks go on, and the wait
    goes on by itself once the lock is free."""
    items = aio.Queue(name="items")
    path = os.path.join(namespace_folder, "items")

    async def main(owner):
        await items.put("x")
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4096) as words:
            struct.pack_into("<Q", words, offset, owner)
            gaps, before = [], time.monotonic()
            task = asyncio.create_task(items.get() if name == "get" else items.put("y"))
            for _ in range(100):
                await asyncio.sleep(0.002)
                gaps.append(time.monotonic() - before)
                before = time.monotonic()
            assert not task.done()
            gaps.sort()
            assert gaps[len(gaps) // 2] < 0.02, gaps
            struct.pack_into("<Q", words, offset, 0)
            assert await task == ("x" if name == "get" else None)

    with Child("say(ipcsys._core.owner()); hear()") as holder:
        run(main(int(holder.hear())))
    assert items.shared.check() == []


def test_the_death_of_a_queue_locks_holder_is_noticed():
    items = aio.Queue(name="items")

    async def main(path):
        await items.put("x")
        with Child("say(ipcsys._core.owner()); hear()") as holder:
            owner = int(holder.hear())
            with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4096) as words:
                struct.pack_into("<Q", words, 384, owner)
            task = asyncio.create_task(items.get())
            await asyncio.sleep(0.05)
            holder.kill()
            assert await task == "x"

    run(main(os.path.join(_core.folder(), "items")))
    assert items.shared.check() == []


def test_a_forked_child_waits_with_a_fifo_of_its_own(no_bound):
    event, other = aio.Event(name="start"), aio.Event(name="other")

    async def wait_for(event):
        task = asyncio.create_task(event.wait())
        await asyncio.sleep(0.05)
        return task

    async def main():
        task = await wait_for(event)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                asyncio.set_event_loop(None)
                asyncio._set_running_loop(None)
                assert not loops._hubs

                async def child():
                    assert await (await wait_for(other))

                run(child())
                code = 0
            finally:
                os._exit(code)
        await asyncio.sleep(0.2)
        other.set()
        assert (await asyncio.to_thread(os.waitpid, pid, 0))[1] == 0
        assert not task.done()
        event.set()
        assert await task

    run(main())


def test_ctrl_c_ends_a_program_whose_tasks_wait():
    code = """
import asyncio
from ipcsys import aio
async def main():
    say("waiting")
    await aio.Event(name="start").wait()
try:
    asyncio.run(main())
except KeyboardInterrupt:
    say("interrupted")
"""
    with Child(code) as child:
        child.expect("waiting")
        time.sleep(0.1)
        os.kill(child.pid, signal.SIGINT)
        child.expect("interrupted")
        child.finish()


WRITES = """
table = ipcsys.RWLock(name="table")
say("writes")
while True:
    with table.write():
        time.sleep(0.001)
"""


def test_a_stream_of_writers_does_not_starve_a_task_that_reads(no_bound):
    table = aio.RWLock(name="table")

    async def main():
        for _ in range(20):
            async with table.read(timeout=30):
                assert table.writer is None
        return True

    with Child("import time\n" + WRITES) as first, Child("import time\n" + WRITES) as second:
        first.expect("writes")
        second.expect("writes")
        assert run(main())
