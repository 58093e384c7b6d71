# SPDX-License-Identifier: Apache-2.0
"""Event: the flag, and those who wait for it."""

import ipcsys
from ipcsys.testing.scenes.common import heard_of, until_parked
from ipcsys.testing.sweeping import Scene


class Set(Scene):
    name = "event.set"

    def create(self):
        self.event = ipcsys.Event(name=self.tag)

    attach = create

    def operation(self):
        return (self.event.set,)

    def verify(self, first, finished):
        happened = self.event.is_set()
        assert happened or not (first and finished)
        assert self.event.wait(0) == happened
        self.event.set()
        assert self.event.wait(5.0)
        self.event.clear()
        assert not self.event.is_set()
        return "after" if happened else "before"

    def remove(self):
        self.event.close()
        ipcsys.Event.remove(self.tag)


class SetWithWaiter(Set):
    """The survivor is parked on it: killed between the store and the wake, the
    victim has woken nobody, and the bound of the park must."""

    name = "event.set with a waiter"

    def operation(self):
        until_parked(self.survivor)
        return (self.event.set,)

    def meanwhile(self, victim):
        self.heard = heard_of(victim, self.event.wait)

    def verify(self, first, finished):
        if first and hasattr(self, "heard"):
            assert self.heard == self.event.is_set(), "it was set, and the waiter slept on"
        return super().verify(first, finished)


class Clear(Set):
    name = "event.clear"

    def operation(self):
        self.event.set()
        return (self.event.clear,)

    def verify(self, first, finished):
        happened = not self.event.is_set()
        assert happened or not (first and finished)
        super().verify(first, finished=False)
        return "after" if happened else "before"


class Wait(Set):
    """A waiter that dies leaves nothing that keeps others from waiting."""

    name = "event.wait"
    monotone = False

    def operation(self):
        return self.event.wait, 5.0

    def meanwhile(self, victim):
        until_parked(victim)
        self.event.set()

    def verify(self, first, finished):
        assert self.event.is_set() or not first
        super().verify(first, finished=False)
