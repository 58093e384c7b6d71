# SPDX-License-Identifier: Apache-2.0
"""Value, Array and their kin: ctypes objects in shared memory of ours.

Small ones lie side by side in arenas, each a Memory that lives as long as any
process has one object of it.  No place in an arena is used twice, so what one
process drops can never be written over under the hands of another.
"""

import ctypes
import os
import threading
import weakref
from multiprocessing import sharedctypes as plain
from multiprocessing.reduction import ForkingPickler

from ipcsys._core import MpMemory as Memory

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]

ARENA_SIZE = 64 * 1024
ARENA_MOST = 1024  # bytes of an object that goes into an arena
ALIGNMENT = 16


class Place:
    """`size` bytes of a Memory from `offset` on; what a ctypes object calls its _wrapper."""

    __slots__ = ("memory", "offset", "size")

    def __init__(self, memory, offset, size):
        self.memory = memory
        self.offset = offset
        self.size = size

    def __reduce__(self):
        return Place, (self.memory, self.offset, self.size)

    def create_memoryview(self):
        """The bytes, writable; named as multiprocessing.heap.BufferWrapper names it."""
        return memoryview(self.memory)[self.offset : self.offset + self.size]


class _Arenas(threading.local):
    """The arena that this thread fills: no lock, so none that a fork could copy while held."""

    used = ARENA_SIZE

    def forget(self):
        self.memory = lambda: None  # else a weak reference: objects alone keep an arena

    __init__ = forget

    def place(self, size):
        if size > ARENA_MOST:
            return Place(Memory(size), 0, size)
        memory = self.memory()
        if memory is None or self.used + size > ARENA_SIZE:
            memory = Memory(ARENA_SIZE)
            self.memory, self.used = weakref.ref(memory), 0
        place = Place(memory, self.used, size)
        self.used += -(-size // ALIGNMENT) * ALIGNMENT
        return place


_arenas = _Arenas()


# In a forked child, the rest of the arena is the parent's to fill.
os.register_at_fork(after_in_child=_arenas.forget)


def _allocate(kind):
    return _rebuild(kind, _arenas.place(max(ctypes.sizeof(kind), 1)), None)


def _rebuild(kind, place, length):
    if length is not None:
        kind = kind * length
    ForkingPickler.register(kind, _reduce)
    obj = kind.from_buffer(place.create_memoryview())
    obj._wrapper = place
    return obj


def _reduce(obj):
    place = getattr(obj, "_wrapper", None)
    if place is None:  # a ctypes object of its own
        return obj.__reduce_ex__(2)
    if not isinstance(place, Place):
        return plain.reduce_ctype(obj)
    if isinstance(obj, ctypes.Array):
        return _rebuild, (obj._type_, place, obj._length_)
    return _rebuild, (type(obj), place, None)


def _type_of(typecode_or_type):
    return plain.typecode_to_type.get(typecode_or_type, typecode_or_type)


def RawValue(typecode_or_type, *args):
    """A ctypes object in shared memory, without a lock."""
    obj = _allocate(_type_of(typecode_or_type))
    obj.__init__(*args)
    return obj


def RawArray(typecode_or_type, size_or_initializer):
    """A ctypes array in shared memory, without a lock; zero where only its size is given."""
    kind = _type_of(typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _allocate(kind * size_or_initializer)
    array = _allocate(kind * len(size_or_initializer))
    array.__init__(*size_or_initializer)
    return array


def _with_lock(obj, lock, ctx):
    if lock is False:
        return obj
    if lock is True or lock is None:
        lock = None
    elif not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")
    return synchronized(obj, lock, ctx)


def Value(typecode_or_type, *args, lock=True, ctx=None):
    """A ctypes object in shared memory with a lock: `.value`, or the fields of a structure.

    `lock` may be a lock of your own, or False for the bare object.  A process
    killed while it holds the lock leaves it to the next one, and the value as
    it last wrote it.
    """
    return _with_lock(RawValue(typecode_or_type, *args), lock, ctx)


def Array(typecode_or_type, size_or_initializer, *, lock=True, ctx=None):
    """A ctypes array in shared memory with a lock; as Value."""
    return _with_lock(RawArray(typecode_or_type, size_or_initializer), lock, ctx)


def copy(obj):
    """A copy of a ctypes object, in shared memory."""
    new = _allocate(type(obj))
    ctypes.pointer(new)[0] = obj
    return new


class _Travels:
    """Goes to other processes by any pickler that knows ctypes, also through a queue."""

    def __reduce__(self):
        return synchronized, (self._obj, self._lock)


class Synchronized(_Travels, plain.Synchronized):
    """A simple ctypes object and its lock."""


class SynchronizedArray(_Travels, plain.SynchronizedArray):
    """A ctypes array and its lock."""


class SynchronizedString(_Travels, plain.SynchronizedString):
    """An array of c_char and its lock."""


_structures = weakref.WeakKeyDictionary()


def _structure_class(kind):
    if kind not in _structures:
        members = {name: plain.make_property(name) for name, *_ in kind._fields_}
        bases = (_Travels, plain.SynchronizedBase)
        _structures[kind] = type("Synchronized" + kind.__name__, bases, members)
    return _structures[kind]


def synchronized(obj, lock=None, ctx=None):
    """The wrapper of a ctypes object whose methods hold `lock`: an RLock if not given."""
    if isinstance(obj, plain.SynchronizedBase):
        raise AssertionError("object already synchronized")
    if lock is None:
        if ctx is None:
            import ipcsys.mp as ctx

        lock = ctx.RLock()
    if isinstance(obj, ctypes._SimpleCData):
        return Synchronized(obj, lock)
    if isinstance(obj, ctypes.Array):
        kind = SynchronizedString if obj._type_ is ctypes.c_char else SynchronizedArray
        return kind(obj, lock)
    return _structure_class(type(obj))(obj, lock)


def __getattr__(name):
    return getattr(plain, name)  # typecode_to_type and the like
