# SPDX-License-Identifier: Apache-2.0
"""asyncio: wakers killed while tasks wait, and waiting tasks killed.

Where the survivor waits with asyncio, a victim killed between its change and
its byte has told nobody: the bound of the event loop must.  Where the victim
waits, what it left armed must not be in anybody's way."""

import asyncio

import ipcsys
from ipcsys import _core, aio
from ipcsys.testing.scenes import event, lock, queue
from ipcsys.testing.scenes.common import heard_of, until_parked
from ipcsys.testing.sweeping import Scene

SOON = 20.0


def _sent(method, *args):
    """The method's coroutine, run to its end by an event loop of its own."""
    return asyncio.run(method(*args))


class SetWithTask(event.SetWithWaiter):
    """The survivor is in an event loop."""

    name = "event.set with a waiting task"

    def meanwhile(self, victim):
        face = aio.Event.of(self.event)
        self.heard = heard_of(victim, lambda seconds: _sent(face.wait, seconds))


class ReleaseToTask(lock.ReleaseToWaiter):
    name = "lock.release to a waiting task"

    def taken(self):
        face = aio.Lock.of(self.lock)
        assert _sent(face.acquire, SOON), "the lock is stuck"
        abandoned = face.abandoned
        face.release()
        assert not face.locked()
        return abandoned


class PutToTask(queue.PutToWaiter):
    name = "queue.put to a waiting task"

    def get(self, seconds):
        try:
            return _sent(aio.Queue.of(self.queue).get, seconds)
        except ipcsys.Empty:
            return None


def _announced(shared, thorough, attempt=None, *args):
    """What a waiting task does with the core, without its event loop, which would be
    stepped through too: between these calls it touches nothing shared."""
    _core.async_open(shared)
    shown = _core.async_show(shared, _announced, SOON, None)
    _core.async_arm(shared, 0, -1, thorough)
    return attempt and attempt(*args)


class TaskWaits(event.Set):
    """The victim is the task, killed while it announces itself."""

    name = "event.wait in a task"

    def operation(self):
        return _announced, self.event, False

    def verify(self, first, finished):
        super().verify(first, finished=False)


class TaskAcquires(lock.Acquire):
    name = "lock.acquire in a task"

    def operation(self):
        return _announced, self.lock, False, self.lock.acquire, False


class TaskWaitsForLock(lock.Acquire):
    """The survivor holds it, and releases it to whatever the victim left."""

    name = "lock.acquire contended in a task"
    monotone = False

    def create(self):
        super().create()
        self.lock.acquire()

    def operation(self):
        return _announced, self.lock, False

    def meanwhile(self, victim):
        until_parked(victim)
        self.lock.release()

    def verify(self, first, finished):
        assert not self.taken()


class TaskTakesOver(lock.TakeOver):
    name = "lock.acquire from a dead owner in a task"

    def operation(self):
        return _announced, self.lock, True, self.lock.acquire, False


class TaskGets(queue.Get):
    name = "queue.get in a task"

    def operation(self):
        return _announced, self.queue, False, _core.async_get, self.queue, None


class TaskPuts(queue.Put):
    name = "queue.put in a task"

    def operation(self):
        kind, data = _core.encode_value(self.added[0])
        return _announced, self.queue, True, _core.async_put, self.queue, kind, data


class _Shared(Scene):
    """One object and its face, of which the victim's wait may leave a part behind."""

    def create(self):
        self.face = self.make()

    attach = create

    def verify(self, first, finished):
        assert _run(self.usable) is not False, "what the dead task left is in the way"
        assert self.face.shared.check() == []

    def remove(self):
        self.face.close()
        type(self.face).remove(self.tag)


def _run(coroutine_function):
    return asyncio.run(coroutine_function())


class TaskTakesPermit(_Shared):
    name = "semaphore.acquire in a task"

    def make(self):
        return aio.Semaphore(1, name=self.tag)

    def operation(self):
        return _announced, self.face.shared, True, _core.async_semaphore_take, self.face.shared, None

    async def usable(self):
        assert await self.face.acquire(SOON)
        self.face.release()
        assert self.face.value == 1


class TaskWaitsOnCondition(_Shared):
    """Seated, announced, notified or not, and leaving."""

    name = "condition.wait in a task"

    def make(self):
        return aio.Condition(name=self.tag)

    def operation(self):
        return (self.wait_by_hand,)

    def wait_by_hand(self):
        shared = self.face.shared
        _core.async_rlock_take(shared, 1 << 63)
        stay, index, ticket = _core.async_condition_enter(shared)
        _core.async_rlock_save(shared, 1 << 63)
        _core.async_open(shared)
        _core.async_arm(shared, index, ticket, True)
        _core.async_condition_notify(shared, 1)
        _core.async_condition_withdraw(stay)
        _core.async_rlock_take(shared, 1 << 63)
        _core.async_condition_leave(stay, True)
        _core.async_rlock_release(shared, 1 << 63)

    async def usable(self):
        async def waits():
            async with self.face:
                return await self.face.wait(SOON)

        task = asyncio.create_task(waits())
        await asyncio.sleep(0.005)
        async with self.face:
            self.face.notify()
        return await task


class TaskMeetsAtBarrier(_Shared):
    """Whoever dies at it breaks it for the others, who reset it."""

    name = "barrier.wait in a task"

    def make(self):
        return aio.Barrier(2, name=self.tag)

    def operation(self):
        return (self.meet_by_hand,)

    def meet_by_hand(self):
        shared = self.face.shared
        stay, _, number, _ = _core.async_barrier_arrive(shared, False)
        _core.async_open(shared)
        _core.async_arm(shared, number & 1, number, True)
        _core.async_barrier_leave(stay)

    async def usable(self):
        self.face.reset()
        return sorted(await asyncio.gather(*(self.face.wait(SOON) for _ in range(2)))) == [0, 1]


class TaskWrites(_Shared):
    """The survivor reads: the victim's gate is shut, and opens at its death."""

    name = "rwlock.acquire_write in a task"

    def make(self):
        return aio.RWLock(name=self.tag)

    def operation(self):
        return (self.write_by_hand,)

    def write_by_hand(self):
        shared = self.face.shared
        stay = _core.async_rwlock_start(shared, False, None)
        _core.async_rwlock_intend(stay)
        _core.async_open(shared)
        _core.async_arm(shared, 1, -1, True)
        _core.async_rwlock_intend(stay)
        _core.async_rwlock_desist(stay)

    def create(self):
        super().create()
        self.reads = self.face.shared.acquire_read()

    def attach(self):
        self.face = self.make()
        self.reads = False

    async def usable(self):
        assert await self.face.acquire_read(SOON)
        self.face.release_read()
        if self.reads:
            self.face.release_read()
            self.reads = False
            assert await self.face.acquire_write(SOON), self.face.shared
            assert not self.face.abandoned
            self.face.release_write()


class TaskReads(_Shared):
    name = "rwlock.acquire_read in a task"

    def make(self):
        return aio.RWLock(name=self.tag)

    def operation(self):
        return (self.read_by_hand,)

    def read_by_hand(self):
        shared = self.face.shared
        place = _core.async_rwlock_queue(shared)
        _announced(shared, True, _core.async_rwlock_read, shared, None)
        _core.async_rwlock_leave_queue(place)

    async def usable(self):
        assert await self.face.acquire_write(SOON) and not self.face.abandoned
        self.face.release_write()
