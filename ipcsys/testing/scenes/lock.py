# SPDX-License-Identifier: Apache-2.0
"""Lock: the word itself, and the objects it lives in."""

import time

import ipcsys
from ipcsys import _core
from ipcsys.testing.scenes.common import die_holding, state_of, until_parked, users
from ipcsys.testing.sweeping import Scene

SOON = 20.0


class Named(Scene):
    """The base of an RLock's scenes too."""

    kind = ipcsys.Lock

    def create(self):
        self.lock = self.kind(name=self.tag)

    attach = create

    def take(self):
        self.lock.acquire()

    def taken(self):
        """Take the lock and give it back; whether a dead owner had left it."""
        assert self.lock.acquire(timeout=SOON), "the lock is stuck"
        abandoned = self.lock.abandoned
        self.lock.release()
        assert not self.lock.locked()
        return abandoned

    def remove(self):
        self.lock.close()
        self.kind.remove(self.tag)


class Acquire(Named):
    name = "lock.acquire"

    def operation(self):
        return (self.lock.acquire,)

    def verify(self, first, finished):
        abandoned = self.taken()
        assert first or not abandoned
        assert abandoned or not (first and finished)
        return "after" if abandoned else "before"


class AcquireTimed(Acquire):
    name = "lock.acquire with a timeout"
    monotone = False  # reading the clock takes a changing number of instructions

    def operation(self):
        return self.lock.acquire, True, SOON


class AcquireContended(Acquire):
    """The survivor holds it until the victim is parked."""

    name = "lock.acquire contended"
    monotone = False  # how long it waits differs

    def create(self):
        super().create()
        self.lock.acquire()

    def meanwhile(self, victim):
        until_parked(victim)
        self.lock.release()


class TakeOver(Acquire):
    """The owner is dead already: the victim dies taking over."""

    name = "lock.acquire from a dead owner"
    monotone = False

    def create(self):
        super().create()
        die_holding(self.take)

    def verify(self, first, finished):
        abandoned = self.taken()
        assert abandoned == first, "one death, or two: abandoned either way, and once"


class Release(Named):
    name = "lock.release"

    def operation(self):
        self.lock.acquire()
        return (self.lock.release,)

    def verify(self, first, finished):
        abandoned = self.taken()
        assert not abandoned or (first and not finished)
        return "before" if abandoned else "after"


class ReleaseToWaiter(Release):
    """The survivor is parked on it."""

    name = "lock.release to a waiter"
    monotone = False

    def operation(self):
        self.lock.acquire()
        until_parked(self.survivor)
        return (self.lock.release,)

    def meanwhile(self, victim):
        # Until the victim has it, or had it: on a busy machine it may be through.
        while not self.lock.locked() and state_of(victim) not in ("", "Z", "X"):
            time.sleep(0.001)
        self.taken()

    def verify(self, first, finished):
        assert not self.taken()


class Create(Named):
    """The victim makes the name."""

    name = "lock.create by name"

    def create(self):
        _core.owner()

    def attach(self):
        _core.owner()

    def operation(self):
        return (lambda: ipcsys.Lock(name=self.tag),)

    def verify(self, first, finished):
        existed = users(self.tag) is not None
        assert existed or not (first and finished)
        self.lock = ipcsys.Lock(name=self.tag)
        assert not self.taken()
        assert users(self.tag) in (1, 2)
        return "after" if existed else "before"

    def remove(self):
        self.lock.close()
        ipcsys.Lock.remove(self.tag)


class Open(Named):
    """The victim opens what the survivor made."""

    name = "lock.open by name"

    def attach(self):
        _core.owner()

    def operation(self):
        return (lambda: ipcsys.Lock(name=self.tag, create=False),)

    def verify(self, first, finished):
        if not hasattr(self, "lock"):
            self.lock = ipcsys.Lock(name=self.tag, create=False)
        assert not self.taken()
        assert users(self.tag) in (1, 2), "a dead member holds the name"


class Remove(Named):
    name = "lock.remove of a name"

    def create(self):
        ipcsys.Lock(name=self.tag).close()

    def attach(self):
        _core.owner()

    def operation(self):
        return ipcsys.Lock.remove, self.tag

    def verify(self, first, finished):
        there = users(self.tag) is not None
        assert not there or not (first and finished)
        self.lock = ipcsys.Lock(name=self.tag)
        assert not self.taken()
        return "before" if there else "after"


class RemoveLast(Remove):
    """cleanup="last": closing the last handle takes the name away."""

    name = "lock.close of the last handle"

    def create(self):
        _core.owner()

    def operation(self):
        lock = ipcsys.Lock(name=self.tag, cleanup="last")
        return (lock.close,)

    def verify(self, first, finished):
        assert users(self.tag) is None or not first, "the last user is dead, its name is not"
        self.lock = ipcsys.Lock(name=self.tag)
        assert not self.taken()

    def remove(self):
        self.lock.close()
        if users(self.tag) is not None:
            ipcsys.Lock.remove(self.tag)
