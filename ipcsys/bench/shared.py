# SPDX-License-Identifier: Apache-2.0
"""Atomics and maps: single operations of one process, at rest."""

import time

from ipcsys.bench import loops
from ipcsys.bench.contest import Idle, OnSource
from ipcsys.bench.figures import percentile
from ipcsys.bench.messages import token
from ipcsys.bench.pairs import context
from ipcsys.bench.report import OURS

KEYS = 10_000
_SLICE = 250


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


class OurMap:
    who = OURS

    def __init__(self):
        self._name = token()

    def get(self):
        from ipcsys import SharedMap

        return SharedMap(name=self._name)


class ManagedDict:
    who = "multiprocessing.Manager().dict"

    def __init__(self):
        self._manager = context().Manager()
        self._map = self._manager.dict()

    def __getstate__(self):
        return {"_map": self._map}  # the manager itself stays here

    def get(self):
        return self._map

    def close(self):
        self._manager.shutdown()


class PlainDict:
    """Shared with nobody: the floor."""

    who = "dict"
    reference = True

    def get(self):
        return {}


def time_adds(add, count):
    """Nanoseconds an addition."""
    return loops.typical({"add": add}, "add(1)", count)


def keys():
    """The keys in an order that is neither that of insertion nor that of memory."""
    return [f"key {number * 7919 % KEYS}" for number in range(KEYS)]


def _typical(loop, count):
    """The median of short slices, most of which nobody disturbs, each with keys of its own."""
    wanted = keys()
    starts = range(0, min(count, KEYS), _SLICE)
    return percentile(sorted(loop(wanted[start : start + _SLICE]) for start in starts), 0.5)


def time_gets(table, count):
    def loop(wanted):
        start = time.perf_counter_ns()
        for key in wanted:
            table[key]
        return (time.perf_counter_ns() - start) / len(wanted)

    return _typical(loop, count)


def time_sets(table, count):
    def loop(wanted):
        start = time.perf_counter_ns()
        for key in wanted:
            table[key] = count
        return (time.perf_counter_ns() - start) / len(wanted)

    return _typical(loop, count)


_TIMERS = {"add": time_adds, "get": time_gets, "set": time_sets}


class _Worker:
    def __init__(self, source, what):
        self._source, self._what = source, what

    def open(self):
        self._thing = self._source.get()
        if self._what != "add":
            for number in range(KEYS):
                self._thing[f"key {number}"] = number
            _TIMERS[self._what](self._thing, KEYS)  # once around, to be warm

    def run(self, count):
        return _TIMERS[self._what](self._thing, count)

    def close(self):
        pass


class Operation(OnSource):
    """Operations a second of one process, through all of the Python call."""

    def __init__(self, kind, what, count, cpus):
        super().__init__(kind, cpus)
        self._what, self._count = what, count

    def open(self):
        self._start(lambda source: (_Worker(source, self._what), Idle()))

    def measure(self):
        return 1e9 / self._pair.run((self._count,), (), 60.0)[0]


ATOMICS = (OurAtomic, LockedValue)
MAPS = (OurMap, ManagedDict, PlainDict)
