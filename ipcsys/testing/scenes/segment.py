# SPDX-License-Identifier: Apache-2.0
"""Segments and what stands in them: names, memory, transactions, rollback, growth."""

import ipcsys
import ipcsys.dtypes  # noqa: F401 - imported before anything is stepped through
from ipcsys import _core
from ipcsys.testing.scenes.common import die_at_event, die_holding, users
from ipcsys.testing.sweeping import Scene

SOON = 20.0


class _Named(Scene):
    """A segment of the point's own name."""

    def create(self):
        self.segment = ipcsys.Segment(self.tag, "256 KiB", "8 MiB")

    def attach(self):
        self.segment = ipcsys.Segment(self.tag, create=False)

    def usable(self):
        """It is in order, and its writer's lock can be had."""
        assert self.segment.check() == []
        with self.segment.transaction(timeout=SOON):
            mine = self.segment.construct(ipcsys.SharedMap, "mine")
            mine["key"] = "value" * 100
        assert self.segment["mine"] == {"key": "value" * 100}
        mine.close()
        assert self.segment.destroy("mine")
        assert self.segment.check() == []

    def remove(self):
        self.segment.close()
        ipcsys.Segment.remove(self.tag)


class Create(_Named):
    name = "segment.create"

    def create(self):
        _core.owner()

    attach = create

    def operation(self):
        return ipcsys.Segment, self.tag, "256 KiB"

    def verify(self, first, finished):
        existed = users(self.tag) is not None
        assert existed or not (first and finished)
        self.segment = ipcsys.Segment(self.tag, "256 KiB")
        self.usable()
        return "after" if existed else "before"


class Open(_Named):
    name = "segment.open"

    def attach(self):
        _core.owner()

    def operation(self):
        return (lambda: ipcsys.Segment(self.tag, create=False),)

    def verify(self, first, finished):
        if not hasattr(self, "segment"):
            self.segment = ipcsys.Segment(self.tag, create=False)
        assert users(self.tag) in (1, 2), "a dead member holds it"
        self.usable()


class Remove(_Named):
    name = "segment.remove"

    def create(self):
        ipcsys.Segment(self.tag).close()

    def attach(self):
        _core.owner()

    def operation(self):
        return ipcsys.Segment.remove, self.tag

    def verify(self, first, finished):
        there = users(self.tag) is not None
        assert not there or not (first and finished)
        self.segment = ipcsys.Segment(self.tag, "256 KiB")
        self.usable()
        return "before" if there else "after"


class Content(_Named):
    """A change of what a map and a deque of the segment hold together: all of
    it or nothing.  Subclasses give `change` and what it leads to."""

    before = ({"apples": 3, "pears": "x" * 3000, "plums": [1, 2, 3]}, [1, 2, 3])
    after = before

    def create(self):
        super().create()
        self.map = self.segment.construct(ipcsys.SharedMap, "stock", self.before[0])
        self.deque = self.segment.construct(ipcsys.SharedDeque, "log", self.before[1])
        self.used = self.segment.stats().used

    def attach(self):
        super().attach()
        self.map, self.deque = self.segment["stock"], self.segment["log"]

    def operation(self):
        return (self.change,)

    def change(self):
        raise NotImplementedError

    def verify(self, first, finished):
        found = (self.map.copy(), list(self.deque))
        assert found in (self.before, self.after), found
        assert found == self.after or not (first and finished)
        assert self.segment.check() == []
        if hasattr(self, "used") and found == self.before:
            assert self.segment.stats().used == self.used, "memory has leaked"
        with self.segment.transaction(timeout=SOON):
            self.map["own"] = 1
            self.deque.append("own")
        assert self.deque.pop() == "own"
        assert self.map.pop("own") == 1
        assert (self.map.copy(), list(self.deque)) == found
        self.usable()
        return "after" if found == self.after else "before"

    def remove(self):
        self.map.close()
        self.deque.close()
        super().remove()


