# SPDX-License-Identifier: Apache-2.0
"""How quiet the machine is: one fixed piece of work, timed over and over.

The work is a loop of about a millisecond, shorter than the slice of time that
a scheduler gives to whoever shares the CPU, so that on a busy machine some
spins are undisturbed still and the others show what was lost.
"""

import os
from time import perf_counter_ns

from ipcsys.bench.figures import judge

_SPIN_NS = 1_000_000
_SPINS = 8  # on each CPU, each time


def spin(loops):
    """Nanoseconds that counting to `loops` took."""
    start = perf_counter_ns()
    for _ in range(loops):
        pass
    return perf_counter_ns() - start


def calibrate():
    """How many loops take about a millisecond here, undisturbed."""
    trial = 20_000
    fastest = min(spin(trial) for _ in range(20))
    return max(1, trial * _SPIN_NS // max(1, fastest))


class Listener:
    """Listens on the CPUs that the measurements use, before each of them."""

    def __init__(self, cpus):
        self._cpus = sorted(set(cpus))
        self._loops = calibrate()
        self._spins = {cpu: [] for cpu in self._cpus}

    def listen(self):
        allowed = os.sched_getaffinity(0)
        try:
            for cpu in self._cpus:
                os.sched_setaffinity(0, {cpu})
                self._spins[cpu] += [spin(self._loops) for _ in range(_SPINS)]
        finally:
            os.sched_setaffinity(0, allowed)

    def judge(self):
        return judge([spin for spins in self._spins.values() for spin in spins])
