# SPDX-License-Identifier: Apache-2.0
"""Maps, deques, texts, cells and numbers that stand alone by name."""

import ipcsys
import ipcsys.dtypes  # noqa: F401 - imported before anything is stepped through
from ipcsys.testing.scenes.common import heard_of, until_parked
from ipcsys.testing.sweeping import Scene


class Alone(Scene):
    """One object: its content is as before the change, or as after it."""

    kind = None
    before = None
    after = None

    def create(self):
        self.object = self.kind(self.before, name=self.tag)

    def attach(self):
        self.object = self.kind(name=self.tag, create=False)

    def operation(self):
        return (self.change,)

    def read(self):
        return self.object.copy()

    def verify(self, first, finished):
        found = self.read()
        assert found in (self.before, self.after), found
        assert found == self.after or not (first and finished)
        self.own_work()
        assert self.read() == found
        return "after" if found == self.after else "before"

    def remove(self):
        self.object.close()
        self.kind.remove(self.tag)


class _Map(Alone):
    kind = ipcsys.SharedMap
    before = {number: f"value {number}" for number in range(10)}

    def own_work(self):
        assert self.object.check() == []
        self.object["own"] = b"o" * 2000
        assert self.object.pop("own") == b"o" * 2000
        assert self.object.check() == []


class MapSet(_Map):
    name = "map.set of a new key"
    after = _Map.before | {"new": 1.5}

    def operation(self):
        return self.object.__setitem__, "new", 1.5


class MapReplace(_Map):
    name = "map.set of an old key"
    after = _Map.before | {3: "another"}

    def operation(self):
        return self.object.__setitem__, 3, "another"


class MapReplaceLarge(_Map):
    name = "map.set of a larger value"
    after = _Map.before | {3: "L" * 5000}

    def operation(self):
        return self.object.__setitem__, 3, "L" * 5000


class MapDelete(_Map):
    name = "map.delete"
    after = {key: value for key, value in _Map.before.items() if key != 3}

    def operation(self):
        return self.object.__delitem__, 3


class MapPop(MapDelete):
    name = "map.pop"

    def operation(self):
        return self.object.pop, 3


class MapInsert(MapSet):
    name = "map.insert"

    def operation(self):
        return self.object.insert, "new", 1.5


class MapClear(_Map):
    name = "map.clear"
    after = {}

    def operation(self):
        return (self.object.clear,)


class MapUpdate(_Map):
    """The table grows on the way: one by one, or all at once, but in order."""

    name = "map.update past a rehash"
    long = True
    monotone = False
    added = {f"key {number}": number for number in range(60)}

    def operation(self):
        return self.object.update, self.added

    def verify(self, first, finished):
        found = self.read()
        added = list(self.added.items())
        stages = [self.before | dict(added[:count]) for count in range(len(added) + 1)]
        assert found in stages, found
        assert found == stages[-1] or not (first and finished)
        self.own_work()
        assert self.read() == found


class MapIncrement(_Map):
    name = "map.increment"
    before = {"n": 5, "other": "x"}
    after = {"n": 7, "other": "x"}

    def operation(self):
        return self.object.increment, "n", 2


class MapEditing(_Map):
    name = "map.editing"
    before = {"n": [1], "other": "x"}
    after = {"n": [1, 2], "other": "x"}

    def change(self):
        with self.object.editing("n") as value:
            value.append(2)


class _Deque(Alone):
    kind = ipcsys.SharedDeque
    before = ["a", 2, "c" * 100]

    def read(self):
        return list(self.object)

    def own_work(self):
        assert self.object.check() == []
        self.object.append("own")
        self.object.appendleft("own too")
        assert self.object.pop() == "own"
        assert self.object.popleft() == "own too"
        assert self.object.check() == []


class DequeAppend(_Deque):
    name = "deque.append"
    after = [*_Deque.before, "new"]

    def operation(self):
        return self.object.append, "new"


class DequeAppendLeft(_Deque):
    name = "deque.appendleft"
    after = ["n" * 3000, *_Deque.before]

    def operation(self):
        return self.object.appendleft, "n" * 3000


class DequePush(DequeAppend):
    name = "deque.push"

    def operation(self):
        return self.object.push, "new"


class DequePop(_Deque):
    name = "deque.pop"
    after = _Deque.before[:-1]

    def operation(self):
        return (self.object.pop,)


class DequePopLeft(_Deque):
    name = "deque.popleft"
    after = _Deque.before[1:]

    def operation(self):
        return (self.object.popleft,)


class DequeExtend(_Deque):
    """The ring grows on the way."""

    name = "deque.extend past its room"
    long = True
    monotone = False
    added = list(range(80))

    def operation(self):
        return self.object.extend, self.added

    def verify(self, first, finished):
        found = self.read()
        stages = [self.before + self.added[:count] for count in range(len(self.added) + 1)]
        assert found in stages, found
        assert found == stages[-1] or not (first and finished)
        self.own_work()
        assert self.read() == found


class _Number(Alone):
    kind = ipcsys.AtomicInt
    before = 40

    def read(self):
        return self.object.load()

    def own_work(self):
        assert self.object.add(5) - 5 == self.object.sub(5)


class AtomicAdd(_Number):
    name = "atomic.add"
    after = 42

    def operation(self):
        return self.object.add, 2


class AtomicExchange(_Number):
    name = "atomic.compare_exchange"
    after = 7

    def operation(self):
        return self.object.compare_exchange, 40, 7


