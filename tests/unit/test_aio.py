# SPDX-License-Identifier: Apache-2.0
"""ipcsys.aio within one process: manners, order, cancellation, several loops, bad input."""

import asyncio
import pickle
import queue
import random
import subprocess
import sys
import threading
import time

import pytest

import ipcsys
from ipcsys import aio
from ipcsys.aio import loops

SOON = 10.0


def run(main):
    """asyncio.run with a deadline; afterwards no loop is kept, and nobody stands in line."""

    async def bounded():
        try:
            return await asyncio.wait_for(main, 60)
        finally:
            hub = loops._hubs.get(asyncio.get_running_loop())
            assert hub is None or not hub.lines

    return asyncio.run(bounded())


async def until(condition):
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.001)


async def waiting(count, thing):
    """Until so many tasks stand in line for it in this loop."""
    hub = loops.hub_of(asyncio.get_running_loop())
    await until(lambda: thing.key in hub.lines and len(hub.lines[thing.key].waiters) == count)


# -- faces ----------------------------------------------------------------------------------


def test_it_is_loaded_on_demand_only():
    code = (
        "import sys, ipcsys; assert 'asyncio' not in sys.modules and 'ipcsys.aio' not in "
        "sys.modules; ipcsys.aio.Lock; assert 'asyncio' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_face_opens_the_same_object():
    face, lock = aio.Lock(name="door"), ipcsys.Lock(name="door")
    assert face.name == "door" and lock.acquire(False) and face.locked()
    assert face.owner == lock.owner
    face.release()
    assert not lock.locked()


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Event", "Queue"])
def test_a_face_of_an_object_shares_its_handle(kind):
    shared = getattr(ipcsys, kind)()
    face = getattr(aio, kind).of(shared)
    assert face.shared is shared and type(aio.wrap(shared)) is type(face)
    copy = pickle.loads(pickle.dumps(face))
    assert type(copy) is type(face) and copy.shared is not shared
    assert kind in repr(face) and not face.closed
    face.close()
    assert shared.closed
    with pytest.raises(TypeError):
        getattr(aio, kind).of(object())


def test_a_subclass_of_an_object_is_wrapped_too():
    class Door(ipcsys.Lock):
        pass

    assert type(aio.wrap(Door())) is aio.Lock
    with pytest.raises(TypeError, match="no face for int"):
        aio.wrap(1)


def test_objects_in_a_segment_have_faces():
    with ipcsys.Segment(size="64 KiB") as segment:
        lock = aio.wrap(segment.construct(ipcsys.Lock, "lock"))
        event = aio.Event.of(segment.construct(ipcsys.Event, "event"))

        async def main():
            async with lock:
                task = asyncio.create_task(event.wait())
                await waiting(1, event._change)
                segment.find("event").set()
                assert await task

        run(main())
        assert not segment.find("lock").locked()
        for key in ("lock", "event"):
            segment.destroy(key)
        lock.close()
        event.close()


# -- Lock ----------------------------------------------------------------------------------


def test_a_lock_excludes_tasks_and_threads():
    lock, inside, most = aio.Lock(), 0, 0

    async def task():
        nonlocal inside, most
        for _ in range(50):
            async with lock:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

    def thread():
        nonlocal inside, most
        for _ in range(50):
            with lock.shared:
                inside += 1
                most = max(most, inside)
                time.sleep(0.0001)
                inside -= 1

    async def main():
        threads = [asyncio.to_thread(thread) for _ in range(2)]
        await asyncio.gather(*threads, *(task() for _ in range(4)))

    run(main())
    assert most == 1 and not lock.locked()


def test_tasks_get_the_lock_in_the_order_in_which_they_came():
    lock, order = aio.Lock(), []

    async def task(number, face):
        async with face:
            order.append(number)
            await asyncio.sleep(0)

    async def main():
        await lock.acquire()
        faces = [lock, aio.Lock.of(lock.shared)]
        tasks = []
        for number in range(10):
            tasks.append(asyncio.create_task(task(number, faces[number % 2])))
            await waiting(number + 1, lock._turn)
        lock.release()
        late = asyncio.create_task(task(10, lock))  # nor does a newcomer overtake
        await asyncio.gather(*tasks, late)

    run(main())
    assert order == list(range(11))


def test_a_release_by_a_thread_wakes_a_task_long_before_the_bound(monkeypatch):
    monkeypatch.setattr(loops, "BOUND", 1000.0)
    monkeypatch.setattr(loops, "FIRST_BOUND", 1000.0)
    lock = aio.Lock()

    async def main():
        await lock.acquire()
        task = asyncio.create_task(lock.acquire())
        await waiting(1, lock._turn)
        await asyncio.to_thread(lock.release)
        assert await task is True
        lock.release()

    run(main())


def test_acquire_gives_up_in_time():
    lock = aio.Lock()

    async def main():
        assert await lock.acquire(timeout=0) and await lock.acquire(timeout=0) is False
        start = time.monotonic()
        assert await lock.acquire(timeout=0.1) is False
        assert 0.09 <= time.monotonic() - start < 2
        lock.release()
        assert await lock.acquire(timeout=float("inf"))
        lock.release()

    run(main())


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1"])
def test_a_senseless_timeout_raises(timeout):
    error = TypeError if isinstance(timeout, str) else ValueError

    async def main():
        for call in (aio.Lock().acquire, aio.Event().wait, aio.Queue().get, aio.Queue().join):
            with pytest.raises(error):
                await call(timeout=timeout)

    run(main())


def test_a_cancelled_task_passes_the_lock_on():
    lock = aio.Lock()

    async def main():
        await lock.acquire()
        first = asyncio.create_task(lock.acquire())
        second = asyncio.create_task(lock.acquire())
        await waiting(2, lock._turn)
        lock.release()
        hub = loops.hub_of(asyncio.get_running_loop())
        hub.look(lock._turn.space)
        assert hub.lines[lock._turn.key].waiters[0].future.done()
        first.cancel()  # woken, and not yet run
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second is True
        lock.release()

    run(main())


def test_a_storm_of_cancellations_leaves_nothing_taken():
    lock, chance, got = aio.Lock(), random.Random(4), 0

    async def task():
        nonlocal got
        async with lock:
            got += 1
            await asyncio.sleep(chance.random() * 0.001)

    async def main():
        alive = set()
        for _ in range(1500):
            alive.add(asyncio.create_task(task()))
            if chance.random() < 0.6:
                victim = chance.choice(tuple(alive))
                victim.cancel()
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random() * 0.001)
            alive = {task for task in alive if not task.done()}
        await asyncio.wait(alive)
        assert await lock.acquire(timeout=1)
        lock.release()

    run(main())
    assert not lock.locked() and got > 100


