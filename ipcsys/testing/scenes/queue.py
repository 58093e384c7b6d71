# SPDX-License-Identifier: Apache-2.0
"""Queues: putting, getting, many at once, large ones, growth, both ends' recovery."""

import ipcsys
from ipcsys import _core
from ipcsys.testing.scenes.common import die_at_event, heard_of, until_parked, users
from ipcsys.testing.sweeping import Scene

SOON = 20.0
LARGE = b"L" * 200_000
PARTS = {"a": bytearray(b"A" * 70_000), "b": [b"B" * 40_000, "c"]}


class _Named(Scene):
    items = ["a", b"b" * 100, {"c": [1, 2, 3]}, 4, "e" * 900]

    def create(self):
        self.queue = ipcsys.Queue(name=self.tag)
        if self.items:
            self.queue.put_many(self.items)

    def attach(self):
        self.queue = ipcsys.Queue(name=self.tag, create=False)

    def usable(self):
        """It is in order and both ends work; what is in it, in order."""
        assert self.queue.check() == []
        found = self.queue.drain()
        assert self.queue.empty() and self.queue.qsize() == 0
        for own in ("own", LARGE, PARTS):
            self.queue.put(own, timeout=SOON)
            assert self.queue.get(timeout=SOON) == own
        if found:
            assert self.queue.put_many(found, timeout=SOON) == len(found)
        assert self.queue.qsize() == len(found)
        assert self.queue.check() == []
        return found

    def remove(self):
        self.queue.close()
        ipcsys.Queue.remove(self.tag)


class Create(_Named):
    name = "queue.create"

    def create(self):
        _core.owner()

    attach = create

    def operation(self):
        return (lambda: ipcsys.Queue(name=self.tag),)

    def verify(self, first, finished):
        existed = users(self.tag) is not None
        assert existed or not (first and finished)
        self.queue = ipcsys.Queue(name=self.tag)
        assert self.usable() == []
        return "after" if existed else "before"


class Open(_Named):
    name = "queue.open"

    def attach(self):
        _core.owner()

    def operation(self):
        return (lambda: ipcsys.Queue(name=self.tag, create=False),)

    def verify(self, first, finished):
        if not hasattr(self, "queue"):
            self.queue = ipcsys.Queue(name=self.tag, create=False)
        assert users(self.tag) in (1, 2), "a dead member holds it"
        assert self.usable() == self.items


class Put(_Named):
    """All of the added items are there, or (killed) the first few of them."""

    name = "queue.put"
    added = ["new"]

    def operation(self):
        return self.queue.put, self.added[0]

    def verify(self, first, finished):
        found = self.usable()
        count = len(found) - len(self.items)
        assert found == self.items + self.added[:count], found
        assert count == len(self.added) or not (first and finished)
        return "after" if count == len(self.added) else "before"


class PutBytes(Put):
    name = "queue.put of bytes"
    added = [b"n" * 64]


class PutLarge(Put):
    name = "queue.put of a large message"
    added = [LARGE]


class PutParts(Put):
    """A value whose large parts travel beside it."""

    name = "queue.put of a value in parts"
    added = [PARTS]


class PutBuffer(Put):
    name = "queue.put_bytes"
    added = [b"buffer" * 100]

    def operation(self):
        return self.queue.put_bytes, bytearray(self.added[0])


class PutGrowing(Put):
    """The ring's block is nearly full: the message begins another."""

    name = "queue.put into a new block"
    items = [b"f" * 1000] * 3
    added = [b"n" * 15_000] * 20

    def operation(self):
        return (self.put_all,)

    def put_all(self):
        for item in self.added:
            self.queue.put(item)


class PutMany(Put):
    name = "queue.put_many"
    added = [number * "m" for number in range(40)]

    def operation(self):
        return self.queue.put_many, self.added


class PutToWaiter(Put):
    """The survivor is parked in get(): killed between the store and the wake,
    the victim has woken nobody, and the bound of the park must."""

    name = "queue.put to a waiter"
    items = []

    def operation(self):
        until_parked(self.survivor)
        return self.queue.put, "new"

    def meanwhile(self, victim):
        self.heard = heard_of(victim, self.get)

    def get(self, seconds):
        try:
            return self.queue.get(timeout=seconds)
        except ipcsys.Empty:
            return None

    def verify(self, first, finished):
        assert self.usable() == [], "it was put, and the waiter slept on"
        if hasattr(self, "heard"):
            assert self.heard == "new" or not finished
            return "after" if self.heard else "before"


