# SPDX-License-Identifier: Apache-2.0
"""Barrier: each place in a round, and the ends that rounds come to."""

import threading

import ipcsys
import ipcsys._farewell  # before anybody is stepped through its import
from ipcsys.testing.scenes.common import die_holding, until_or_dead, until_parked
from ipcsys.testing.sweeping import Scene

SOON = 20.0


def outcome(barrier, timeout=SOON):
    """The index of a wait, or "broken"."""
    try:
        return barrier.wait(timeout)
    except ipcsys.BrokenBarrierError:
        return "broken"


def outcome_with(victim, barrier, count):
    """The same, when so many have come or the victim is dead."""
    alive = until_or_dead(lambda: barrier.n_waiting >= count, victim)
    return outcome(barrier, SOON if alive else 0.1)


class Party(threading.Thread):
    """A thread that waits once."""

    def __init__(self, barrier):
        super().__init__(daemon=True)
        self.barrier = barrier
        self.got = None
        self.start()

    def run(self):
        self.got = outcome(self.barrier)

    def result(self):
        self.join(SOON)
        assert self.got is not None, "a party hangs"
        return self.got


class _Named(Scene):
    parties = 2
    monotone = False  # how long one waits differs

    def create(self):
        self.barrier = ipcsys.Barrier(self.parties, name=self.tag)

    attach = create

    def verify(self, first, finished):
        """After a reset, rounds go well, whoever died."""
        barrier = self.barrier
        assert barrier.check() == []
        barrier.reset()
        assert not barrier.broken and barrier.n_waiting == 0
        for _ in range(2):
            others = [Party(barrier) for _ in range(self.parties - 1)]
            got = [outcome(barrier), *(other.result() for other in others)]
            assert sorted(got, key=str) == list(range(self.parties)), got
        barrier._stand_up()

    def remove(self):
        self.barrier.close()
        ipcsys.Barrier.remove(self.tag)


class WaitFirst(_Named):
    """The victim takes its seat and waits; the survivor comes after it."""

    name = "barrier.wait as the first"

    def operation(self):
        return (self.barrier.wait,)

    def meanwhile(self, victim):
        self.got = outcome_with(victim, self.barrier, 1)

    def verify(self, first, finished):
        if first and hasattr(self, "got"):
            # Killed, the victim may have come or not; finished, both went on.
            assert self.got == (1 if finished else self.got)
            assert self.barrier.broken == (self.got == "broken")
        super().verify(first, finished)


class WaitLast(_Named):
    """Both have met before; the survivor is parked when the victim comes."""

    name = "barrier.wait as the last"

    def operation(self):
        self.barrier.wait(SOON)
        while self.barrier.n_waiting == 0:
            pass
        until_parked(self.survivor)
        return (self.barrier.wait,)

    def meanwhile(self, victim):
        assert outcome(self.barrier) != "broken"
        self.got = outcome(self.barrier)

    def verify(self, first, finished):
        if hasattr(self, "got"):
            assert self.got == 0 or (self.got == "broken" and not finished)
        super().verify(first, finished)


class WaitLastWithAction(WaitLast):
    """The last one acts before it lets the others go."""

    name = "barrier.wait as the last, with an action"

    def create(self):
        self.barrier = ipcsys.Barrier(self.parties, int, name=self.tag)

    attach = create


class WaitMiddle(_Named):
    """One of the survivor's threads comes before the victim, one after it."""

    name = "barrier.wait in the middle"
    parties = 3

    def operation(self):
        while self.barrier.n_waiting == 0:
            pass
        return (self.barrier.wait,)

    def meanwhile(self, victim):
        before = Party(self.barrier)
        self.got = {outcome_with(victim, self.barrier, 2), before.result()}

    def verify(self, first, finished):
        if hasattr(self, "got"):
            broken = self.got == {"broken"}
            assert broken or "broken" not in self.got, "one went on, the other did not"
            assert not (broken and finished)
        super().verify(first, finished)


class FindDead(_Named):
    """A party died waiting: the victim dies breaking the barrier for it."""

    name = "barrier.wait after a death"
    parties = 3

    def create(self):
        super().create()
        die_holding(self.come)

    def come(self):
        Party(self.barrier)
        while self.barrier.n_waiting == 0:
            pass

    def operation(self):
        return outcome, self.barrier

    def verify(self, first, finished):
        assert self.barrier.broken or not (first and finished)
        if first:
            assert outcome(self.barrier) == "broken", "it counts a dead party"
        super().verify(first, finished)


class Abort(_Named):
    """A thread of the survivor waits."""

    name = "barrier.abort"

    def operation(self):
        while self.barrier.n_waiting == 0:
            pass
        return (self.barrier.abort,)

    def meanwhile(self, victim):
        self.other = Party(self.barrier)

    def verify(self, first, finished):
        happened = self.barrier.broken
        assert happened or not (first and finished)
        if not happened:
            assert self.barrier.n_waiting == first
            self.barrier.abort()
        if hasattr(self, "other"):
            assert self.other.result() == "broken"
        super().verify(first, finished)
        return "after" if happened else "before"


class Reset(_Named):
    """A thread of the survivor waits."""

    name = "barrier.reset"

    def operation(self):
        while self.barrier.n_waiting == 0:
            pass
        return (self.barrier.reset,)

    def meanwhile(self, victim):
        self.other = Party(self.barrier)

    def verify(self, first, finished):
        happened = self.barrier.n_waiting == 0
        assert not self.barrier.broken and (happened or not (first and finished))
        super().verify(first, finished)
        if hasattr(self, "other"):
            assert self.other.result() == "broken"
        return "after" if happened else "before"


class ResetBroken(_Named):
    name = "barrier.reset of a broken one"
    monotone = True

    def create(self):
        super().create()
        self.barrier.abort()

    def attach(self):
        super().create()

    def operation(self):
        return (self.barrier.reset,)

    def verify(self, first, finished):
        happened = not self.barrier.broken
        assert happened or not (first and finished)
        super().verify(first, finished)
        return "after" if happened else "before"


class Close(_Named):
    """One that gives its seat back may die; one that has not breaks it."""

    name = "barrier.close"

    def operation(self):
        self.barrier.wait(SOON)
        return (self.barrier.close,)

    def meanwhile(self, victim):
        assert outcome(self.barrier) != "broken"

    def verify(self, first, finished):
        if first and finished:
            others = [Party(self.barrier)]
            assert outcome(self.barrier) != "broken" and others[0].result() != "broken"
        super().verify(first, finished)
