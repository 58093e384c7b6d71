# SPDX-License-Identifier: Apache-2.0
"""Containers in containers: made, taken away with what stands in them, given back."""

import ipcsys
from ipcsys.testing.scenes.data import Alone


class _Map(Alone):
    """check() of one that stands alone looks for leaks too."""

    kind = ipcsys.SharedMap
    before = {"plain": 1, "row": [1, "b" * 300], "map": {"x": 1, "deep": {"numbers": [1.5]}}}

    def create(self):
        self.object = ipcsys.SharedMap({"plain": 1}, name=self.tag)
        self.object.construct(ipcsys.SharedVector, "row", [1, "b" * 300])
        inner = self.object.construct(ipcsys.SharedMap, "map", {"x": 1})
        deep = inner.construct(ipcsys.SharedMap, "deep")
        deep.construct(ipcsys.SharedVector, "numbers", [1.5], "d")

    def own_work(self):
        assert self.object.check() == []
        found = self.read()
        own = self.object.construct(ipcsys.SharedVector, "own", ["o" * 300])
        own.append(2)
        assert self.object.pop("own") == ["o" * 300, 2]
        try:
            own.append(3)
        except ipcsys.ObjectGone:
            pass
        else:
            raise AssertionError("what was popped is still there")
        assert self.object.check() == [] and self.read() == found


class NestedConstruct(_Map):
    name = "map.construct"
    after = _Map.before | {"new": {"a": "n" * 300}}

    def operation(self):
        return self.object.construct, ipcsys.SharedMap, "new", {"a": "n" * 300}


class NestedFindOrConstruct(NestedConstruct):
    name = "map.find_or_construct"

    def operation(self):
        return self.object.find_or_construct, ipcsys.SharedMap, "new", {"a": "n" * 300}


class NestedDelete(_Map):
    """The memory of those that stand in it comes back step by step."""

    name = "map.delete of a map with others in it"
    after = {key: value for key, value in _Map.before.items() if key != "map"}

    def operation(self):
        return self.object.__delitem__, "map"


class _Deque(Alone):
    kind = ipcsys.SharedDeque
    before = [{"x": [1, "b" * 300]}, "plain"]

    def create(self):
        self.object = ipcsys.SharedDeque(name=self.tag)
        self.object.construct(ipcsys.SharedMap).construct(ipcsys.SharedVector, "x", [1, "b" * 300])
        self.object.append("plain")

    def read(self):
        return list(self.object.copy())

    def own_work(self):
        assert self.object.check() == []
        found = self.read()
        self.object.construct(ipcsys.SharedVector, ["o" * 300])
        assert self.object.pop() == ["o" * 300]
        assert self.object.check() == [] and self.read() == found


class NestedAppend(_Deque):
    name = "deque.construct"
    after = [*_Deque.before, {"n": "n" * 300}]

    def operation(self):
        return self.object.construct, ipcsys.SharedMap, {"n": "n" * 300}


class NestedPopLeft(_Deque):
    """What stands in a deque is copied and taken away in one transaction."""

    name = "deque.popleft of a map with others in it"
    after = _Deque.before[1:]

    def operation(self):
        return (self.object.popleft,)


class NestedVectorConstruct(NestedAppend):
    name = "vector.construct"
    kind = ipcsys.SharedVector

    def create(self):
        self.object = ipcsys.SharedVector(name=self.tag)
        self.object.construct(ipcsys.SharedMap).construct(ipcsys.SharedVector, "x", [1, "b" * 300])
        self.object.append("plain")
