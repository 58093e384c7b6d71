# SPDX-License-Identifier: Apache-2.0
"""Named primitives."""

import contextlib
import threading
import time

import ipcsys
from ipcsys import _core
from ipcsys.testing.targets.common import Target


class Semaphore(Target):
    name = "semaphore"
    file = "permits"

    def build(self):
        self.permits = ipcsys.Semaphore(2, name="permits")
        self.permits.acquire()
        self.permits.release(3)
        self.permits.acquire()

    def open(self):
        _core.objects()
        return ipcsys.Semaphore(name="permits")

    def exercise(self, permits):
        for act in (
            permits.check, lambda: permits.acquire(timeout=0.02), permits.release,
            lambda: permits.acquire(False), lambda: permits.release(2), permits.check,
        ):  # fmt: skip
            with contextlib.suppress(ipcsys.Error, ValueError):
                act()
        permits.value  # noqa: B018

    def leave(self, permits):
        permits.close()


class RWLock(Target):
    name = "rwlock"
    file = "shared-door"

    def build(self):
        self.lock = ipcsys.RWLock(name="shared-door")
        self.lock.acquire_write()
        self.lock.downgrade()

    def open(self):
        return ipcsys.RWLock(name="shared-door")

    def exercise(self, lock):
        lock.check()
        if lock.acquire_read(timeout=0.02):
            with contextlib.suppress(ipcsys.Error):
                lock.upgrade(timeout=0.02)
                lock.downgrade()
            lock.release_read()
        if lock.acquire_write(timeout=0.02):
            lock.release_write()
        lock.readers, lock.writer, lock.abandoned  # noqa: B018

    def leave(self, lock):
        lock.close()
        ipcsys.RWLock.remove("shared-door")


class Barrier(Target):
    name = "barrier"
    file = "gate"

    def build(self):
        self.barrier = ipcsys.Barrier(2, name="gate")
        threading.Thread(target=self.barrier.wait, daemon=True).start()
        while self.barrier.n_waiting == 0:
            time.sleep(0.001)

    def open(self):
        return ipcsys.Barrier(name="gate", create=False)

    def exercise(self, barrier):
        barrier.check()
        for _ in range(2):
            with contextlib.suppress(ipcsys.Error):
                barrier.wait(0.02)
            barrier.reset()
        barrier.abort()
        barrier.parties, barrier.n_waiting, barrier.broken  # noqa: B018

    def leave(self, barrier):
        barrier.close()
        ipcsys.Barrier.remove("gate")


class Condition(Target):
    """Its own lock is a recursive one, so this is RLock's target too."""

    name = "condition"
    file = "turnstile"

    def build(self):
        self.condition = ipcsys.Condition(name="turnstile")
        for seconds in (30, 0.01, 30):
            threading.Thread(target=self._wait, args=(seconds,), daemon=True).start()
        time.sleep(0.02)
        with self.condition:
            self.condition.notify()
            self.condition.acquire()

    def _wait(self, seconds):
        with self.condition:
            self.condition.wait(seconds)

    def open(self):
        return ipcsys.Condition(name="turnstile")

    def exercise(self, condition):
        condition.check()
        repr(condition)
        if condition.acquire(timeout=0.02):
            with contextlib.suppress(ipcsys.Error):
                condition.notify()
                condition.wait(0.002)
                condition.notify(3)
                condition.notify_all()
                condition.wait_for(lambda: False, 0.002)
            condition.release()
        condition.locked(), condition.abandoned  # noqa: B018

    def leave(self, condition):
        condition.close()
        ipcsys.Condition.remove("turnstile")


class Lock(Target):
    name = "lock"
    file = "door"

    def build(self):
        self.lock = ipcsys.Lock(name="door")
        self.lock.acquire()

    def open(self):
        _core.objects()
        return ipcsys.Lock(name="door")

    def exercise(self, lock):
        if lock.acquire(timeout=0.05):
            lock.abandoned  # noqa: B018
            lock.release()
        lock.locked()

    def leave(self, lock):
        lock.close()
        ipcsys.Lock.remove("door")


class Event(Target):
    name = "event"
    file = "bell"

    def build(self):
        ipcsys.Event(name="bell").set()

    def open(self):
        return ipcsys.Event(name="bell")

    def exercise(self, event):
        event.wait(0.02)
        event.clear()
        event.wait(0.02)
        event.set()

    def leave(self, event):
        event.close()
        ipcsys.Event.remove("bell")
