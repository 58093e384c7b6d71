# SPDX-License-Identifier: Apache-2.0
"""Changes in the middle of vectors and deques: values are moved, or laid out anew."""

import ipcsys
from ipcsys.testing.scenes.data import Alone


class _Row(Alone):
    """`change(row)` does to a plain list what the scene's operation does."""

    before = ["a", 2, "c" * 100, 4.0, "e" * 700, *range(6)]

    def change(self, row):
        raise NotImplementedError

    def read(self):
        return list(self.object)

    @property
    def after(self):
        row = list(self.before)
        self.change(row)
        return row

    def operation(self):
        return self.change, self.object

    def own_work(self):
        assert self.object.check() == []
        at = min(1, len(self.object))
        self.object.insert(at, "own" * 50)
        assert self.object[at] == "own" * 50
        del self.object[at]
        assert self.object.check() == []


class _Vector(_Row):
    kind = ipcsys.SharedVector


class VectorAppend(_Vector):
    name = "vector.append"

    def change(self, row):
        row.append("new" * 20)


class VectorSet(_Vector):
    name = "vector[i] = value"

    def change(self, row):
        row[4] = "short"


class VectorInsert(_Vector):
    name = "vector.insert"

    def change(self, row):
        row.insert(3, "new" * 20)


class VectorPop(_Vector):
    name = "vector.pop"

    def change(self, row):
        row.pop(2)


class VectorSlice(_Vector):
    name = "vector[i:j] = values"

    def change(self, row):
        row[2:4] = ["x" * 40, 7, None]


class VectorGrow(_Vector):
    name = "vector[i:j] = many values"
    long = True

    def change(self, row):
        row[1:3] = range(60)


class VectorEvery(_Vector):
    name = "del vector[::2]"
    long = True

    def change(self, row):
        del row[::2]


class VectorReverse(_Vector):
    name = "vector.reverse"

    def change(self, row):
        row.reverse()


class VectorSort(_Vector):
    name = "vector.sort"
    long = True

    def change(self, row):
        row.sort(key=repr)


class _Typed(_Row):
    kind = ipcsys.SharedVector
    before = [number * 3 for number in range(9)]

    def create(self):
        self.object = self.kind(self.before, "h", name=self.tag)

    def own_work(self):
        assert self.object.check() == [] and self.object.typecode == "h"
        at = min(1, len(self.object))
        self.object.insert(at, -5)
        assert self.object.pop(at) == -5


class TypedAppend(_Typed):
    name = "typed vector.append"

    def change(self, row):
        row.append(77)


class TypedSlice(_Typed):
    name = "typed vector[i:j] = values"

    def change(self, row):
        row[3:4] = [1, 2, 3]


class TypedGrow(_Typed):
    name = "typed vector.extend past its room"
    long = True

    def change(self, row):
        row.extend(range(300))


class TypedSort(_Typed):
    name = "typed vector.sort"
    long = True

    def change(self, row):
        row.sort(reverse=True)


class _Deque(_Row):
    kind = ipcsys.SharedDeque


class DequeInsert(_Deque):
    name = "deque.insert"

    def change(self, row):
        row.insert(2, "new" * 20)


class DequeRemove(_Deque):
    name = "deque.remove"

    def change(self, row):
        row.remove(2)


class DequeRotate(_Row):
    name = "deque.rotate"
    kind = ipcsys.SharedDeque
    after = [*range(3, 6), *_Row.before[:-3]]

    def change(self, row):
        row.rotate(3)
