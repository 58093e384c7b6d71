# SPDX-License-Identifier: Apache-2.0
"""Containers, cells, records and arrays."""

import contextlib

import ipcsys
from ipcsys.testing.targets.common import ANSWERS, Target
from ipcsys.testing.targets.segment import exercise_deque, exercise_map


class Map(Target):
    name = "map"
    file = "stock"

    def build(self):
        self.map = ipcsys.SharedMap({n: "v" * n * 9 for n in range(30)}, name="stock")

    def open(self):
        return ipcsys.SharedMap(name="stock", create=False)

    def exercise(self, shared):
        exercise_map(shared)

    def leave(self, shared):
        shared.close()
        ipcsys.SharedMap.remove("stock")


class Nested(Map):
    """A map with containers in it, three deep."""

    name = "nested"
    file = "tree"

    def build(self):
        self.map = ipcsys.SharedMap({n: "v" * n for n in range(5)}, name="tree")
        self.map.construct(ipcsys.SharedVector, "row", ["x" * 100] * 10)
        inner = self.map.construct(ipcsys.SharedMap, "map", {1: 1})
        queue = inner.construct(ipcsys.SharedDeque, "queue", range(20))
        queue.construct(ipcsys.SharedMap, {1: 1})
        self.map.construct(ipcsys.AtomicInt, "hits", 3)
        inner.construct(ipcsys.SharedMap, "deeper").construct(ipcsys.SharedVector, 0, [1.5], "d")

    def open(self):
        return ipcsys.SharedMap(name="tree", create=False)

    def exercise(self, shared):
        for work in (
            lambda: [exercise_nested(value) for value in shared.values()],
            lambda: repr(shared),
            shared.copy,
            shared.check,
            lambda: exercise_nested(shared["row"]),
            lambda: shared["map"].pop("deeper"),
            lambda: shared.construct(ipcsys.SharedMap, "new", {1: 2}),
            lambda: exercise_map(shared),
            lambda: shared.pop("map"),
            shared.clear,
            lambda: shared.construct(ipcsys.SharedVector, "again", [1]),
        ):
            with contextlib.suppress(*ANSWERS):
                work()

    def leave(self, shared):
        shared.close()
        ipcsys.SharedMap.remove("tree")


def exercise_nested(value):
    if isinstance(value, ipcsys.SharedMap):
        exercise_map(value)
    elif isinstance(value, ipcsys.SharedDeque):
        exercise_deque(value)
    elif isinstance(value, ipcsys.SharedVector):
        value.append(1)
        value.copy()
    elif isinstance(value, ipcsys.AtomicInt):
        value.add(1)


class Deque(Target):
    name = "deque"
    file = "log"

    def build(self):
        self.deque = ipcsys.SharedDeque(range(30), name="log")

    def open(self):
        return ipcsys.SharedDeque(name="log", create=False)

    def exercise(self, shared):
        exercise_deque(shared)

    def leave(self, shared):
        shared.close()
        ipcsys.SharedDeque.remove("log")


class Vector(Target):
    name = "vector"
    file = "row"
    typecode, long = None, "y" * 60

    def build(self):
        self.vector = ipcsys.SharedVector(range(30), self.typecode, name="row")

    def open(self):
        return ipcsys.SharedVector(name="row", create=False)

    def exercise(self, shared):
        for work in (
            lambda: shared[3:9:2],
            lambda: shared.append(1),
            lambda: shared.insert(2, self.long),
            shared.reverse,
            shared.check,
            lambda: shared.sort(key=repr),
            lambda: shared.__delitem__(slice(None, None, 2)),
        ):
            with contextlib.suppress(*ANSWERS):
                work()

    def leave(self, shared):
        shared.close()
        ipcsys.SharedVector.remove("row")


class TypedVector(Vector):
    name = "typed vector"
    typecode, long = "h", 3000


