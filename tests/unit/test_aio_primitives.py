# SPDX-License-Identifier: Apache-2.0
"""Semaphore, Condition, Barrier and RWLock for asyncio, within one process."""

import asyncio
import pickle
import random
import threading
import time

import pytest

import ipcsys
from ipcsys import _core, aio
from ipcsys.aio import loops

SOON = 10.0


def run(main):
    """asyncio.run with a deadline; afterwards nobody stands in line."""

    async def bounded():
        try:
            return await asyncio.wait_for(main, 60)
        finally:
            hub = loops._hubs.get(asyncio.get_running_loop())
            assert hub is None or not hub.lines

    return asyncio.run(bounded())


@pytest.fixture
def no_bound(monkeypatch):
    """Only a byte wakes: no timer helps."""
    monkeypatch.setattr(loops, "BOUND", 1000.0)
    monkeypatch.setattr(loops, "FIRST_BOUND", 1000.0)


async def settled():
    for _ in range(5):
        await asyncio.sleep(0.002)


def faces():
    return [
        aio.Semaphore(2), aio.BoundedSemaphore(2), aio.Condition(), aio.Condition(aio.Lock()),
        aio.Barrier(2), aio.RWLock(),
    ]  # fmt: skip


@pytest.mark.parametrize("face", range(6))
def test_a_face_wraps_and_travels_as_its_object_does(face):
    face = faces()[face]
    assert type(aio.wrap(face.shared)) is type(face)
    copy = pickle.loads(pickle.dumps(face))
    assert type(copy) is type(face) and not copy.closed and copy.shared is not face.shared
    assert face.shared.check() == []


# -- Semaphore -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [aio.Semaphore, aio.BoundedSemaphore])
def test_a_semaphore_lets_as_many_in_as_it_has_permits(kind, no_bound):
    semaphore, inside, most = kind(3), 0, 0

    async def task():
        nonlocal inside, most
        for _ in range(20):
            async with semaphore:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

    def thread():
        for _ in range(20):
            with semaphore.shared:
                time.sleep(0.0001)

    async def main():
        await asyncio.gather(asyncio.to_thread(thread), *(task() for _ in range(8)))

    run(main())
    assert 2 <= most <= 3 and semaphore.value == 3 and not semaphore.locked()
    if kind is aio.BoundedSemaphore:
        with pytest.raises(ValueError):
            semaphore.release()


def test_permits_go_in_the_order_in_which_they_were_asked_for(no_bound):
    semaphore, order = aio.Semaphore(0), []

    async def task(number):
        assert await semaphore.acquire()
        order.append(number)

    async def main():
        tasks = []
        for number in range(8):
            tasks.append(asyncio.create_task(task(number)))
            await asyncio.sleep(0)
        assert await semaphore.acquire(timeout=0) is False
        assert await semaphore.acquire(timeout=0.02) is False
        await asyncio.to_thread(semaphore.shared.release, 3)
        await asyncio.wait_for(asyncio.gather(*tasks[:3]), SOON)
        semaphore.release(5)
        await asyncio.gather(*tasks)

    run(main())
    assert order == list(range(8))


def test_a_storm_of_cancellations_keeps_every_permit():
    semaphore, chance = aio.BoundedSemaphore(3), random.Random(6)

    async def task():
        async with semaphore:
            await asyncio.sleep(chance.random() * 0.001)

    async def main():
        alive = set()
        for _ in range(800):
            alive.add(asyncio.create_task(task()))
            if chance.random() < 0.6:
                chance.choice(tuple(alive)).cancel()
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random() * 0.001)
            alive = {task for task in alive if not task.done()}
        if alive:
            await asyncio.wait(alive)

    run(main())
    assert semaphore.value == 3 and semaphore.shared.check() == []


# -- Condition -----------------------------------------------------------------------------


def conditions():
    return {
        "its own": aio.Condition(),
        "a Lock": aio.Condition(aio.Lock()),
        "an RLock": aio.Condition(ipcsys.RLock()),
    }


@pytest.mark.parametrize("lock", ["its own", "a Lock", "an RLock"])
def test_notifications_go_to_those_who_waited_longest(lock, no_bound):
    condition, order = conditions()[lock], []

    async def task(number):
        async with condition:
            assert await condition.wait() is True
            order.append(number)

    async def main():
        tasks = []
        for number in range(6):
            tasks.append(asyncio.create_task(task(number)))
            await settled()
        async with condition:
            condition.notify(2)
            condition.notify()
        await asyncio.wait_for(asyncio.gather(*tasks[:3]), SOON)
        await settled()
        assert not any(task.done() for task in tasks[3:])
        async with condition:
            condition.notify_all()
        await asyncio.gather(*tasks)

    run(main())
    assert sorted(order[:3]) == [0, 1, 2] and sorted(order) == list(range(6))
    assert condition.shared.check() == [] and not condition.locked()


