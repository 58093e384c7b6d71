# SPDX-License-Identifier: Apache-2.0
"""The methods that change an object, a line each: what the method does to the
shared object is done to a plain one of Python's too, and is the expected end."""

import operator
import re
from collections import deque

import ipcsys
from ipcsys.testing.scenes import data, sequence


class _Change:
    """`change` is the operation, on the shared object and on a plain one."""

    plain = None  # makes a plain object of `before`
    whole = staticmethod(lambda found: found)  # what read() would give of a plain one
    kin = True

    @property
    def after(self):
        model = self.plain(self.before)
        return self.whole(self.change(model) or model)

    def operation(self):
        return self.change, self.object


class _Map(_Change, data._Map):
    plain = dict


class _Vector(_Change, sequence._Vector):
    plain = list


class _Deque(_Change, sequence._Deque):
    plain = deque
    whole = list


class _Typed(_Change, sequence._Typed):
    plain = list


class _Bytes(_Change, data._Bytes):
    plain = bytearray
    whole = bytes


class _Told:
    """Where Python has no plain object with that method, the end is written down."""

    kin = True

    def operation(self):
        return self.change, self.object


class _ToldMap(_Told, data._Map):
    pass


class _Text(_Told, data._Text):
    pass


class _Cell(_Told, data._Cell):
    pass


class _Int(_Told, data._Number):
    pass


class _Float(_Told, data._Number):
    kind = ipcsys.AtomicFloat
    before = 40.5


class _Bool(_Told, data._Number):
    kind = ipcsys.AtomicBool
    before = False

    def own_work(self):
        found = self.read()
        assert self.object.exchange(not found) == found
        self.object.store(found)


def _discarded(call):
    """The call, without what it returns: it is the object that counts."""

    def change(thing):
        call(thing)

    return staticmethod(change)


def _scene(base, title, call, **more):
    word = re.sub(r"\W+", "_", title)
    made = type(word, (base,), {"name": title, "change": _discarded(call), **more,
                                "__module__": __name__, "__qualname__": word})  # fmt: skip
    assert word not in globals(), word
    globals()[word] = made


def _call(method, args):
    if not method.startswith("__i"):
        return operator.methodcaller(method, *args)
    return lambda thing: getattr(operator, method.strip("_"))(thing, *args)


def _done(base, kind, *changes):
    for method, args in changes:
        _scene(base, f"{kind}.{method}", _call(method, args))


def _told(base, kind, *changes):
    for method, args, after in changes:
        _scene(base, f"{kind}.{method}", _call(method, args), after=after)


_done(
    _Map, "map",
    ("setdefault", ("new", 1.5)),
    ("popitem", ()),
    ("__ior__", ({3: "another", "new": [1]},)),
)  # fmt: skip
_told(
    _ToldMap, "map",
    ("compare_and_set", (3, "value 3", "another"), data._Map.before | {3: "another"}),
)  # fmt: skip
_done(
    _Vector, "vector",
    ("extend", (["new" * 20, 7],)),
    ("remove", (4.0,)),
    ("clear", ()),
    ("__delitem__", (1,)),
    ("__iadd__", (["new" * 20, 7],)),
    ("__imul__", (2,)),
)  # fmt: skip
_done(
    _Deque, "deque",
    ("extend", (["new" * 20, 7],)),
    ("extendleft", (["new" * 20, 7],)),
    ("reverse", ()),
    ("clear", ()),
    ("__setitem__", (4, "short")),
    ("__delitem__", (2,)),
    ("__iadd__", (["new" * 20, 7],)),
    ("__imul__", (2,)),
)  # fmt: skip
_done(
    _Typed, "typed vector",
    ("extend", ([7, 8],)),
    ("pop", (0,)),
    ("insert", (1, 7)),
    ("__setitem__", (1, 7)),
    ("__delitem__", (slice(1, 3),)),
    ("reverse", ()),
    ("clear", ()),
)  # fmt: skip
_done(
    _Bytes, "bytes",
    ("append", (7,)),
    ("extend", (b"more" * 50,)),
    ("insert", (2, 7)),
    ("remove", (121,)),
    ("reverse", ()),
    ("clear", ()),
    ("__setitem__", (slice(2, 9), b"another")),
    ("__delitem__", (slice(2, 9),)),
    ("__iadd__", (b"more",)),
    ("__imul__", (2,)),
)  # fmt: skip
_told(_Bytes, "bytes", ("set", (b"new" * 900,), b"new" * 900))
_told(
    _Text, "string",
    ("insert", (3, "more"), "bef" + "more" + _Text.before[3:]),
    ("clear", (), ""),
    ("__setitem__", (slice(0, 6), "after"), "after" + _Text.before[6:]),
    ("__delitem__", (slice(0, 7),), _Text.before[7:]),
    ("__iadd__", ("more",), _Text.before + "more"),
)  # fmt: skip
_told(_Cell, "cell", ("exchange", (_Cell.after,), _Cell.after))
_told(
    _Int, "atomic",
    ("store", (7,), 7),
    ("exchange", (7,), 7),
    ("sub", (2,), 38),
    ("fetch_add", (2,), 42),
    ("fetch_sub", (2,), 38),
    ("fetch_and", (8,), 8),
    ("fetch_or", (1,), 41),
    ("fetch_xor", (8,), 32),
    ("fetch_max", (50,), 50),
    ("__iadd__", (2,), 42),
    ("__isub__", (2,), 38),
    ("__iand__", (8,), 8),
    ("__ior__", (1,), 41),
    ("__ixor__", (8,), 32),
)  # fmt: skip
_told(
    _Float, "atomic float",
    ("store", (7.0,), 7.0),
    ("exchange", (7.0,), 7.0),
    ("sub", (1.5,), 39.0),
    ("fetch_add", (1.5,), 42.0),
    ("fetch_sub", (1.5,), 39.0),
    ("fetch_min", (3.0,), 3.0),
    ("fetch_max", (50.0,), 50.0),
    ("compare_exchange", (40.5, 7.0), 7.0),
    ("__iadd__", (1.5,), 42.0),
    ("__isub__", (1.5,), 39.0),
)  # fmt: skip
_told(
    _Bool, "atomic bool",
    ("store", (True,), True),
    ("exchange", (True,), True),
    ("fetch_or", (True,), True),
    ("fetch_xor", (True,), True),
    ("compare_exchange", (False, True), True),
    ("__ior__", (True,), True),
    ("__ixor__", (True,), True),
)  # fmt: skip
_told(
    type("_True", (_Bool,), {"before": True}), "atomic bool",
    ("fetch_and", (False,), False),
    ("__iand__", (False,), False),
)  # fmt: skip
