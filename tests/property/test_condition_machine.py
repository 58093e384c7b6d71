# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to those who wait, a condition does what a list of them would do."""

import contextlib
import mmap
import os
import re
import signal
import time

import hypothesis.strategies as st
from child import until
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import ipcsys

MOST = 64  # waiters of one run


class ConditionMachine(RuleBasedStateMachine):
    """Waiters are processes: they come, are told, give up, and are killed."""

    @initialize(given=st.booleans())
    def make(self, given):
        self.condition = ipcsys.Condition(ipcsys.Lock() if given else None)
        self.told = mmap.mmap(-1, MOST)  # by number, once its wait() returned True
        self.pids = []
        self.waiting = []  # numbers, the oldest first
        self.expected = set()

    def count(self):
        return int(re.search(r", (\d+)\)>$", repr(self.condition))[1])

    def expect(self, number):
        """The `number` oldest are told."""
        self.expected |= set(self.waiting[:number])
        del self.waiting[:number]

    @precondition(lambda self: len(self.pids) < MOST)
    @rule()
    def come(self):
        number = len(self.pids)
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException), self.condition:
                self.told[number] = self.condition.wait(60)
            os._exit(0)
        self.pids.append(pid)
        self.waiting.append(number)
        until(lambda: self.count() == len(self.waiting))

    @rule(timeout=st.sampled_from([0, 0.002]))
    def wait_in_vain(self, timeout):
        with self.condition:
            assert self.condition.wait(timeout) is False

    @rule(number=st.integers(0, 4))
    def notify(self, number):
        with self.condition:
            self.condition.notify(number)
        self.expect(number)

    @rule()
    def notify_all(self):
        with self.condition:
            self.condition.notify_all()
        self.expect(len(self.waiting))

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, MOST))
    def kill(self, which):
        self.end(self.waiting.pop(which % len(self.waiting)))

    @precondition(lambda self: self.waiting)
    @rule()
    def kill_what_was_told(self):
        """Notified, and dead before it had the lock: as if it had never come."""
        with self.condition:
            self.condition.notify()
            self.end(self.waiting.pop(0))
            # Whoever else waits hears of it, with the lock still in our hands.
            until(lambda: self.count() == max(0, len(self.waiting) - 1))
        self.expect(1)

    def end(self, number):
        os.kill(self.pids[number], signal.SIGKILL)
        os.waitpid(self.pids[number], 0)
        self.pids[number] = 0

    @invariant()
    def those_are_told_who_should_be(self):
        if hasattr(self, "told"):
            until(lambda: all(self.told[number] for number in self.expected))
            until(lambda: self.count() == len(self.waiting))
            assert not any(self.told[number] for number in self.waiting)

    def teardown(self):
        if not hasattr(self, "pids"):
            return
        time.sleep(0.001)
        with self.condition:
            self.condition.notify_all()
        for pid in filter(None, self.pids):
            os.waitpid(pid, 0)
        told = {number for number in range(len(self.pids)) if self.told[number]}
        assert told == self.expected | set(self.waiting)
        assert self.condition.check() == [] and self.count() == 0
        self.told.close()
        self.condition.close()


TestConditionMachine = ConditionMachine.TestCase
TestConditionMachine.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, database=None
)
