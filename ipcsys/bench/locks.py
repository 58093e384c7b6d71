# SPDX-License-Identifier: Apache-2.0
"""A pair of acquire and release: free, by `with`, and fought over by two processes."""

import threading
import time

from ipcsys.bench import loops
from ipcsys.bench.contest import Idle, OnSource
from ipcsys.bench.messages import token
from ipcsys.bench.pairs import context
from ipcsys.bench.report import OURS

PAIRS, WITH = "pairs", "with"


class Ours:
    who = OURS

    def __init__(self):
        self._name = token()

    def get(self):
        from ipcsys import Lock

        return Lock(name=self._name)


class Standard:
    who = "multiprocessing.Lock"

    def __init__(self):
        self._lock = context().Lock()

    def get(self):
        return self._lock


class Threads:
    """No lock between processes, but what one would use inside one."""

    who = "threading.Lock"

    def get(self):
        return threading.Lock()


class Nothing:
    """Two calls into C that do nothing: what no lock can be faster than."""

    who = "two empty calls"
    reference = True
    acquire = release = b"".isdigit

    def get(self):
        return self


def time_pairs(lock, count):
    """Nanoseconds for a pair of calls."""
    names = {"acquire": lock.acquire, "release": lock.release}
    return loops.typical(names, "acquire(); release()", count)


def time_with(lock, count):
    return loops.typical({"lock": lock}, "with lock: pass", count)


def fight(lock, until):
    """Pairs done before the moment `until`."""
    acquire, release, now = lock.acquire, lock.release, time.perf_counter_ns
    pairs = 0
    while now() < until:
        for _ in range(100):
            acquire()
            release()
        pairs += 100
    return pairs


class Worker:
    """A process with the lock: alone, or one of two that fight."""

    def __init__(self, source):
        self._source = source

    def open(self):
        self._lock = self._source.get()

    def run(self, what, argument):
        return {PAIRS: time_pairs, WITH: time_with, "fight": fight}[what](self._lock, argument)

    def close(self):
        pass


class Free(OnSource):
    """Seconds for a pair that nobody disturbs."""

    def __init__(self, kind, manner, count, cpus):
        super().__init__(kind, cpus)
        self._manner, self._count = manner, count

    def open(self):
        self._start(lambda source: (Worker(source), Idle()))
        self._time(1000)

    def measure(self):
        return self._time(self._count) * 1e-9

    def _time(self, count):
        return self._pair.run((self._manner, count), (), 60.0)[0]


class Fought(OnSource):
    """Pairs a second of two processes together that do nothing else."""

    def __init__(self, kind, seconds, cpus):
        super().__init__(kind, cpus)
        self._seconds = seconds

    def open(self):
        self._start(lambda source: (Worker(source), Worker(source)))
        self._fight(0.02)

    def measure(self):
        return sum(self._fight(self._seconds)) / self._seconds

    def _fight(self, seconds):
        until = time.perf_counter_ns() + round(seconds * 1e9)
        return self._pair.run(("fight", until), ("fight", until), 60.0 + seconds)


KINDS = {PAIRS: (Ours, Standard, Threads, Nothing), WITH: (Ours, Standard, Threads)}
BETWEEN_PROCESSES = (Ours, Standard)
