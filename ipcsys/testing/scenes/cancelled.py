# SPDX-License-Identifier: Apache-2.0
"""asyncio: tasks that wait and are cancelled, killed anywhere from the first look to
the end of their event loop.  What they leave must be in nobody's way."""

import asyncio
import contextlib
import time

from ipcsys import aio
from ipcsys.testing.scenes.common import state_of
from ipcsys.testing.sweeping import Scene

SOON = 20.0


class _Cancelled(Scene):
    """The survivor keeps the victim's task waiting until the victim is dead."""

    kin = True
    long = True
    monotone = False
    face = None
    extra = ()

    def create(self):
        self.attach()
        self.block()

    def attach(self):
        self.object = self.face(*self.extra, name=self.tag)

    def block(self):
        """Keep tasks waiting, where they would not anyway."""

    def unblock(self):
        """What block() did, undone."""

    async def wait(self):
        await self.object.acquire()

    def operation(self):
        return asyncio.run, self.cancelled()

    async def cancelled(self):
        task = asyncio.create_task(self.wait())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def meanwhile(self, victim):
        while state_of(victim) not in ("", "Z", "X"):
            time.sleep(0.001)
        self.unblock()

    async def usable(self):
        assert await self.object.acquire(SOON), "what the dead task left is in the way"
        self.object.release()

    def verify(self, first, finished):
        asyncio.run(self.usable())
        check = getattr(self.object.shared, "check", list)
        assert check() == []

    def remove(self):
        self.object.close()
        type(self.object).remove(self.tag)


class _Held(_Cancelled):
    def block(self):
        self.object.shared.acquire()

    def unblock(self):
        self.object.shared.release()


class Lock(_Held):
    name = "lock.acquire in a cancelled task"
    face = aio.Lock


class RLock(_Held):
    name = "rlock.acquire in a cancelled task"
    face = aio.RLock


class Semaphore(_Held):
    name = "semaphore.acquire in a cancelled task"
    face = aio.Semaphore
    extra = (1,)


class Event(_Cancelled):
    name = "event.wait in a cancelled task"
    face = aio.Event

    async def wait(self):
        await self.object.wait()

    async def usable(self):
        waits = asyncio.create_task(self.object.wait(SOON))
        await asyncio.sleep(0.001)
        self.object.set()
        assert await waits
        self.object.clear()


class Condition(_Cancelled):
    name = "condition.wait in a cancelled task"
    face = aio.Condition

    async def wait(self, timeout=None):
        async with self.object:
            return await self.object.wait(timeout)

    async def usable(self):
        waits = asyncio.create_task(self.wait(SOON))
        await asyncio.sleep(0.005)
        async with self.object:
            self.object.notify()
        assert await waits


class Barrier(_Cancelled):
    name = "barrier.wait in a cancelled task"
    face = aio.Barrier
    extra = (2,)

    async def wait(self):
        await self.object.wait()

    async def usable(self):
        self.object.reset()
        assert sorted(await asyncio.gather(*(self.object.wait(SOON) for _ in range(2)))) == [0, 1]


class Read(_Cancelled):
    name = "rwlock.acquire_read in a cancelled task"
    face = aio.RWLock

    def block(self):
        self.object.shared.acquire_write()

    def unblock(self):
        self.object.shared.release_write()

    async def wait(self):
        await self.object.acquire_read()

    async def usable(self):
        assert await self.object.acquire_write(SOON)
        self.object.release_write()
        assert await self.object.acquire_read(SOON)
        self.object.release_read()


class Write(Read):
    name = "rwlock.acquire_write in a cancelled task"

    def block(self):
        self.object.shared.acquire_read()

    def unblock(self):
        self.object.shared.release_read()

    async def wait(self):
        await self.object.acquire_write()


class Get(_Cancelled):
    name = "queue.get in a cancelled task"
    face = aio.Queue

    async def wait(self):
        await self.object.get()

    async def usable(self):
        await self.object.put("own", SOON)
        assert await self.object.get(SOON) == "own"


class Put(Get):
    name = "queue.put in a cancelled task"
    extra = (1,)

    def block(self):
        self.object.shared.put("first")

    def unblock(self):
        assert self.object.shared.get() == "first"

    async def wait(self):
        await self.object.put("second")


class Join(Get):
    name = "queue.join in a cancelled task"

    def block(self):
        self.object.shared.put("first")

    def unblock(self):
        assert self.object.shared.get() == "first"
        self.object.shared.task_done()

    async def wait(self):
        await self.object.join()

    async def usable(self):
        await super().usable()
        self.object.task_done()
        await self.object.join(SOON)


class Atomic(_Cancelled):
    name = "atomic.wait in a cancelled task"
    face = aio.AtomicInt

    async def wait(self):
        await self.object.wait(0)

    async def usable(self):
        waits = asyncio.create_task(self.object.wait(0, SOON))
        await asyncio.sleep(0.001)
        self.object.shared.store(1)
        self.object.shared.notify()
        assert await waits
        self.object.shared.store(0)