class Trim(_Named):
    """Memory given back: what stands in the segment does not notice."""

    name = "segment.trim"
    kept = {"pears": "x" * 3000}  # noqa: RUF012

    def create(self):
        super().create()
        self.segment.construct(ipcsys.SharedMap, "kept", self.kept)
        self.segment.construct(ipcsys.SharedMap, "gone", {n: bytes(20_000) for n in range(9)})
        self.segment.destroy("gone")
        self.segment.close()  # another's handle would forbid it

    def operation(self):
        return (self.segment.trim,)

    def verify(self, first, finished):
        if self.segment.closed:
            self.segment = ipcsys.Segment(self.tag, create=False)
        assert self.segment.check() == []
        assert self.segment["kept"] == self.kept
        with self.segment["kept"] as kept:
            kept["large"] = b"y" * 100_000
            assert kept.pop("large") == b"y" * 100_000
        self.usable()


class ArenaDestroyed(_Named):
    """All objects of an arena go, or none of them; those outside stay."""

    name = "segment.arena destroyed"
    kept = {"pears": "x" * 3000}  # noqa: RUF012

    def create(self):
        super().create()
        self.segment.construct(ipcsys.SharedMap, "kept", self.kept)
        arena = self.segment.arena()
        for key in ("one", "two"):
            self.segment.construct(ipcsys.SharedMap, key, {1: "y" * 3000}, allocator=arena)

    def operation(self):
        return (self.segment.regions()[0].destroy,)

    def verify(self, first, finished):
        keys = self.segment.keys()
        assert keys in (["kept"], ["kept", "one", "two"])
        assert self.segment.check() == []
        assert self.segment["kept"] == self.kept
        there = self.segment.regions()
        assert len(there) == (len(keys) == 3)
        assert not there or not (first and finished)
        self.segment.arena().destroy()  # and what a dead one had begun
        assert self.segment.regions() == there
        with_arena = sum(region.used for region in there)
        assert with_arena == 0 or self.segment["two"] == {1: "y" * 3000}
        self.usable()
        return "before" if there else "after"


class _Region(_Named):
    """A region is made whole or not at all; nothing of its memory is lost."""

    kin = True
    regions = (0, 1)  # of them, before and after

    def verify(self, first, finished):
        before, after = self.regions
        there = len(self.segment.regions())
        assert there in self.regions and (there == after or not (first and finished))
        assert self.segment.check() == []
        with self.segment.transaction(timeout=SOON):
            region = self.segment.arena()
            self.segment.construct(ipcsys.SharedCell, "inside", "y" * 300, allocator=region)
        assert self.segment["inside"].load() == "y" * 300
        region.destroy()
        assert len(self.segment.regions()) == there and "inside" not in self.segment
        self.usable()
        return "after" if there == after else "before"


class ArenaMade(_Region):
    name = "segment.arena"

    def operation(self):
        return (self.segment.arena,)


class PoolMade(_Region):
    name = "segment.pool"

    def operation(self):
        return self.segment.pool, 200, 4


class PoolDestroyed(_Region):
    name = "pool.destroy"
    regions = (1, 0)

    def create(self):
        super().create()
        pool = self.segment.pool(200, 4)
        self.segment.construct(ipcsys.SharedCell, "cell", "z" * 100, allocator=pool)

    def operation(self):
        return (self.segment.regions()[0].destroy,)

    def verify(self, first, finished):
        outcome = super().verify(first, finished)
        assert ("cell" in self.segment) == (outcome == "before")
        return outcome


class RequestShutdown(_Named):
    """The name is free at once; those who are inside go on."""

    name = "segment.request_shutdown"
    kin = True
    another = False  # ours is a new one of that name

    def attach(self):
        try:
            super().attach()
        except ipcsys.NotFound:
            self.another = True
            self.create()

    def operation(self):
        return (self.segment.request_shutdown,)

    def verify(self, first, finished):
        asked = self.another or self.segment.shutdown_requested
        assert asked or not (first and finished)
        self.usable()
        return "after" if asked else "before"

    def remove(self):
        self.segment.close()
        if users(self.tag) is not None:
            ipcsys.Segment.remove(self.tag)