class PutAfterDeath(Put):
    """A producer died somewhere in its put: the victim dies clearing up."""

    name = "queue.put after a producer's death"
    monotone = False

    def operation(self):
        number = int(self.tag.rpartition("-")[2])
        die_at_event(1 + number % 8, self.queue.put, "of the dead")
        return self.queue.put, "new"

    def verify(self, first, finished):
        found = self.usable()
        assert found[: len(self.items)] == self.items
        rest = found[len(self.items) :]
        assert rest in ([], ["new"], ["of the dead"], ["of the dead", "new"]), rest
        assert "new" in rest or not (first and finished)


class Get(_Named):
    """What a killed consumer was getting may be lost; nothing else is."""

    name = "queue.get"
    taken = 1

    def operation(self):
        return (self.queue.get,)

    def verify(self, first, finished):
        found = self.usable()
        gone = len(self.items) - len(found)
        assert 0 <= gone <= self.taken and found == self.items[gone:], found
        assert gone == self.taken or not (first and finished)
        return "after" if gone == self.taken else "before"


class GetLarge(Get):
    name = "queue.get of a large message"
    items = [LARGE, "small", LARGE]


class GetParts(Get):
    name = "queue.get of a value in parts"
    items = [PARTS, "small", PARTS]


class GetMany(Get):
    name = "queue.get_many"
    items = [number * "m" for number in range(30)]
    taken = 20

    def operation(self):
        return self.queue.get_many, 20


class GetInto(Get):
    name = "queue.get_into"
    items = [b"i" * 300, b"j"]

    def operation(self):
        return self.queue.get_into, bytearray(400)


class GetAcross(Get):
    """Through several blocks of the ring, which it gives back."""

    name = "queue.get through several blocks"
    items = [bytes([number]) * 15_000 for number in range(20)]
    taken = 18

    def operation(self):
        return (self.get_all,)

    def get_all(self):
        for _ in range(self.taken):
            self.queue.get()


class GetAfterDeath(Get):
    """A consumer died somewhere in its get: the victim dies clearing up."""

    name = "queue.get after a consumer's death"
    monotone = False
    items = [LARGE, "b", "c", "d"]

    def operation(self):
        number = int(self.tag.rpartition("-")[2])
        die_at_event(1 + number % 8, self.queue.get)
        return (self.queue.get,)

    def verify(self, first, finished):
        found = self.usable()
        gone = len(self.items) - len(found)
        assert 0 <= gone <= 2 and found == self.items[gone:], found
        assert gone >= 1 or not (first and finished)


class Wait(Get):
    """A consumer killed while it waits leaves the queue to the others."""

    name = "queue.get while empty"
    items = []
    monotone = False

    def operation(self):
        return self.queue.get, True, SOON

    def meanwhile(self, victim):
        until_parked(victim)
        self.queue.put("for one of us")

    def verify(self, first, finished):
        found = self.usable()
        assert found in ([], ["for one of us"])
        assert found == [] or not (first and finished)


class Drain(Get):
    name = "queue.drain"
    items = [number for number in range(30)]
    taken = 30

    def operation(self):
        return (self.queue.drain,)


class Shutdown(_Named):
    name = "queue.shutdown"

    def operation(self):
        return (self.queue.shutdown,)

    def verify(self, first, finished):
        assert self.queue.check() == []
        try:
            self.queue.put_nowait("more")
        except ipcsys.ShutDown:
            if first:
                assert [self.queue.get() for _ in self.items] == self.items
            return "after"
        assert not (first and finished)
        assert self.queue.drain() == [*self.items, "more"]
        self.queue.put_many(self.items)
        return "before"


class TaskDone(_Named):
    """One task of two is told done, or neither is."""

    name = "queue.task_done"
    items = ["a", "b"]

    def create(self):
        super().create()
        assert self.queue.get_many(2) == self.items

    def operation(self):
        return (self.queue.task_done,)

    def verify(self, first, finished):
        left = self.queue.unfinished_tasks
        assert left in (1, 2) if first else left == 0
        assert left == 1 or not (first and finished)
        for _ in range(left):
            self.queue.task_done()
        self.queue.join(SOON)
        assert self.usable() == []
        for _ in range(self.queue.unfinished_tasks):
            self.queue.task_done()
        return "after" if left == 1 else "before"


class Join(_Named):
    """A waiter that dies leaves nothing that keeps others from being told."""

    name = "queue.join"
    items = ["a"]
    monotone = False

    def operation(self):
        return (self.queue.join,)

    def meanwhile(self, victim):
        until_parked(victim)
        assert self.queue.get() == "a"
        self.queue.task_done()

    def verify(self, first, finished):
        self.queue.join(SOON)
        assert self.usable() == []
        for _ in range(self.queue.unfinished_tasks):
            self.queue.task_done()
