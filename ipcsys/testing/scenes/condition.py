# SPDX-License-Identifier: Apache-2.0
"""Condition: who waits, who is told, and what of it a death leaves to others.

The survivor's own waiters are threads, so that its main thread can watch.
"""

import os
import re
import signal
import threading
import time

import ipcsys
from ipcsys import _core
from ipcsys.testing.scenes.common import state_of
from ipcsys.testing.sweeping import Scene

SOON = 20.0
GRACE = 0.4  # seconds in which what a death left must have been made good: a few bounds


def waiters(condition):
    return int(re.search(r", (\d+)\)>$", repr(condition))[1])


def dead(pid):
    return state_of(pid) in ("", "Z", "X")


def until(true, seconds=SOON):
    limit = time.monotonic() + seconds
    while not true():
        if time.monotonic() > limit:
            raise AssertionError("it never came true")
        time.sleep(0.001)


class _Shared(Scene):
    monotone = False  # clocks are read, and others take part

    def create(self):
        self.condition = ipcsys.Condition(name=self.tag)

    attach = create

    def usable(self):
        """Nobody waits, nothing is left over, and the lock can be had; whether
        a dead owner had left it."""
        assert self.condition.acquire(timeout=SOON), "the lock is stuck"
        abandoned = self.condition.abandoned
        assert waiters(self.condition) == 0, "somebody dead is waited for"
        assert self.condition.wait(0.001) is False, "a notification was left over"
        self.condition.release()
        assert self.condition.check() == []
        return abandoned

    def verify(self, first, finished):
        assert getattr(self, "problem", None) is None, self.problem
        self.usable()

    def remove(self):
        self.condition.close()
        ipcsys.Condition.remove(self.tag)

    # --- the survivor's waiters

    def waiting(self, count):
        """So many threads that wait.  Each appends to self.heard, in the order
        of their coming, and to self.met whether the lock was abandoned."""
        self.began, self.heard, self.met, self.threads = [], [], [], []
        for number in range(count):
            thread = threading.Thread(target=self._wait, args=(number,), daemon=True)
            thread.start()
            self.threads.append(thread)
            # With the lock in its hands: whoever has it next finds the thread waiting.
            until(lambda number=number: len(self.began) > number)

    def _wait(self, number):
        with self.condition:
            self.met.append(self.condition.abandoned)
            self.began.append(number)
            assert self.condition.wait(30.0)
            self.met.append(self.condition.abandoned)
            self.heard.append(number)

    def told(self, victim, most):
        """How many of them were told by the victim: once all were, or it is
        dead and what it left must have been made good.  The rest is told now."""
        until(lambda: len(self.heard) == most or dead(victim), 70.0)
        limit = time.monotonic() + GRACE
        while len(self.heard) < most and time.monotonic() < limit:
            time.sleep(0.001)
        told = len(self.heard)
        assert self.condition.acquire(timeout=SOON), "the lock is stuck"
        self.met.append(self.condition.abandoned)
        self.condition.notify_all()
        self.condition.release()
        for thread in self.threads:
            thread.join(SOON)
            assert not thread.is_alive(), "a waiter hangs"
        return told


class WaitInVain(_Shared):
    name = "condition.wait in vain"

    def operation(self):
        self.condition.acquire()
        return self.condition.wait, 0.0


class Wait(_Shared):
    """Notified by the survivor, while one more waits there: the notification
    reaches the victim, or that one."""

    name = "condition.wait"

    def operation(self):
        self.condition.acquire()
        return self.condition.wait, SOON

    def meanwhile(self, victim):
        until(lambda: waiters(self.condition) == 1 or dead(victim))
        self.waiting(1)
        assert self.condition.acquire(timeout=SOON), "the lock is stuck"
        self.condition.notify()
        self.condition.release()
        self.passed_on = self.told(victim, most=1) == 1

    def verify(self, first, finished):
        if hasattr(self, "passed_on"):
            assert not (self.passed_on and finished), "one notification, two that used it"
            # Not used by the living: then by one that died with the lock in its hands.
            assert self.passed_on or any(self.met), "a notification was lost"
        super().verify(first, finished)


class WaitBehindTheDead(Wait):
    """One that came before is notified, and killed: the victim dies taking over."""

    name = "condition.wait behind one that dies notified"

    def create(self):
        super().create()
        self.first = os.fork()
        if self.first == 0:
            try:
                with self.condition:
                    self.condition.wait()
            finally:
                os._exit(1)
        until(lambda: waiters(self.condition) == 1)

    def meanwhile(self, victim):
        until(lambda: waiters(self.condition) == 2 or dead(victim))
        self.waiting(1)
        assert self.condition.acquire(timeout=SOON), "the lock is stuck"
        self.condition.notify()
        os.kill(self.first, signal.SIGKILL)
        os.waitpid(self.first, 0)
        self.condition.release()
        self.passed_on = self.told(victim, most=1) == 1


class Notify(_Shared):
    """One thread of the survivor is parked."""

    name = "condition.notify"
    most = 1

    def operation(self):
        until(lambda: waiters(self.condition) == 1)
        self.condition.acquire()
        return (self.condition.notify,)

    def meanwhile(self, victim):
        self.waiting(1)
        time.sleep(0.01)
        self.count = self.told(victim, self.most)

    def verify(self, first, finished):
        if hasattr(self, "count"):
            assert self.count in self.whole(finished), f"{self.count} were told"
        super().verify(first, finished)

    def whole(self, finished):
        return (1,) if finished else (0, 1)


class NotifySpinning(Notify):
    name = "condition.notify of one that spins"

    def create(self):
        os.environ["IPCSYS_SPIN_NS"] = str(10**9)
        super().create()

    def attach(self):
        super().create()


class NotifySome(Notify):
    """Three wait; two are told, or one where the notifier dies between."""

    name = "condition.notify of two"
    most = 2

    def operation(self):
        until(lambda: waiters(self.condition) == 3)
        self.condition.acquire()
        return self.condition.notify, 2

    def meanwhile(self, victim):
        self.waiting(3)
        self.count = self.told(victim, self.most)

    def whole(self, finished):
        return (2,) if finished else (0, 1, 2)


class NotifyAll(Notify):
    name = "condition.notify_all"
    most = 4

    def operation(self):
        until(lambda: waiters(self.condition) == 4)
        self.condition.acquire()
        return (self.condition.notify_all,)

    def meanwhile(self, victim):
        self.waiting(4)
        self.count = self.told(victim, self.most)

    def whole(self, finished):
        return (4,) if finished else (0, 4)


class ReleaseAfter(NotifyAll):
    """All were told: killed before it wakes them, they hear of it all the same."""

    name = "condition.release after notify_all"

    def operation(self):
        call = super().operation()[0]
        call()
        return (self.condition.release,)

    def whole(self, finished):
        return (4,)


class NotifyNobody(_Shared):
    name = "condition.notify of nobody"

    def operation(self):
        self.condition.acquire()
        return (self.condition.notify,)


class Make(_Shared):
    """The victim makes the name."""

    name = "condition.create by name"

    def create(self):
        pass

    def attach(self):
        pass

    def operation(self):
        return (lambda: ipcsys.Condition(name=self.tag),)

    def verify(self, first, finished):
        self.condition = ipcsys.Condition(name=self.tag)
        assert not self.usable()