class Text(Target):
    name = "string"
    file = "note"

    def build(self):
        self.text = ipcsys.SharedString("note", "some text " * 9)

    def open(self):
        return ipcsys.SharedString("note", create=False)

    def exercise(self, shared):
        for act in (
            lambda: str(shared),
            lambda: shared[3],
            lambda: shared[2:40:3],
            lambda: shared.append("t" * 50),
            lambda: shared.__setitem__(slice(3, 9), "longer than it was"),
            lambda: shared.check(),
            lambda: shared.set("n" * 4000),
            lambda: shared.clear(),
        ):
            with contextlib.suppress(*ANSWERS):
                act()

    def leave(self, shared):
        shared.close()
        ipcsys.SharedString.remove("note")


class Cell(Target):
    name = "value cell"
    file = "state"

    def build(self):
        self.cell = ipcsys.SharedCell({"state": "idle", "jobs": [1, 2]}, name="state")

    def open(self):
        return ipcsys.SharedCell(name="state", create=False)

    def exercise(self, shared):
        for act in (
            lambda: shared.load(),
            lambda: shared.wait(0, 0.01),
            lambda: shared.compare_exchange(1, 2),
            lambda: shared.store("x" * 900),
            lambda: shared.notify(),
            lambda: shared.check(),
            lambda: shared.exchange(None),
        ):
            with contextlib.suppress(*ANSWERS):
                act()

    def leave(self, shared):
        shared.close()
        ipcsys.SharedCell.remove("state")


class Tick(ipcsys.Record):
    symbol: str
    price: float
    size: int = 0
    label: ipcsys.text[12] = "label"
    flags: ipcsys.u8[5] = (1, 2, 3, 4, 5)
    extra: object = None


class NewerTick(ipcsys.Record, version=2, name="Tick"):
    symbol: str | None
    last: float = ipcsys.field(renamed_from="price")
    size: int = 0
    label: str
    added: str = "added, with a block of its own"


def there(segment, key, kind):
    """Damage may have taken the name away."""
    found = segment.find(key, kind)
    if found is None:
        raise KeyError(key)
    return found


class Record(Target):
    """Its builder dies in the middle of an update."""

    name = "record"
    file = "desk"

    def build(self):
        self.segment = ipcsys.Segment("desk", "128 KiB", "1 MiB")
        for number in range(4):
            self.segment.construct(
                Tick, f"t{number}", "s" * number * 9, 1.5, 10 ** (number * 9), extra=[number] * 9
            )
        self.segment.find("t0", NewerTick)
        self.transaction = self.segment.transaction()
        self.transaction.__enter__()
        self.segment.find("t1", Tick).update(symbol="w" * 600, size=3)
        self.segment.find("t2", NewerTick).label = "l" * 90

    def open(self):
        return ipcsys.Segment("desk", create=False)

    def exercise(self, segment):
        for act in (
            segment.check,
            lambda: segment["t1"].asdict(),
            lambda: there(segment, "t1", Tick).update(price=2.5, symbol="x" * 200, extra={"a": 1}),
            lambda: setattr(there(segment, "t3", Tick), "price", 3.5),
            lambda: setattr(there(segment, "t3", Tick), "flags", (9,) * 5),
            lambda: there(segment, "t3", NewerTick).asdict(),
            lambda: there(segment, "t0", Tick).asdict(),
            lambda: setattr(there(segment, "t0", Tick), "symbol", "y" * 30),
            lambda: segment.construct(Tick, "new", "n" * 50, 1.0),
            lambda: segment.destroy("new"),
            lambda: segment.destroy("t0"),
            lambda: segment.construct(Tick, "t0", "again", 1.0),
            segment.check,
        ):
            with contextlib.suppress(*ANSWERS):
                act()

    def leave(self, segment):
        segment.close()
        ipcsys.Segment.remove("desk")


class Array(Target):
    name = "array"
    file = "grid"

    def build(self):
        self.array = ipcsys.SharedArray("grid", (3, 4), "i")

    def open(self):
        return ipcsys.SharedArray("grid", create=False)

    def exercise(self, array):
        with contextlib.suppress(BufferError, ValueError), memoryview(array) as view:
            bytes(view)  # damage may name another dtype, or one without a format
        with contextlib.suppress(*ANSWERS):
            array.lock.acquire(timeout=0.01)

    def leave(self, array):
        array.close()
        ipcsys.SharedArray.remove("grid")
