# SPDX-License-Identifier: Apache-2.0
"""Semaphore: permits taken, given back, cancelled and inherited."""

import time

import ipcsys
from ipcsys import _core
from ipcsys.testing.scenes.common import die_holding, until_parked
from ipcsys.testing.sweeping import Scene

SOON = 20.0


class Acquire(Scene):
    """Whatever a dead one had taken comes back: all permits are there, once."""

    name = "semaphore.acquire"
    kind = ipcsys.BoundedSemaphore
    value = 2

    def create(self):
        self.permits = self.kind(self.value, name=self.tag)

    attach = create

    def operation(self):
        return (self.permits.acquire,)

    def missing(self):
        """What the initial value has more; check() sets right what a dead one had begun."""
        assert self.permits.check() == []
        return self.value - self.permits.value

    def all_there(self, count):
        """Exactly so many permits can be had, and the semaphore is sound."""
        assert self.permits.check() == []
        for _ in range(count):
            assert self.permits.acquire(timeout=SOON), "a permit is lost"
        assert not self.permits.acquire(timeout=0.02), "a permit out of nothing"
        if count:
            self.permits.release(count)
        assert self.permits.value == count and self.permits.check() == []

    def verify(self, first, finished):
        missing = self.missing()
        self.all_there(self.value)
        if first:
            assert missing in (0, 1)
            return "after" if missing else "before"
        assert missing == 0
        return None

    def remove(self):
        self.permits.close()
        self.kind.remove(self.tag)


class AcquireInSegment(Acquire):
    name = "semaphore.acquire in a segment"

    def create(self):
        self.segment = ipcsys.Segment(name=self.tag)
        self.permits = self.segment.find_or_construct(self.kind, "permits", self.value)

    attach = create

    def remove(self):
        assert self.segment.check() == []
        self.permits.close()
        self.segment.close()
        ipcsys.Segment.remove(self.tag)


class AcquireContended(Acquire):
    """The survivor has all of them until the victim is parked."""

    name = "semaphore.acquire contended"
    monotone = False  # how long it waits differs

    def create(self):
        super().create()
        for _ in range(self.value):
            self.permits.acquire()

    attach = Acquire.create

    def meanwhile(self, victim):
        until_parked(victim)
        self.permits.release(self.value)

    def verify(self, first, finished):
        self.all_there(self.value)


class Inherit(Acquire):
    """The holder of all is dead already: the victim dies taking them back."""

    name = "semaphore.acquire from the dead"
    monotone = False  # proof takes a changing number of instructions

    def create(self):
        super().create()

        def hold():
            for _ in range(self.value):
                self.permits.acquire()

        die_holding(hold)

    attach = Acquire.create

    def verify(self, first, finished):
        self.all_there(self.value)


class InheritSurplus(Inherit):
    """The dead one had more than is missing: what comes back is bounded, and
    two words change."""

    name = "semaphore.acquire from the dead, above the initial value"
    kind = ipcsys.Semaphore

    def create(self):
        Acquire.create(self)

        def hold():
            for _ in range(self.value + 1):
                self.permits.acquire()

        self.permits.release(3)
        die_holding(hold)
        for _ in range(2):  # none is free now; of the dead one's three, two are missing
            self.permits.acquire()


class Release(Acquire):
    name = "semaphore.release"

    def operation(self):
        self.permits.acquire()
        return (self.permits.release,)

    def verify(self, first, finished):
        outcome = super().verify(first, finished)
        return {"before": "after", "after": "before", None: None}[outcome]


class ReleaseMany(Acquire):
    """A producer without claims: all at once, or none."""

    name = "semaphore.release of many"
    kind = ipcsys.Semaphore
    value = 0

    def operation(self):
        return self.permits.release, 3

    def verify(self, first, finished):
        if first:
            self.there = -self.missing()
            assert self.there in (0, 3)
        self.all_there(self.permits.value)
        return None if not first else "after" if self.there else "before"


class ReleaseToWaiter(ReleaseMany):
    """The survivor is parked on it."""

    name = "semaphore.release to a waiter"
    monotone = False

    def operation(self):
        until_parked(self.survivor)
        return (self.permits.release,)

    def meanwhile(self, victim):
        self.had = self.permits.acquire(timeout=0.5)

    def verify(self, first, finished):
        if first and getattr(self, "had", False):
            self.permits.release()
        assert self.missing() in (0, -1)
        self.all_there(self.permits.value)


class ReleaseForAnother(Acquire):
    """The victim cancels a claim of the survivor's."""

    name = "semaphore.release of another's claim"

    def create(self):
        super().create()
        self.permits.acquire()

    attach = Acquire.create

    def operation(self):
        return (self.permits.release,)

    def verify(self, first, finished):
        missing = self.missing()
        if missing:
            self.permits.release()
        self.all_there(self.value)
        return None if not first else "before" if missing else "after"


class Create(Acquire):
    """The victim makes the name."""

    name = "semaphore.create by name"
    monotone = False

    def create(self):
        _core.owner()

    attach = create

    def operation(self):
        return (lambda: self.kind(self.value, name=self.tag),)

    def verify(self, first, finished):
        self.permits = self.kind(self.value, name=self.tag)
        self.all_there(self.value)


def _wait_a_little(permits):
    return permits.acquire(timeout=0.003)


class GiveUp(Acquire):
    """A waiter that dies, or whose time is up, takes nothing and keeps nobody waiting."""

    name = "semaphore.acquire in vain"
    monotone = False
    kind = ipcsys.Semaphore
    value = 0

    def operation(self):
        return _wait_a_little, self.permits

    def verify(self, first, finished):
        self.permits.release()
        started = time.monotonic()
        assert self.permits.acquire(timeout=SOON) and time.monotonic() - started < 1
        self.all_there(0)