class PoolUsed(_Named):
    """A cell in a pool, of which no block is lost."""

    name = "segment.construct in a pool"

    def create(self):
        super().create()
        self.segment.pool(200, 4)

    def operation(self):
        return self._construct, self.segment.regions()[0]

    def _construct(self, pool):
        self.segment.construct(ipcsys.SharedCell, "cell", "z" * 100, allocator=pool)

    def verify(self, first, finished):
        there = "cell" in self.segment
        assert there or not (first and finished)
        assert self.segment.check() == []
        (pool,) = self.segment.regions()
        assert (pool.used > 0) == there
        if not there:
            self._construct(pool)
        assert self.segment["cell"].load() == "z" * 100
        assert self.segment.destroy("cell")
        assert pool.used == 0
        self.usable()
        return "after" if there else "before"


class Commit(Content):
    name = "segment.transaction"
    after = ({"apples": 4, "plums": "y" * 2000, "figs": 7}, [2, 3, "added"])

    def change(self):
        with self.segment.transaction():
            self.map["apples"] += 1
            self.map["plums"] = "y" * 2000
            del self.map["pears"]
            self.map["figs"] = 7
            self.deque.append("added")
            self.deque.popleft()


class CommitAlone(Commit):
    """From the open transaction's last line on."""

    name = "segment.transaction's commit"

    def operation(self):
        transaction = self.segment.transaction()
        transaction.__enter__()
        self.map.update({"apples": 4, "plums": "y" * 2000, "figs": 7})
        del self.map["pears"]
        self.deque.append("added")
        self.deque.popleft()
        return transaction.__exit__, None, None, None


class Rollback(Content):
    name = "segment.transaction rolled back"
    long = True

    def change(self):
        try:
            with self.segment.transaction():
                self.map.update({"apples": 4, "plums": "y" * 2000, "figs": 7})
                del self.map["pears"]
                self.deque.extend(range(50))
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass


class ReadHeld(Content):
    name = "segment.read"

    def change(self):
        with self.segment.read():
            assert self.map["apples"] == 3 and self.deque[0] == 1


class ReadLoop(Content):
    name = "segment.read in a loop"

    def change(self):
        for view in self.segment.read():
            with view:
                assert self.map["apples"] == 3 and self.deque[0] == 1


class Savepoint(Content):
    name = "segment.transaction with a savepoint"
    after = (Content.before[0] | {"apples": 5}, [1, 2, 3, "kept"])

    def change(self):
        with self.segment.transaction():
            self.map["apples"] = 5
            try:
                with self.segment.transaction():
                    self.map["apples"] = 6
                    self.deque.clear()
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            self.deque.append("kept")


class TakeOver(Content):
    """A dead writer's transaction stands open: the victim dies undoing it."""

    name = "segment.rollback of a dead writer's transaction"
    after = (Content.before[0] | {"late": 1}, [1, 2, 3])

    def operation(self):
        die_holding(self.open_transaction)  # now, because opening would have undone it
        return (self.change,)

    def open_transaction(self):
        self.transaction = self.segment.transaction()
        self.transaction.__enter__()
        self.map.update({"apples": 4, "plums": "y" * 2000, "figs": 7})
        del self.map["pears"]
        self.deque.extend(range(50))

    def change(self):
        self.map["late"] = 1


class TakeOverHalfway(TakeOver):
    """The same at any other point of a dead writer's transaction, in turn:
    in its stores, its commit, after its commit."""

    name = "segment.take over of a half done transaction"
    monotone = False
    after = (Commit.after[0] | {"late": 1}, Commit.after[1])

    def operation(self):
        number = int(self.tag.rpartition("-")[2])
        die_at_event(1 + number * 37 % 270, Commit.change, self)
        return (self.change,)

    def verify(self, first, finished):
        states = [
            ((state[0] | late), state[1])
            for state in (Content.before, Commit.after)
            for late in ({}, {"late": 1})
        ]
        found = (self.map.copy(), list(self.deque))
        assert found in states, found
        assert "late" in found[0] or not (first and finished)
        assert self.segment.check() == []
        self.map.pop("late", None)
        self.usable()


