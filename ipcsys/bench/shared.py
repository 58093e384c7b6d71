# SPDX-License-Identifier: Apache-2.0
"""Atomics and arrays: single operations of one process, at rest."""

import time

from ipcsys.bench import loops
from ipcsys.bench.contest import Idle, OnSource
from ipcsys.bench.figures import percentile
from ipcsys.bench.messages import token
from ipcsys.bench.pairs import context
from ipcsys.bench.report import OURS

class OurAtomic:
    who = OURS

    def __init__(self):
        self._name = token()

    def get(self):
        from ipcsys import AtomicInt

        return AtomicInt(name=self._name).add


class LockedValue:
    """What `multiprocessing` offers for a shared counter."""

    who = "multiprocessing.Value with its lock"

    def __init__(self):
        self._value = context().Value("q", 0)

    def get(self):
        value = self._value
        lock = value.get_lock()

        def add(amount):
            with lock:
                value.value += amount

        return add


class _Adder:
    def __init__(self, source):
        self._source = source

    def open(self):
        self._add = self._source.get()

    def run(self, count):
        return loops.typical({"add": self._add}, "add(1)", count)

    def close(self):
        pass


class Adds(OnSource):
    """Additions a second of one process, through all of the Python call."""

    def __init__(self, kind, count, cpus):
        super().__init__(kind, cpus)
        self._count = count

    def open(self):
        self._start(lambda source: (_Adder(source), Idle()))

    def measure(self):
        return 1e9 / self._pair.run((self._count,), (), 60.0)[0]


# --- an array that another process has made ----------------------------------------


class OurArray:
    who = OURS

    def __init__(self, size):
        from ipcsys import SharedArray

        self._name = token()
        self._array = SharedArray(self._name, shape=(size,), dtype="u1", create=True)

    def __getstate__(self):
        return {"_name": self._name}

    def attach(self):
        """(what keeps the array open, a numpy view of it)"""
        from ipcsys import SharedArray

        array = SharedArray(self._name)
        return array, array.numpy()

    def close(self):
        self._array.close()
        type(self._array).remove(self._name)


class StandardMemory:
    who = "multiprocessing SharedMemory"

    def __init__(self, size):
        from multiprocessing.shared_memory import SharedMemory

        self._memory = SharedMemory(create=True, size=size)
        self._name = self._memory.name

    def __getstate__(self):
        return {"_name": self._name}

    def attach(self):
        from multiprocessing.shared_memory import SharedMemory

        import numpy

        memory = SharedMemory(self._name)
        return memory, numpy.ndarray((memory.size,), "u1", memory.buf)

    def close(self):
        self._memory.close()
        self._memory.unlink()


class _Attacher:
    """Opens, looks at the first byte, closes; only the first two are timed."""

    def __init__(self, source):
        self._source = source

    def open(self):
        import numpy  # noqa: F401  its import is no part of a view

        self.run(3)

    def run(self, count):
        return percentile(sorted(self._attach() for _ in range(count)), 0.5)

    def _attach(self):
        start = time.perf_counter_ns()
        holder, view = self._source.attach()
        view[0]
        took = time.perf_counter_ns() - start
        del view
        holder.close()
        return took

    def close(self):
        pass


class Views(OnSource):
    """Seconds from a name to a numpy view of the array there."""

    def __init__(self, kind, size, count, cpus):
        super().__init__(kind, cpus)
        self._kind, self._count = lambda: kind(size), count

    def open(self):
        self._start(lambda source: (_Attacher(source), Idle()))

    def measure(self):
        return self._pair.run((self._count,), (), 60.0)[0] * 1e-9


ATOMICS = (OurAtomic, LockedValue)
ARRAYS = (OurArray, StandardMemory)
