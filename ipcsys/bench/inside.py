# SPDX-License-Identifier: Apache-2.0
"""A segment's memory, timed inside the C core, where no call of Python's hides it."""

from ipcsys.bench.contest import Contender, Idle, OnSource
from ipcsys.bench.figures import percentile
from ipcsys.bench.report import OURS

_SLICES = 20


class PairAlone:
    who = f"{OURS}, a transaction for each pair"
    key = "pair_alone"


class PairGrouped:
    who = f"{OURS}, 100 pairs in a transaction"
    key = "pair_grouped"


class Find:
    who = OURS
    key = "find"


class _Worker:
    def open(self):
        from ipcsys._core import measure_memory

        self._measure = measure_memory

    def run(self, key, count):
        """Nanoseconds: the median of short slices, most of which nobody disturbs."""
        part = count // _SLICES
        return percentile(sorted(self._measure(part)[key] for _ in range(_SLICES)), 0.5)

    def close(self):
        pass


class Cost(OnSource):
    """Seconds for one operation of the core."""

    def __init__(self, kind, count, cpus):
        super().__init__(kind, cpus)
        self._key, self._count = kind.key, count

    def open(self):
        self._start(lambda _source: (_Worker(), Idle()))

    def measure(self):
        return self._pair.run((self._key, self._count), (), 60.0)[0] * 1e-9


class Wear(Contender):
    """A segment's size over the most that was asked of it, at the end of a long life."""

    who = OURS

    def __init__(self, changes):
        self._changes = changes

    def measure(self):
        from ipcsys._core import measure_wear

        facts = measure_wear(self._changes)
        return facts["size"] / facts["peak"]