def test_threads_and_tasks_wait_for_one_condition(no_bound):
    condition, items, got = aio.Condition(), [], []

    def thread():
        with condition.shared:
            assert condition.shared.wait_for(lambda: items, SOON)
            got.append(items.pop())

    async def task():
        async with condition:
            assert await condition.wait_for(lambda: items)
            got.append(items.pop())

    async def main():
        waits = [asyncio.create_task(task()) for _ in range(3)]
        waits += [asyncio.create_task(asyncio.to_thread(thread)) for _ in range(3)]
        await asyncio.sleep(0.1)
        for number in range(6):
            async with condition:
                items.append(number)
                condition.notify_all() if number % 2 else condition.notify()
            await settled()
        async with condition:
            condition.notify_all()
        await asyncio.gather(*waits)

    run(main())
    assert sorted(got) == list(range(6)) and condition.shared.check() == []


def test_a_thread_wakes_a_task_and_a_task_a_thread(no_bound):
    condition = aio.Condition()

    def notify():
        with condition.shared:
            condition.shared.notify()

    def wait(ready):
        with condition.shared:
            ready.set()
            return condition.shared.wait(SOON)

    async def main():
        async with condition:
            waker = asyncio.create_task(asyncio.to_thread(notify))
            assert await condition.wait(SOON)
        await waker
        ready = threading.Event()
        waiter = asyncio.create_task(asyncio.to_thread(wait, ready))
        await asyncio.to_thread(ready.wait, SOON)
        async with condition:
            condition.notify()
        assert await waiter

    run(main())


@pytest.mark.parametrize("lock", ["its own", "a Lock", "an RLock"])
def test_the_condition_keeps_its_namesakes_manners(lock):
    condition = conditions()[lock]

    async def main():
        for call in (condition.notify, condition.notify_all):
            with pytest.raises(ipcsys.NotHeld):
                call()
        with pytest.raises(ipcsys.NotHeld):
            await condition.wait()
        async with condition:
            start = time.monotonic()
            assert await condition.wait(0.03) is False
            assert time.monotonic() - start >= 0.025
            assert await condition.wait_for(lambda: 0, 0.02) == 0
            assert await condition.wait_for(lambda: 7) == 7
            if lock != "a Lock":
                async with condition:  # held twice, given up whole, had again as deep
                    assert await condition.wait(0.01) is False
            assert condition.locked()
        assert not condition.locked()

    run(main())
    assert condition.shared.check() == []


def test_a_cancelled_waiter_has_the_lock_again_and_passes_the_notification_on(no_bound):
    condition = aio.Condition(aio.Lock())

    async def task():
        async with condition:
            try:
                return await condition.wait()
            except asyncio.CancelledError:
                assert condition.locked()
                raise

    async def main():
        first = asyncio.create_task(task())
        await settled()
        second = asyncio.create_task(task())
        await settled()
        async with condition:
            condition.notify()
            first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await asyncio.wait_for(second, SOON)

    run(main())
    assert condition.shared.check() == [] and not condition.locked()


def test_a_storm_of_cancellations_loses_no_notification():
    condition, chance, items, got, put = aio.Condition(), random.Random(7), [], 0, 0

    async def getter():
        nonlocal got
        async with condition:
            await condition.wait_for(lambda: items)
            items.pop()
            got += 1

    async def main():
        nonlocal put
        alive = set()
        for _ in range(400):
            alive.add(asyncio.create_task(getter()))
            if chance.random() < 0.4:
                chance.choice(tuple(alive)).cancel()
            if chance.random() < 0.5:
                async with condition:
                    items.append(1)
                    put += 1
                    condition.notify()
            if chance.random() < 0.3:
                await asyncio.sleep(0)
            alive = {task for task in alive if not task.done()}
        await asyncio.sleep(0.1)
        async with condition:
            alive = {task for task in alive if not task.done()}
            assert not (items and alive), (len(items), len(alive))
        for task in alive:
            task.cancel()
        if alive:
            await asyncio.wait(alive)

    run(main())
    assert got + len(items) == put and got > 50
    assert condition.shared.check() == [] and not condition.locked()


def test_a_task_thrown_away_leaves_no_seat():
    condition = aio.Condition()

    async def main():
        async def task():
            async with condition:
                await condition.wait()

        waiting = task()
        waiting.send(None)  # it took the lock, and a seat, and sleeps
        waiting.close()

    with pytest.raises((RuntimeError, ipcsys.NotHeld)):
        run(main())
    assert condition.shared.check() == []


