# SPDX-License-Identifier: Apache-2.0
"""ipcsys.mp: memory for values, objects that go through a queue by pickle, and its own
rules of taking and giving back."""

import pickle
from dataclasses import dataclass

from ipcsys import _core, mp
from ipcsys.testing.scenes import condition, lock, queue, rlock, semaphore
from ipcsys.testing.scenes.common import die_holding, no_ghosts
from ipcsys.testing.sweeping import Scene


class Make(Scene):
    """Whatever the victim was at, nothing of it stays, and the survivor's bytes do."""

    name = "mp.memory"
    own_namespace = True

    def create(self):
        self.kept = mp.Memory(100)
        memoryview(self.kept)[0] = 7

    attach = create

    def operation(self):
        return mp.Memory, 50_000

    def verify(self, first, finished):
        no_ghosts()
        twin = pickle.loads(pickle.dumps(self.kept))
        memoryview(twin)[1] = 9
        assert bytes(self.kept)[:3] == b"\7\11\0"
        memoryview(twin)[1] = 0

    def remove(self):
        del self.kept


class Pickle(Make):
    name = "mp.memory, pickled"

    def operation(self):
        return pickle.dumps, self.kept


class Unpickle(Make):
    name = "mp.memory, unpickled"

    def operation(self):
        text = pickle.dumps(self.kept)
        del self.kept
        return pickle.loads, text


@dataclass
class Thing:
    """No plain value: it goes by pickle, its buffer beside it."""

    number: int
    buffer: bytearray


class _Objects:
    """Queues of ipcsys.mp in the place of ipcsys's own."""

    def create(self):
        self.queue = mp.Queue(name=self.tag)
        for item in self.items:
            self.queue.put(item)

    def attach(self):
        self.queue = mp.Queue(name=self.tag, create=False)
        with mp.Queue() as other:  # import now what the first object needs
            other.put(self.items[0])
            other.put(Thing(0, bytearray(b"D" * 50_000)))
            other.get(), other.get()


class Put(_Objects, queue.Put):
    name = "mp.queue.put of an object"
    items = ["a", Thing(1, bytearray(b"small"))]
    added = [Thing(2, bytearray(b"B" * 50_000))]


class Get(_Objects, queue.Get):
    name = "mp.queue.get of an object"
    items = [Thing(3, bytearray(b"C" * 50_000)), "b"]


class _Lock:
    kind = _core.MpLock

    def create(self):
        self.lock = self.kind(name=self.tag)

    attach = create


class _RLock(_Lock):
    kind = _core.MpRLock


class LockAcquire(_Lock, lock.Acquire):
    name = "mp.lock.acquire"


class LockRelease(_Lock, lock.Release):
    name = "mp.lock.release"


class LockTakeOver(_Lock, lock.Acquire):
    name = "mp.lock.acquire from a dead owner"
    monotone = False

    def create(self):
        super().create()
        die_holding(self.lock.acquire)

    def verify(self, first, finished):
        assert self.taken() == first, "one death, or two: abandoned either way, and once"


class RLockAcquire(_RLock, rlock.Acquire):
    name = "mp.rlock.acquire"


class RLockRelease(_RLock, rlock.Release):
    name = "mp.rlock.release"


class SemaphoreAcquire(semaphore.Acquire):
    name = "mp.semaphore.acquire"
    kind = _core.MpSemaphore


class SemaphoreRelease(semaphore.Release):
    name = "mp.semaphore.release"
    kind = _core.MpSemaphore


class BoundedAcquire(semaphore.Acquire):
    name = "mp.bounded semaphore.acquire"
    kind = _core.MpBoundedSemaphore


class BoundedRelease(semaphore.Release):
    name = "mp.bounded semaphore.release"
    kind = _core.MpBoundedSemaphore


class ConditionAcquire(condition._Shared):
    name = "mp.condition.acquire"

    def create(self):
        self.condition = _core.MpCondition(name=self.tag)

    attach = create

    def operation(self):
        return (self.condition.acquire,)
