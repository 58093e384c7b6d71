# SPDX-License-Identifier: Apache-2.0
"""RWLock against a model: processes that take it, give it up, and are killed."""

import itertools

from actors import Actor
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import ipcsys
from ipcsys import RWLock

_numbers = itertools.count()
ACTORS = 3
WHO = st.integers(0, ACTORS - 1)


class RWLockMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.name = f"machine {next(_numbers)}"
        self.lock = RWLock(name=self.name)
        self.actors = [Actor(RWLock, name=self.name) for _ in range(ACTORS)]
        self.reads = [0] * ACTORS
        self.writer = None
        self.abandoned = False

    def teardown(self):
        if hasattr(self, "actors"):
            for actor in self.actors:
                actor.end()
            assert self.lock.acquire_write(timeout=5)
            self.lock.release_write()
            assert (self.lock.readers, self.lock.abandoned, self.lock.check()) == (0, False, [])
            self.lock.close()
            RWLock.remove(self.name)

    @rule(who=WHO)
    def read(self, who):
        free = self.writer is None
        assert self.actors[who].call("try_read") is free
        self.reads[who] += free

    @rule(who=WHO)
    def write(self, who):
        free = self.writer is None and sum(self.reads) == 0
        assert self.actors[who].call("try_write") is free
        if free:
            self.writer = who

    @rule(who=WHO)
    def release_read(self, who):
        held = self.reads[who] > 0
        assert self.actors[who].call("release_read") is (None if held else ipcsys.NotHeld)
        self.reads[who] -= held

    @rule(who=WHO)
    def release_write(self, who):
        held = self.writer == who
        assert self.actors[who].call("release_write") is (None if held else ipcsys.NotHeld)
        if held:
            self.writer, self.abandoned = None, False

    @rule(who=WHO)
    def upgrade(self, who):
        held, alone = self.reads[who] > 0, sum(self.reads) == 1
        expected = alone if held else ipcsys.NotHeld
        assert self.actors[who].call("upgrade", False) is expected
        if held and alone:
            self.reads[who], self.writer = 0, who

    @rule(who=WHO)
    def downgrade(self, who):
        held = self.writer == who
        assert self.actors[who].call("downgrade") is (None if held else ipcsys.NotHeld)
        if held:
            self.reads[who], self.writer, self.abandoned = 1, None, False

    @rule(who=WHO)
    def kill(self, who):
        self.actors[who].end()
        self.actors[who] = Actor(RWLock, name=self.name)
        self.reads[who] = 0
        if self.writer == who:
            self.writer, self.abandoned = None, True

    @rule(who=WHO, other=WHO)
    def wait_and_be_let_in(self, who, other):
        """A writer waits until the one reader leaves, or dies."""
        if who == other or sum(self.reads) != self.reads[other] or self.reads[other] != 1:
            return
        self.actors[who].tell("acquire_write", True, 10)
        assert self.actors[other].call("release_read") is None
        self.reads[other] = 0
        assert self.actors[who].hear() is True
        self.writer = who

    @invariant()
    def looks_as_it_should(self):
        if not hasattr(self, "lock"):
            return
        pid = None if self.writer is None else self.actors[self.writer].pid
        found = (self.lock.readers, self.lock.writer, self.lock.abandoned, self.lock.check())
        assert found == (sum(self.reads), pid, self.abandoned, [])


RWLockMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
TestRWLock = RWLockMachine.TestCase