def test_a_condition_refuses_a_lock_that_it_cannot_wait_for():
    with pytest.raises(TypeError):
        aio.Condition(threading.Lock())
    with pytest.raises(TypeError):
        aio.Condition.of(ipcsys.Condition(threading.Lock()))


# -- Barrier -------------------------------------------------------------------------------


def test_a_barrier_lets_all_go_at_once_again_and_again(no_bound):
    barrier, rounds = aio.Barrier(3), []

    async def task():
        for number in range(20):
            rounds.append((number, await barrier.wait()))

    def thread():
        for number in range(20):
            rounds.append((number, barrier.shared.wait(SOON)))

    async def main():
        await asyncio.gather(task(), task(), asyncio.to_thread(thread))

    run(main())
    assert sorted(rounds) == [(number, index) for number in range(20) for index in range(3)]
    assert barrier.parties == 3 and barrier.n_waiting == 0 and barrier.shared.check() == []
    barrier.close()


@pytest.mark.parametrize("is_async", [False, True])
def test_the_last_to_come_acts_before_the_others_go(is_async, no_bound):
    log = []

    async def act_async():
        await asyncio.sleep(0.01)
        log.append("acted")

    barrier = aio.Barrier(3, action=act_async if is_async else lambda: log.append("acted"))

    async def task():
        await barrier.wait()
        log.append("went")

    async def main():
        await asyncio.gather(*(task() for _ in range(3)))
        await asyncio.gather(*(task() for _ in range(6)))  # more than parties, two rounds

    run(main())
    assert log.count("acted") == 3 and log.count("went") == 9
    assert log[:4] == ["acted", "went", "went", "went"]
    barrier.close()


def test_a_barrier_breaks_as_its_namesake_does():
    async def main():
        barrier = aio.Barrier(2)
        with pytest.raises(threading.BrokenBarrierError):
            await barrier.wait(timeout=0.02)
        assert barrier.broken
        with pytest.raises(threading.BrokenBarrierError):
            await barrier.wait()
        barrier.reset()
        assert not barrier.broken
        task = asyncio.create_task(barrier.wait())
        await settled()
        assert barrier.n_waiting == 1
        barrier.abort()
        with pytest.raises(threading.BrokenBarrierError):
            await task
        barrier.reset()
        task = asyncio.create_task(barrier.wait())
        await settled()
        barrier.reset()
        with pytest.raises(threading.BrokenBarrierError):
            await task
        assert sorted(await asyncio.gather(barrier.wait(), barrier.wait())) == [0, 1]
        barrier.close()

    run(main())


def test_an_action_that_raises_breaks_the_barrier():
    barrier = aio.Barrier(2, action=lambda: 1 / 0)

    async def main():
        done = await asyncio.gather(barrier.wait(), barrier.wait(), return_exceptions=True)
        kinds = {type(error) for error in done}
        assert ZeroDivisionError in kinds and len(kinds) == 2
        assert barrier.broken

    run(main())
    barrier.close()


def test_a_cancelled_party_has_never_come():
    barrier = aio.Barrier(2)

    async def main():
        task = asyncio.create_task(barrier.wait())
        await settled()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert barrier.n_waiting == 0 and not barrier.broken
        assert sorted(await asyncio.gather(barrier.wait(), barrier.wait())) == [0, 1]

    run(main())
    assert barrier.shared.check() == []
    barrier.close()


# -- RWLock --------------------------------------------------------------------------------


def test_readers_share_and_writers_are_alone(no_bound):
    lock, readers, writers, most = aio.RWLock(), 0, 0, 0

    async def read():
        nonlocal readers, most
        for _ in range(30):
            async with lock.read():
                assert writers == 0
                readers += 1
                most = max(most, readers)
                await asyncio.sleep(0)
                readers -= 1

    async def write():
        nonlocal writers
        for _ in range(30):
            async with lock.write():
                assert writers == 0 and readers == 0
                writers += 1
                await asyncio.sleep(0)
                writers -= 1

    async def main():
        await asyncio.gather(*(read() for _ in range(4)), *(write() for _ in range(2)))

    run(main())
    assert most > 1 and lock.readers == 0 and lock.writer is None
    assert lock.shared.check() == []


def test_threads_read_and_write_beside_tasks():
    lock, value = aio.RWLock(), [0, 0]

    def thread():
        for _ in range(60):
            with lock.shared.write():
                value[0] += 1
                value[1] += 1

    async def write():
        for _ in range(60):
            async with lock.write():
                value[0] += 1
                await asyncio.sleep(0)
                value[1] += 1

    async def read():
        for _ in range(60):
            async with lock.read() as same:
                assert same is lock and value[0] == value[1]
                await asyncio.sleep(0)

    async def main():
        await asyncio.gather(asyncio.to_thread(thread), write(), read(), read())

    run(main())
    assert value == [120, 120] and lock.shared.check() == []


