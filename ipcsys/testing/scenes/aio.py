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

SOON = 5.0


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
