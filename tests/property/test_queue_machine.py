# SPDX-License-Identifier: Apache-2.0
"""Whatever is done to a queue, it does what a deque with the same limits would do."""

import collections
import queue

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import ipcsys

LIMIT = 1 << 20
# Always fits while this many bytes or fewer are queued: blocks and units are
# of 64 KiB, so what is free may be cut up that much.
ROOM = LIMIT - 6 * 65536

sizes = st.one_of(
    st.integers(0, 300),
    st.integers(0, 40_000),
    st.integers(30_000, 200_000),
    st.just(65_536),
    st.just(LIMIT - 2 * 65536),
)
values = st.one_of(
    st.integers(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=4),
    st.builds(complex, st.integers(0, 9), st.integers(0, 9)),  # by pickle
)


def cost(item):
    """Bytes that an item takes at most: its record, or its units and a record."""
    size = len(item) if isinstance(item, bytes) else 600
    return size + 48 if size <= 32_768 else (size + 65_535) // 65_536 * 65_536 + 200


class QueueMachine(RuleBasedStateMachine):
    @initialize(maxsize=st.sampled_from([0, 0, 1, 5]))
    def make(self, maxsize):
        self.handles = [ipcsys.Queue(maxsize, max_bytes=LIMIT, name="machine", create="new")]
        self.handles.append(ipcsys.Queue(name="machine", create=False))
        self.maxsize = maxsize
        self.model = collections.deque()
        self.number = 0

    def handle(self, which):
        return self.handles[which]

    def has_slot(self, count=1):
        return self.maxsize == 0 or len(self.model) + count <= self.maxsize

    def has_room(self, item):
        return sum(map(cost, self.model)) + cost(item) <= ROOM

    def bytes_of(self, size):
        self.number += 1
        return (b"%d." % self.number).ljust(size, b"%d" % (self.number % 10))[:size]

    def put(self, which, item):
        try:
            self.handle(which).put_nowait(item)
        except queue.Full:
            assert not self.has_slot() or not self.has_room(item)
            assert self.model, "an empty queue takes anything"
        else:
            assert self.has_slot()
            self.model.append(item)

    @rule(which=st.integers(0, 1), size=sizes)
    def put_bytes(self, which, size):
        self.put(which, self.bytes_of(size))

    @rule(which=st.integers(0, 1), value=values)
    def put_value(self, which, value):
        self.put(which, value)

    @rule(
        which=st.integers(0, 1),
        several=st.lists(st.one_of(st.tuples(st.integers(0, 40_000)), values)),
    )
    def put_many(self, which, several):
        items = [self.bytes_of(*x) if isinstance(x, tuple) else x for x in several]
        try:
            count = self.handle(which).put_many(items, block=False)
        except queue.Full:
            count = 0
            assert items and not (self.has_slot() and self.has_room(items[0]))
        assert self.has_slot(count) or count == 0
        self.model.extend(items[:count])
        if count < len(items):
            assert not self.has_slot() or not self.has_room(items[count])

    @rule(which=st.integers(0, 1))
    def get(self, which):
        if self.model:
            assert self.handle(which).get_nowait() == self.model.popleft()
            return
        try:
            self.handle(which).get_nowait()
        except queue.Empty:
            return
        raise AssertionError("something came out of an empty queue")

    @precondition(lambda self: self.model)
    @rule(which=st.integers(0, 1), n=st.integers(1, 40))
    def get_many(self, which, n):
        got = self.handle(which).get_many(n)
        assert len(got) == min(n, len(self.model))
        assert got == [self.model.popleft() for _ in got]

    @precondition(lambda self: self.model)
    @rule(which=st.integers(0, 1), room=st.integers(0, 300_000))
    def get_into(self, which, room):
        target = bytearray(room)
        first = self.model[0]
        try:
            size = self.handle(which).get_into(target)
        except (ipcsys.TooLarge, ipcsys.MismatchError):
            assert not isinstance(first, bytes) or len(first) > room
        else:
            assert target[:size] == first
            self.model.popleft()

    @rule(which=st.integers(0, 1))
    def drain(self, which):
        assert self.handle(which).drain() == list(self.model)
        self.model.clear()

    @rule()
    def reopen(self):
        self.handles.pop().close()
        self.handles.append(ipcsys.Queue(name="machine", create=False))

    @invariant()
    def counts_and_bytes_are_sound(self):
        if not hasattr(self, "model"):
            return
        for handle in self.handles:
            assert handle.qsize() == len(self.model)
            assert handle.empty() == (not self.model)
        assert self.handles[0].check() == []
        if self.maxsize:
            assert self.handles[0].full() == (len(self.model) >= self.maxsize)

    def teardown(self):
        for handle in getattr(self, "handles", ()):
            handle.close()


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, database=None
)