def test_wait_for_and_timeout_cancel_cleanly():
    lock = aio.Lock()

    async def main():
        await lock.acquire()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(lock.acquire(), 0.02)
        if hasattr(asyncio, "timeout"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await lock.acquire()
        lock.release()
        assert await lock.acquire(timeout=0)
        lock.release()

    run(main())


def test_release_of_a_free_lock_raises_as_its_namesake():
    with pytest.raises(ipcsys.NotHeld):
        aio.Lock().release()


def test_closing_wakes_the_tasks_that_wait():
    async def main():
        for face, wait in (
            (lock := aio.Lock(), lock.acquire),
            (event := aio.Event(), event.wait),
            (items := aio.Queue(), items.get),
        ):
            if face is lock:
                await lock.acquire()
            tasks = [asyncio.create_task(wait()) for _ in range(3)]
            await asyncio.sleep(0.02)
            face.close()
            for task in tasks:
                with pytest.raises(ipcsys.Closed):
                    await task
            with pytest.raises(ipcsys.Closed):
                await wait()

    run(main())


# -- RLock ---------------------------------------------------------------------------------


def test_the_task_that_holds_an_rlock_takes_it_again_and_no_other_does():
    lock = aio.RLock()

    async def other():
        assert await lock.acquire(timeout=0) is False
        with pytest.raises(ipcsys.NotHeld):
            lock.release()

    async def main():
        async with lock, lock:
            assert await lock.acquire(timeout=0)
            await asyncio.create_task(other())
            lock.release()
            waits = asyncio.create_task(take())
            await waiting(1, lock._turn)
            async with lock:  # overtakes those who wait: they wait for it
                assert lock.locked()
        assert await waits
        with pytest.raises(ipcsys.NotHeld):
            lock.release()
        assert not lock.locked()

    async def take():
        async with lock:
            return await asyncio.to_thread(lock.shared.acquire, False) is False

    run(main())


def test_an_rlock_excludes_tasks_and_threads():
    lock, inside, most = aio.RLock(), 0, 0

    async def task():
        nonlocal inside, most
        for _ in range(40):
            async with lock:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

    def thread():
        nonlocal inside, most
        for _ in range(40):
            with lock.shared, lock.shared:
                inside += 1
                most = max(most, inside)
                time.sleep(0.0001)
                inside -= 1

    async def main():
        threads = [asyncio.to_thread(thread) for _ in range(2)]
        await asyncio.gather(*threads, *(task() for _ in range(3)))

    run(main())
    assert most == 1 and not lock.locked()


# -- loops ---------------------------------------------------------------------------------


def test_several_loops_share_one_object():
    lock, count = aio.Lock(), 0

    async def add():
        nonlocal count
        for _ in range(100):
            async with lock:
                before = count
                await asyncio.sleep(0)
                count = before + 1

    def loop():
        async def main():
            await asyncio.gather(add(), add())

        run(main())

    threads = [threading.Thread(target=loop) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert count == 600 and not lock.locked()


def test_the_loop_that_takes_the_byte_tells_the_others(monkeypatch):
    monkeypatch.setattr(loops, "BOUND", 1000.0)
    monkeypatch.setattr(loops, "FIRST_BOUND", 1000.0)
    first, second = aio.Event(), aio.Event()
    ready = threading.Barrier(3)

    def loop(event):
        async def main():
            task = asyncio.create_task(event.wait())
            await waiting(1, event._change)
            await asyncio.to_thread(ready.wait, SOON)
            assert await task

        run(main())

    threads = [threading.Thread(target=loop, args=(event,)) for event in (first, second)]
    for thread in threads:
        thread.start()
    ready.wait(SOON)
    first.set()
    threads[0].join(SOON)
    second.set()
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()


def test_one_loop_after_another_leaves_nothing_behind():
    event = aio.Event()
    for _ in range(3):

        async def main():
            assert await event.wait(0.02) is False
            await asyncio.sleep(0.25)  # the hub retires
            assert asyncio.get_running_loop() not in loops._hubs

        run(main())
    run(event.wait(0.01))
    run(event.wait(0.01))
    assert len([loop for loop in loops._hubs if loop.is_closed()]) <= 1


def test_a_task_destroyed_with_its_loop_is_in_nobodys_way():
    lock = aio.Lock()
    lock.shared.acquire()
    loop = asyncio.new_event_loop()
    task = loop.create_task(lock.acquire())
    loop.run_until_complete(asyncio.sleep(0.05))
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()
    lock.release()

    async def main():
        assert await lock.acquire(timeout=SOON)
        lock.release()

    run(main())


# -- Event ---------------------------------------------------------------------------------


def test_one_set_wakes_every_task_even_if_cleared_at_once():
    event = aio.Event()

    async def main():
        tasks = [asyncio.create_task(event.wait()) for _ in range(20)]
        await waiting(20, event._change)
        event.set()
        event.clear()
        assert await asyncio.gather(*tasks) == [True] * 20
        assert not event.is_set() and await event.wait(0) is False
        event.set()
        assert event.is_set() and await event.wait(0) is True

    run(main())


def test_wait_for_an_event_gives_up_in_time():
    async def main():
        start = time.monotonic()
        assert await aio.Event().wait(0.05) is False
        assert time.monotonic() - start >= 0.04

    run(main())


# -- Queue ---------------------------------------------------------------------------------


def test_a_queue_brings_every_item_once():
    items, count = aio.Queue(maxsize=7), 400
    got = []

    async def put(start):
        for number in range(start, count, 2):
            await items.put(number)

    async def get():
        while (item := await items.get()) is not None:
            got.append(item)
            items.task_done()

    async def main():
        getters = [asyncio.create_task(get()) for _ in range(3)]
        await asyncio.gather(put(0), put(1))
        await items.join()
        for _ in getters:
            await items.put(None)
        await asyncio.gather(*getters)

    run(main())
    assert sorted(got) == list(range(count))


def test_threads_and_tasks_take_from_one_queue(monkeypatch):
    items, got = aio.Queue(), []

    def thread():
        while (item := items.shared.get(timeout=SOON)) is not None:
            got.append(item)

    async def task():
        while (item := await items.get()) is not None:
            got.append(item)

    async def main():
        takers = [asyncio.create_task(task()) for _ in range(2)]
        takers += [asyncio.create_task(asyncio.to_thread(thread)) for _ in range(2)]
        for number in range(300):
            await items.put(number)
            if number % 10 == 0:
                await asyncio.sleep(0.001)
        for _ in takers:
            await items.put(None)
        await asyncio.gather(*takers)

    run(main())
    assert sorted(got) == list(range(300))


def test_the_queue_keeps_its_namesakes_manners():
    items = aio.Queue(maxsize=2)

    async def main():
        with pytest.raises(queue.Empty):
            items.get_nowait()
        with pytest.raises(queue.Empty):
            await items.get(timeout=0.01)
        assert await items.put_many(["a", "b", "c"], timeout=0.01) == 2
        assert items.full() and items.qsize() == 2 and items.maxsize == 2
        with pytest.raises(queue.Full):
            items.put_nowait("c")
        with pytest.raises(queue.Full):
            await items.put("c", timeout=0.01)
        with pytest.raises(queue.Full):
            await items.put_many(["c"], timeout=0.01)
        with pytest.raises(ipcsys.Timeout):
            await items.join(timeout=0.01)
        assert await items.get_many(5) == ["a", "b"] and items.empty()
        with pytest.raises(queue.Empty):
            await items.get_many(5, timeout=0.01)
        items.task_done()
        items.task_done()
        await items.join()
        await items.put_bytes(bytearray(b"xyz"))
        room = bytearray(8)
        assert await items.get_into(room) == 3 and bytes(room[:3]) == b"xyz"
        items.put_nowait({"a": 1})
        assert items.get_nowait() == {"a": 1}
        with pytest.raises(queue.Empty):
            await items.get_into(room, timeout=0.01)

    run(main())


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_put_waits_for_room_and_a_get_makes_it(size):
    items = aio.Queue(maxsize=1) if size == 10 else aio.Queue(max_bytes="512 KiB")

    async def main():
        async def put():
            for number in range(20):
                await items.put(bytes([number]) * size)

        task = asyncio.create_task(put())
        for number in range(20):
            await asyncio.sleep(0.001)
            assert await items.get() == bytes([number]) * size
        await task

    run(main())


def test_shutdown_wakes_those_who_wait():
    async def main():
        items = aio.Queue(maxsize=1)
        getters = [asyncio.create_task(items.get()) for _ in range(2)]
        await waiting(2, items._items)
        items.shutdown()
        for task in getters:
            with pytest.raises(ipcsys.ShutDown):
                await task
        full = aio.Queue(maxsize=1)
        await full.put(1)
        putter = asyncio.create_task(full.put(2))
        await waiting(1, full._room)
        full.shutdown(immediate=True)
        with pytest.raises(ipcsys.ShutDown):
            await putter

    run(main())


def test_a_storm_of_cancellations_loses_no_item_and_puts_none_twice():
    items, chance = aio.Queue(maxsize=5), random.Random(5)
    put, got = [], []

    async def putter(number):
        await items.put(number)
        put.append(number)

    async def getter():
        got.append(await items.get())

    async def main():
        alive = set()
        for number in range(1500):
            alive.add(asyncio.create_task(putter(number)))
            alive.add(asyncio.create_task(getter()))
            if chance.random() < 0.5:
                for victim in chance.sample(tuple(alive), min(2, len(alive))):
                    victim.cancel()
            if chance.random() < 0.3:
                await asyncio.sleep(0)
            alive = {task for task in alive if not task.done()}
        await asyncio.sleep(0.05)
        for task in alive:
            task.cancel()
        if alive:
            await asyncio.wait(alive)
        while not items.empty():
            got.append(items.get_nowait())

    run(main())
    assert len(put) > 300
    assert sorted(got) == sorted(put)
    assert items.shared.check() == []


def test_a_put_that_cannot_be_encoded_raises_and_puts_nothing():
    items = aio.Queue()

    async def main():
        with pytest.raises(ipcsys.EncodeError):
            await items.put(lambda: 1)
        assert items.empty()
        async with items as same:
            assert same is items
        assert items.closed

    run(main())


def test_many_at_once_stop_at_what_cannot_be_decoded():
    items = aio.Queue()

    async def main():
        assert await items.put_many(["a", "b"]) == 2
        items.shared.put(_Spoiled())
        await items.put("c")
        assert await items.get_many(10) == ["a", "b"]
        with pytest.raises(ipcsys.DecodeError):
            await items.get_many(10)
        assert await items.get_many(10) == ["c"]
        assert await items.get_many(0) == []
        with pytest.raises(ValueError):
            await items.get_many(-1)
        with pytest.raises(ipcsys.EncodeError):
            await items.put_many(["a", lambda: 1])
        assert items.empty()

    run(main())


def _spoil():
    raise RuntimeError("not today")


class _Spoiled:
    def __reduce__(self):
        return _spoil, ()