class AtomicFetchMin(_Number):
    name = "atomic.fetch_min"
    after = 3

    def operation(self):
        return self.object.fetch_min, 3


class FloatAdd(_Number):
    name = "atomic float.add"
    kind = ipcsys.AtomicFloat
    before = 40.5
    after = 42.0

    def operation(self):
        return self.object.add, 1.5


class AtomicNotify(_Number):
    """The survivor is parked on it: killed between the change and the wake, the
    victim has woken nobody, and the bound of the park must."""

    name = "atomic.store and notify with a waiter"
    after = 41

    def change(self):
        self.object.store(41)
        self.object.notify_all()

    def operation(self):
        until_parked(self.survivor)
        return (self.change,)

    def meanwhile(self, victim):
        self.heard = heard_of(victim, lambda seconds: self.object.wait(40, seconds))

    def verify(self, first, finished):
        if first and hasattr(self, "heard"):
            assert self.heard == (self.object.load() == 41), "it changed, and the waiter slept on"
        return super().verify(first, finished)


class AtomicWait(_Number):
    """A waiter that dies leaves nothing that keeps others from being told."""

    name = "atomic.wait"
    monotone = False
    after = 41

    def operation(self):
        return self.object.wait, 40, 5.0

    def meanwhile(self, victim):
        until_parked(victim)
        self.object.store(41)
        self.object.notify_all()

    def verify(self, first, finished):
        return super().verify(first, finished=False)


class _Text(Alone):
    kind = ipcsys.SharedString
    before = "before " * 20

    def create(self):
        self.object = ipcsys.SharedString(self.tag, self.before)

    def own_work(self):
        assert self.object.check() == []
        found = self.read()
        self.object.append("own")
        self.object.set(found)
        assert self.object.check() == []


class TextAppend(_Text):
    name = "string.append"
    after = _Text.before + "more"

    def operation(self):
        return self.object.append, "more"


class TextSet(_Text):
    """It needs another block."""

    name = "string.set"
    after = "n" * 3000

    def operation(self):
        return self.object.set, self.after


class TextSlice(_Text):
    name = "string[:] = with a step"
    after = _Text.before.replace("before ", "B-f-r- ")

    def change(self):
        with self.object.transaction():
            for start in range(0, len(self.before), 7):
                self.object[start] = "B"
                self.object[start + 1 : start + 6 : 2] = "---"

    def operation(self):
        return (self.change,)


class _Bytes(Alone):
    kind = ipcsys.SharedBytes
    before = b"bytes" * 30

    def create(self):
        self.object = ipcsys.SharedBytes(self.tag, self.before)

    def own_work(self):
        assert self.object.check() == []
        self.object.append(7)
        assert self.object.pop() == 7


class BytesPop(_Bytes):
    name = "bytes.pop"
    after = _Bytes.before[1:]

    def operation(self):
        return self.object.pop, 0


class _Cell(Alone):
    kind = ipcsys.SharedCell
    before = {"state": "idle", "jobs": [1, 2, 3]}
    after = {"state": "busy", "jobs": list(range(200))}

    def read(self):
        return self.object.load()

    def own_work(self):
        found = self.read()
        assert self.object.exchange("own") == found
        self.object.store(found)
        assert self.object.check() == []


class CellStore(_Cell):
    name = "cell.store"

    def operation(self):
        return self.object.store, self.after


class CellCompareExchange(_Cell):
    name = "cell.compare_exchange"

    def operation(self):
        return self.object.compare_exchange, self.before, self.after


class CellNotify(_Cell):
    """As AtomicNotify."""

    name = "cell.store and notify with a waiter"

    def change(self):
        self.object.store(self.after)
        self.object.notify_all()

    def operation(self):
        until_parked(self.survivor)
        return (self.change,)

    def meanwhile(self, victim):
        self.heard = heard_of(victim, lambda seconds: self.object.wait(self.before, seconds))

    def verify(self, first, finished):
        if first and hasattr(self, "heard"):
            assert self.heard == (self.read() == self.after), "it changed, and the waiter slept on"
        return super().verify(first, finished)


class CellWait(_Cell):
    """As AtomicWait."""

    name = "cell.wait"
    monotone = False

    def operation(self):
        return self.object.wait, self.before, 5.0

    def meanwhile(self, victim):
        until_parked(victim)
        self.object.store(self.after)
        self.object.notify_all()

    def verify(self, first, finished):
        return super().verify(first, finished=False)


class _Array(Scene):
    """Its items are the user's: what has to be sound is the file and the lock."""

    def make(self):
        return ipcsys.SharedArray(self.tag, (3, 5), "d")

    def create(self):
        self.make().close()

    def attach(self):
        """Each look opens it anew."""

    def verify(self, first, finished):
        with self.make() as array:
            with array.lock:
                view = memoryview(array)
                assert view.shape == (3, 5)
                view[2, 4] = 1.5
                assert view[2, 4] == 1.5
                view.release()
        return "after"

    def remove(self):
        ipcsys.SharedArray.remove(self.tag)


class ArrayOpen(_Array):
    name = "array.open"
    monotone = False  # system calls that differ from run to run

    def operation(self):
        return (self.make,)


class ArrayCreate(ArrayOpen):
    name = "array.create"

    def create(self):
        """Nothing is there."""


class ArrayLock(_Array):
    name = "array.lock"

    def create(self):
        self.array = self.make()
        self.lock = self.array.lock

    def operation(self):
        return (self.lock.acquire,)

    def verify(self, first, finished):
        self.array.close()
        self.lock.close()
        return super().verify(first, finished)

    attach = create
