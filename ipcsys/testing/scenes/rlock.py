# SPDX-License-Identifier: Apache-2.0
"""RLock: the lock word, and whose it is."""

import time

import ipcsys
from ipcsys.testing.scenes.common import die_holding, state_of, until_parked
from ipcsys.testing.sweeping import Scene

SOON = 20.0


class _Recursive(Scene):
    def create(self):
        self.lock = ipcsys.RLock(name=self.tag)

    attach = create

    def taken(self):
        """Take it twice and give it back; whether a dead owner had left it."""
        assert not self.lock._is_owned()
        assert self.lock.acquire(timeout=SOON), "the lock is stuck"
        assert self.lock._recursion_count() == 1, "recursion outlived its owner"
        abandoned = self.lock.abandoned
        with self.lock:
            assert self.lock._recursion_count() == 2 and self.lock.abandoned == abandoned
        self.lock.release()
        assert not self.lock.locked() and not self.lock._is_owned()
        return abandoned

    def remove(self):
        self.lock.close()
        ipcsys.RLock.remove(self.tag)


class Acquire(_Recursive):
    name = "rlock.acquire"

    def operation(self):
        return (self.lock.acquire,)

    def verify(self, first, finished):
        abandoned = self.taken()
        assert first or not abandoned
        assert abandoned or not (first and finished)
        return "after" if abandoned else "before"


class AcquireContended(Acquire):
    """The survivor holds it until the victim is parked."""

    name = "rlock.acquire contended"
    monotone = False  # how long it waits differs

    def create(self):
        super().create()
        self.lock.acquire()

    def meanwhile(self, victim):
        until_parked(victim)
        self.lock.release()


class TakeOver(Acquire):
    """The owner is dead already, three deep: the victim dies taking over."""

    name = "rlock.acquire from a dead owner"
    monotone = False

    def create(self):
        super().create()
        die_holding(lambda: [self.lock.acquire() for _ in range(3)])

    def verify(self, first, finished):
        assert self.taken() == first, "one death, or two: abandoned either way, and once"


class AcquireAgain(_Recursive):
    name = "rlock.acquire again"

    def operation(self):
        self.lock.acquire()
        return (self.lock.acquire,)

    def verify(self, first, finished):
        assert self.taken() == first, "its owner died holding it"


class ReleaseOne(AcquireAgain):
    name = "rlock.release of one of two"

    def operation(self):
        self.lock.acquire()
        self.lock.acquire()
        return (self.lock.release,)


class Release(_Recursive):
    name = "rlock.release"

    def operation(self):
        self.lock.acquire()
        return (self.lock.release,)

    def verify(self, first, finished):
        abandoned = self.taken()
        assert not abandoned or (first and not finished)
        return "before" if abandoned else "after"


class ReleaseSave(Release):
    name = "rlock._release_save"

    def operation(self):
        self.lock.acquire()
        self.lock.acquire()
        return (self.lock._release_save,)


class AcquireRestore(Acquire):
    name = "rlock._acquire_restore"
    monotone = False

    def operation(self):
        return self.lock._acquire_restore, (3, 1)


class ReleaseToWaiter(Release):
    """The survivor is parked on it."""

    name = "rlock.release to a waiter"
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
