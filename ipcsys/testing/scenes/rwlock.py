# SPDX-License-Identifier: Apache-2.0
"""RWLock: both ways in, both ways out, and the ways from one to the other."""

import ipcsys
from ipcsys.testing.scenes.common import die_holding, until_or_dead, until_parked
from ipcsys.testing.scenes.lock import SOON, Named


class _Named(Named):
    kind = ipcsys.RWLock

    def abandoned(self):
        """Write and read once; whether a dead writer had left it in the middle."""
        assert self.lock.acquire_write(timeout=SOON), "the lock is stuck"
        abandoned = self.lock.abandoned
        assert self.lock.readers == 0
        self.lock.release_write()
        assert self.lock.acquire_read(timeout=SOON) and not self.lock.abandoned
        self.lock.release_read()
        assert (self.lock.readers, self.lock.writer, self.lock.check()) == (0, None, [])
        return abandoned


class AcquireRead(_Named):
    """A reader that dies has left, wherever it was."""

    name = "rwlock.acquire_read"

    def operation(self):
        return (self.lock.acquire_read,)

    def verify(self, first, finished):
        assert not self.abandoned()


class AcquireReadAgain(AcquireRead):
    """The victim has its line already: the quick way in."""

    name = "rwlock.acquire_read once more"

    def operation(self):
        self.lock.acquire_read()
        return (self.lock.acquire_read,)


class ReleaseRead(AcquireRead):
    name = "rwlock.release_read"

    def operation(self):
        self.lock.acquire_read()
        return (self.lock.release_read,)


class ReleaseReadToWriter(AcquireRead):
    """The survivor is parked, and wants to write."""

    name = "rwlock.release_read to a writer"
    monotone = False

    def operation(self):
        self.lock.acquire_read()
        until_parked(self.survivor)
        return (self.lock.release_read,)

    def meanwhile(self, victim):
        until_or_dead(lambda: self.lock.readers, victim)
        assert self.lock.acquire_write(timeout=SOON) and not self.lock.abandoned
        self.lock.release_write()


class AcquireReadContended(AcquireRead):
    """The survivor writes until the victim is parked."""

    name = "rwlock.acquire_read contended"
    monotone = False

    def create(self):
        super().create()
        self.lock.acquire_write()

    def meanwhile(self, victim):
        until_parked(victim)
        self.lock.release_write()


class AcquireWrite(_Named):
    name = "rwlock.acquire_write"

    def operation(self):
        return (self.lock.acquire_write,)

    def verify(self, first, finished):
        abandoned = self.abandoned()
        assert first or not abandoned
        assert abandoned or not (first and finished)
        return "after" if abandoned else "before"


class AcquireWriteWithReader(AcquireWrite):
    """The survivor reads until the victim is parked."""

    name = "rwlock.acquire_write with a reader"
    monotone = False

    def create(self):
        super().create()
        self.lock.acquire_read()

    def meanwhile(self, victim):
        until_parked(victim)
        assert not self.lock.abandoned and self.lock.writer is None
        self.lock.release_read()


class ReleaseWrite(_Named):
    name = "rwlock.release_write"

    def operation(self):
        self.lock.acquire_write()
        return (self.lock.release_write,)

    def verify(self, first, finished):
        abandoned = self.abandoned()
        assert not abandoned or (first and not finished)
        return "before" if abandoned else "after"


class ReleaseWriteToReader(ReleaseWrite):
    """The survivor is parked, and wants to read."""

    name = "rwlock.release_write to a reader"
    monotone = False

    def operation(self):
        self.lock.acquire_write()
        until_parked(self.survivor)
        return (self.lock.release_write,)

    def meanwhile(self, victim):
        until_or_dead(lambda: self.lock.writer, victim)
        assert self.lock.acquire_read(timeout=SOON)
        self.lock.release_read()


class Upgrade(AcquireWrite):
    name = "rwlock.upgrade"

    def operation(self):
        self.lock.acquire_read()
        return (self.lock.upgrade,)


class UpgradeWithReader(Upgrade):
    """The survivor reads until the victim is parked, and then upgrades itself."""

    name = "rwlock.upgrade with a reader"
    monotone = False

    def create(self):
        super().create()
        self.lock.acquire_read()

    def meanwhile(self, victim):
        until_parked(victim)
        try:
            upgraded = self.lock.upgrade(timeout=0.02)
        except ipcsys.DeadlockError:
            upgraded = False
        assert self.lock.abandoned is False
        if upgraded:  # the victim died before it said that it upgrades, or waiting
            self.lock.release_write()
        else:
            self.lock.release_read()


class Downgrade(ReleaseWrite):
    name = "rwlock.downgrade"

    def operation(self):
        self.lock.acquire_write()
        return (self.lock.downgrade,)


class TakeOver(_Named):
    """A writer is dead already: the victim dies taking over."""

    name = "rwlock.acquire_write from a dead writer"
    monotone = False

    def create(self):
        super().create()
        die_holding(self.lock.acquire_write)

    def operation(self):
        return (self.lock.acquire_write,)

    def verify(self, first, finished):
        assert self.abandoned() == first, "one death, or two: abandoned either way, and once"


class Heal(TakeOver):
    """The victim dies opening the gate of a dead writer, to read."""

    name = "rwlock.acquire_read from a dead writer"

    def operation(self):
        return (self.lock.acquire_read,)


class OutliveReader(AcquireWrite):
    """A reader is dead already."""

    name = "rwlock.acquire_write after a dead reader"
    monotone = False

    def create(self):
        super().create()
        die_holding(self.lock.acquire_read)


class TryRead(AcquireRead):
    name = "rwlock.try_read"

    def operation(self):
        return (self.lock.try_read,)


class TryWrite(AcquireWrite):
    name = "rwlock.try_write"

    def operation(self):
        return (self.lock.try_write,)
