# SPDX-License-Identifier: Apache-2.0
"""Whatever processes do to a semaphore, and whoever of them is killed, the
permits are those of a model that keeps the rule of claims."""

import os
import signal

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import ipcsys

members = st.integers(0, 2)


class Worker:
    """A process of its own that acquires and releases on demand."""

    def __init__(self, kind):
        orders, answers = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.obey(kind, os.fdopen(orders[0]), answers[1])
            finally:
                os._exit(1)
        os.close(orders[0])
        os.close(answers[1])
        self.orders, self.answers = orders[1], answers[0]

    def obey(self, kind, orders, answers):
        permits = kind(name="machine", create=False)
        for line in iter(orders.readline, ""):
            try:
                count = int(line)
                answer = permits.acquire(False) if count == 0 else permits.release(count) is None
                os.write(answers, b"y" if answer else b"n")
            except ValueError:
                os.write(answers, b"v")

    def ask(self, count):
        """acquire(False) for 0, else release(count): b"y", b"n", or b"v" for ValueError."""
        os.write(self.orders, b"%d\n" % count)
        return os.read(self.answers, 1)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.orders)
        os.close(self.answers)


class SemaphoreMachine(RuleBasedStateMachine):
    @initialize(
        initial=st.integers(0, 4), bounded=st.booleans(), owned=st.sampled_from([True, True, False])
    )
    def make(self, initial, bounded, owned):
        self.kind = ipcsys.BoundedSemaphore if bounded else ipcsys.Semaphore
        self.permits = self.kind(initial, owned=owned, name="machine", create="new")
        self.initial, self.bounded, self.owned = initial, bounded, owned
        self.value = initial
        self.claims = {}  # by worker, the one with the oldest first
        self.dead = set()
        self.workers = [Worker(self.kind) for _ in range(3)]

    def take_back(self):
        for worker in [worker for worker in self.claims if worker in self.dead]:
            missing = max(self.initial - self.value, 0)
            self.value += min(self.claims.pop(worker), missing)

    def cancel(self, worker, count):
        count = min(count, self.claims[worker])
        self.claims[worker] -= count
        if not self.claims[worker]:
            del self.claims[worker]
        return count

    @rule(member=members)
    def acquire(self, member):
        worker = self.workers[member]
        if self.value == 0:
            self.take_back()
        assert worker.ask(0) == (b"y" if self.value > 0 else b"n")
        if self.value > 0:
            self.value -= 1
            if self.owned:
                self.claims[worker] = self.claims.get(worker, 0) + 1

    @rule(member=members, count=st.integers(1, 4))
    def release(self, member, count):
        worker = self.workers[member]
        too_many = self.bounded and self.value + count > self.initial
        assert worker.ask(count) == (b"v" if too_many else b"y")
        if too_many:
            return
        self.value += count
        while count and self.claims:
            count -= self.cancel(worker if worker in self.claims else next(iter(self.claims)), count)

    @rule(member=members)
    def kill(self, member):
        self.workers[member].kill()
        self.dead.add(self.workers[member])
        self.workers[member] = Worker(self.kind)

    @invariant()
    def the_value_is_the_models(self):
        if hasattr(self, "permits"):
            assert self.permits.check() == []
            assert self.permits.value == self.value

    def teardown(self):
        for worker in getattr(self, "workers", ()):
            worker.kill()
        if hasattr(self, "permits"):
            self.permits.close()
            self.kind.remove("machine")


TestSemaphore = SemaphoreMachine.TestCase
TestSemaphore.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
