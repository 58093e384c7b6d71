# SPDX-License-Identifier: Apache-2.0
"""RLock: the lock word, and whose it is."""

import ipcsys
from ipcsys.testing.scenes import lock


class _Recursive(lock.Named):
    kind = ipcsys.RLock

    def taken(self):
        """Take it twice and give it back; whether a dead owner had left it."""
        assert not self.lock._is_owned()
        assert self.lock.acquire(timeout=lock.SOON), "the lock is stuck"
        assert self.lock._recursion_count() == 1, "recursion outlived its owner"
        abandoned = self.lock.abandoned
        with self.lock:
            assert self.lock._recursion_count() == 2 and self.lock.abandoned == abandoned
        self.lock.release()
        assert not self.lock.locked() and not self.lock._is_owned()
        return abandoned


class Acquire(_Recursive, lock.Acquire):
    name = "rlock.acquire"


class AcquireContended(_Recursive, lock.AcquireContended):
    name = "rlock.acquire contended"


class TakeOver(_Recursive, lock.TakeOver):
    """Three deep."""

    name = "rlock.acquire from a dead owner"

    def take(self):
        for _ in range(3):
            self.lock.acquire()


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


class Release(_Recursive, lock.Release):
    name = "rlock.release"


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


class ReleaseToWaiter(_Recursive, lock.ReleaseToWaiter):
    name = "rlock.release to a waiter"