class Construct(Content):
    name = "segment.construct"

    def operation(self):
        return self.segment.construct, ipcsys.SharedMap, "new", {"a": 1, "b": "z" * 500}

    def verify(self, first, finished):
        found = self.segment.find("new")
        assert found is not None or not (first and finished)
        if found is not None:
            assert found.copy() == {"a": 1, "b": "z" * 500} or found.copy() == {}
            found.close()
            assert self.segment.destroy("new") or not first
        super().verify(first, finished=False)
        return "after" if found is not None else "before"


class FindOrConstruct(Construct):
    name = "segment.find_or_construct"

    def operation(self):
        return self.segment.find_or_construct, ipcsys.SharedMap, "new", {"a": 1, "b": "z" * 500}


class Destroy(Content):
    name = "segment.destroy"

    def operation(self):
        self.segment.construct(ipcsys.SharedDeque, "old", ["a", "b" * 3000]).close()
        return self.segment.destroy, "old"

    def verify(self, first, finished):
        found = self.segment.find("old")
        assert found is None or not (first and finished)
        if found is not None:
            assert list(found) == ["a", "b" * 3000]
            found.close()
            assert self.segment.destroy("old")
        super().verify(first, finished=False)
        return "before" if found is not None else "after"


class Grow(Content):
    """The value needs more memory than the file has."""

    name = "segment.growth"
    after = (Content.before[0] | {"big": b"g" * 400_000}, Content.before[1])

    def change(self):
        self.map["big"] = b"g" * 400_000


class Quota(Content):
    """Blocks that say whose they are: check() adds them up."""

    name = "segment.change under a quota"
    after = ({"apples": 4, "plums": "y" * 5000, "figs": 7}, [2, 3, "z" * 300])

    def create(self):
        super().create()
        self.segment.set_quota("64 KiB")
        self.used = self.segment.stats().used

    def change(self):
        with self.segment.transaction():
            self.map.update({"apples": 4, "plums": "y" * 5000, "figs": 7})
            del self.map["pears"]
            self.deque.popleft()
            self.deque.append("z" * 300)


class QuotaSet(Content):
    """The first quota of a segment."""

    name = "segment.set_quota"

    def change(self):
        self.segment.set_quota("64 KiB")

    def verify(self, first, finished):
        with self.segment.transaction():  # a look alone may see what a dead one left undone
            limit = self.segment.stats().quota
        assert limit in (0, 65536) and (limit or not (first and finished))
        self.__dict__.pop("used", None)  # the table of quotas is more
        super().verify(first, finished=False)
        return "after" if limit else "before"


class _Array(_Named):
    """An array that stands in the segment: there whole, or not at all; no memory leaks."""

    def create(self):
        super().create()
        self.segment.construct(ipcsys.SharedArray, "first", 1).close()
        self.segment.destroy("first")

    def verify(self, first, finished):
        self.usable()
        found = self.segment.find("a")
        there = found is not None
        if there:
            assert found.shape == (500,) and memoryview(found).cast("B")[-1] == 0
            with found.lock:
                found.close()
            self.segment.destroy("a")
        self.segment.construct(ipcsys.SharedArray, "next", 1).close()
        self.segment.destroy("next")
        assert self.segment.check() == []
        return self.outcome(there, first, finished)


class ArrayConstruct(_Array):
    name = "segment.construct of an array"

    def operation(self):
        return self.segment.construct, ipcsys.SharedArray, "a", 500

    def outcome(self, there, first, finished):
        assert there or not (first and finished)
        return "after" if there else "before"


class ArrayDestroy(_Array):
    """Others' views of it are none of the victim's, whose own has kept it so far."""

    name = "segment.destroy of an array"

    def create(self):
        super().create()
        self.segment.construct(ipcsys.SharedArray, "a", 500)

    def operation(self):
        return self.segment.destroy, "a"

    def outcome(self, there, first, finished):
        assert not (there and first and finished)
        return "before" if there else "after"
