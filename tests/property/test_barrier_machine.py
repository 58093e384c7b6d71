# SPDX-License-Identifier: Apache-2.0
"""Barrier against a model: processes that come, go, break it, and are killed."""

import itertools

from actors import Actor
from child import until
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ipcsys import Barrier, BrokenBarrierError

_numbers = itertools.count()
ACTORS = 4
WHO = st.integers(0, ACTORS - 1)


class BarrierMachine(RuleBasedStateMachine):
    @initialize(parties=st.integers(1, ACTORS))
    def begin(self, parties):
        self.name = f"machine {next(_numbers)}"
        self.parties = parties
        self.barrier = Barrier(parties, name=self.name)
        self.actors = [self.actor() for _ in range(ACTORS)]
        self.waiting = []  # actors, in the order in which they came
        self.seats = set()
        self.broken = False
        self.has_dead = False  # somebody with a seat died, and nobody has noticed yet

    def actor(self):
        return Actor(Barrier, self.parties, name=self.name)

    def teardown(self):
        if hasattr(self, "actors"):
            for actor in self.actors:
                actor.end()
            self.barrier.reset()
            assert not self.barrier.broken and self.barrier.check() == []
            self.barrier.close()
            Barrier.remove(self.name)

    def breaks(self):
        """All that wait are told."""
        for who in self.waiting:
            assert self.actors[who].hear() is BrokenBarrierError
        self.waiting.clear()

    @rule(who=WHO)
    def come(self, who):
        actor = self.actors[who]
        if actor.busy:
            return
        actor.tell("wait", 20)
        self.seats.add(who)
        if self.broken or self.has_dead:
            assert actor.hear() is BrokenBarrierError
            self.broken, self.has_dead = True, False
            return
        self.waiting.append(who)
        if len(self.waiting) < self.parties:
            until(lambda: self.barrier.n_waiting == len(self.waiting))
            return
        got = [self.actors[each].hear() for each in self.waiting]
        assert got == list(range(self.parties))
        self.waiting.clear()

    @rule(who=WHO)
    def come_for_a_moment(self, who):
        actor = self.actors[who]
        if actor.busy or self.parties - len(self.waiting) < 2:
            return
        assert actor.call("wait", 0) is BrokenBarrierError
        self.seats.add(who)
        self.broken = True
        self.has_dead = False
        self.breaks()

    @rule()
    def abort(self):
        self.barrier.abort()
        self.broken = True
        self.breaks()

    @rule()
    def reset(self):
        self.barrier.reset()
        self.broken = self.has_dead = False
        self.breaks()

    @rule(who=WHO)
    def kill(self, who):
        self.actors[who].end()
        self.actors[who] = self.actor()
        if who in self.waiting:
            self.waiting.remove(who)
            if not self.waiting:
                self.has_dead = True
        if who not in self.seats:
            return
        self.seats.discard(who)
        if self.waiting:
            self.breaks()
            self.broken, self.has_dead = True, False
        elif not self.broken:
            self.has_dead = True

    @rule(who=WHO)
    def leave(self, who):
        if not self.actors[who].busy:
            self.actors[who].call("_stand_up")
            self.seats.discard(who)

    @invariant()
    def looks_as_it_should(self):
        if not hasattr(self, "barrier"):
            return
        assert self.barrier.broken == self.broken and self.barrier.check() == []
        if not self.has_dead:
            assert self.barrier.n_waiting == len(self.waiting)


BarrierMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
TestBarrier = BarrierMachine.TestCase