def test_a_waiting_writer_keeps_new_readers_out_and_a_cancelled_one_lets_them_in():
    lock = aio.RWLock()

    async def main():
        assert await lock.acquire_read()
        writer = asyncio.create_task(lock.acquire_write())
        await settled()

        def late():
            return lock.shared.try_read()

        assert await asyncio.to_thread(late) is False
        writer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writer
        assert await lock.acquire_write(timeout=0.02) is False
        assert await lock.acquire_write(timeout=0) is False

        def reads():
            with lock.shared.read(SOON):
                return True

        assert await asyncio.to_thread(reads)
        assert await lock.upgrade(timeout=SOON)
        with pytest.raises(ipcsys.Timeout):
            async with lock.read(timeout=0.02):
                pass
        assert await lock.acquire_read(timeout=0) is False
        lock.downgrade()
        assert lock.readers == 1
        lock.release_read()
        with pytest.raises(ipcsys.NotHeld):
            lock.release_read()
        with pytest.raises(ipcsys.NotHeld):
            lock.release_write()
        with pytest.raises(ipcsys.NotHeld):
            await lock.upgrade()

    run(main())
    assert lock.shared.check() == []


def test_a_storm_of_cancellations_leaves_the_lock_free():
    lock, chance = aio.RWLock(), random.Random(8)

    async def task(writes):
        async with lock.write() if writes else lock.read():
            await asyncio.sleep(chance.random() * 0.001)

    async def main():
        alive = set()
        for number in range(600):
            alive.add(asyncio.create_task(task(number % 3 == 0)))
            if chance.random() < 0.6:
                chance.choice(tuple(alive)).cancel()
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random() * 0.001)
            alive = {task for task in alive if not task.done()}
        if alive:
            await asyncio.wait(alive)
        assert await lock.acquire_write(timeout=SOON)
        lock.release_write()

    run(main())
    assert lock.readers == 0 and lock.writer is None and lock.shared.check() == []


@pytest.mark.parametrize("wait", ["acquire", "wait"])
def test_closing_wakes_those_who_wait(wait):
    async def main():
        tasks = [asyncio.create_task(getattr(face, wait)())]
        await settled()
        face.close()
        for task in tasks:
            with pytest.raises(ipcsys.Closed):
                await task

    face = aio.Semaphore(0) if wait == "acquire" else aio.Barrier(2)
    run(main())


def test_closing_a_condition_ends_its_waits():
    condition = aio.Condition(lock := aio.Lock())

    async def main():
        async def task():
            async with lock:
                await condition.wait()

        waiting = asyncio.create_task(task())
        await settled()
        condition.close()
        with pytest.raises(ipcsys.Closed):
            await waiting
        assert not lock.locked()

    run(main())


def test_a_writing_task_lets_those_read_first_that_waited_for_the_last_writer():
    lock = aio.RWLock().shared
    place = _core.async_rwlock_queue(lock)
    stay = _core.async_rwlock_start(lock, False, None)
    assert _core.async_rwlock_intend(stay) is False  # it has its turn, and the gate is open
    assert _core.async_rwlock_read(lock, None) is True
    _core.async_rwlock_leave_queue(place)
    assert _core.async_rwlock_intend(stay) is False and lock.readers == 1
    assert _core.async_rwlock_read(aio.RWLock().shared, None) is True
    lock.release_read()
    assert _core.async_rwlock_intend(stay) is True
    _core.async_rwlock_desist(stay)
    lock.release_write()
    assert lock.check() == []


def test_a_reader_that_does_not_come_keeps_a_writing_task_for_a_moment_only():
    lock = aio.RWLock().shared
    place = _core.async_rwlock_queue(lock)
    stay = _core.async_rwlock_start(lock, False, None)
    assert _core.async_rwlock_intend(stay) is False
    time.sleep(0.003)
    assert _core.async_rwlock_intend(stay) is True
    _core.async_rwlock_desist(stay)
    lock.release_write()
    _core.async_rwlock_leave_queue(place)


def test_a_reading_task_has_its_turn_between_writing_ones():
    lock, writes = aio.RWLock(), 0

    async def write(end):
        nonlocal writes
        while not end.is_set():
            async with lock.write():
                writes += 1
                await asyncio.sleep(0)

    async def main():
        end, passed = asyncio.Event(), []
        writers = [asyncio.create_task(write(end)) for _ in range(3)]
        for _ in range(10):
            await asyncio.sleep(0.001)
            before = writes
            async with lock.read(timeout=60):
                passed.append(writes - before)
        end.set()
        await asyncio.gather(*writers)
        return passed

    passed = asyncio.run(asyncio.wait_for(main(), 100))
    assert sorted(passed)[5] <= 3 and writes > 10
