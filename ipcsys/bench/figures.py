# SPDX-License-Identifier: Apache-2.0
"""Pure arithmetic on measurements: nothing here runs or reads a clock."""

import math
from dataclasses import dataclass

MORE, LESS = "more is better", "less is better"


def percentile(ordered, share):
    """The value below which `share` (0 to 1) of the ordered values lie, linearly interpolated."""
    if not ordered:
        raise ValueError("no values to take a percentile of")
    place = (len(ordered) - 1) * share
    low = math.floor(place)
    high = math.ceil(place)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@dataclass(frozen=True)
class Spread:
    """What the repeats of one measurement gave."""

    median: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of(cls, values):
        ordered = sorted(values)
        return cls(percentile(ordered, 0.5), ordered[0], ordered[-1], len(ordered))

    def overlaps(self, other):
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Latency:
    """A distribution of times in seconds."""

    count: int
    mean: float
    p50: float
    p99: float
    p99_9: float
    max: float

    @classmethod
    def of_nanoseconds(cls, samples):
        ordered = sorted(samples)
        mean = sum(ordered) / len(ordered)
        values = (mean, *(percentile(ordered, q) for q in (0.5, 0.99, 0.999)), ordered[-1])
        return cls(len(ordered), *(value * 1e-9 for value in values))


def advantage(ours, theirs, better):
    """How many times better ours is: 2.0 is twice as fast, whichever way the figure counts."""
    if better not in (MORE, LESS):
        raise ValueError(f"neither {MORE!r} nor {LESS!r}: {better!r}")
    upper, lower = (ours, theirs) if better == MORE else (theirs, ours)
    return upper / lower if lower > 0 else math.inf


def best(values, better):
    """The best of some figures, None of none."""
    return (max if better == MORE else min)(values, default=None)


@dataclass(frozen=True)
class Noise:
    """How much of the time went to others while a fixed piece of work was repeated."""

    lost: float  # share of the time beyond what the work takes undisturbed
    worst: float  # the slowest repeat, as a multiple of the undisturbed one
    samples: int
    verdict: str


QUIET, RESTLESS, NOISY = "quiet", "restless", "too noisy to tell"
_RESTLESS_FROM, _NOISY_FROM = 0.05, 0.20


def judge(spins):
    """The noise that the times of one fixed piece of work reveal; the fastest is undisturbed."""
    if not spins:
        raise ValueError("no spins to judge by")
    fastest = min(spins)
    lost = 1 - fastest * len(spins) / sum(spins)
    verdict = QUIET if lost < _RESTLESS_FROM else RESTLESS if lost < _NOISY_FROM else NOISY
    return Noise(lost, max(spins) / fastest, len(spins), verdict)
