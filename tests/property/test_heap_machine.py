# SPDX-License-Identifier: Apache-2.0
"""The heap of a segment against a model: blocks of every size come and go, objects too.

A map of byte strings is the simplest user of the heap: each value is a block
(or lies in the item), each replaced value a block freed at commit.
"""

import itertools

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipcsys import Segment, SegmentFull, SharedMap

_numbers = itertools.count()
SIZES = st.one_of(
    st.integers(0, 300),
    st.sampled_from([15, 16, 17, 31, 32, 33, 255, 256, 257, 4095, 4096, 4097]),
    st.integers(300, 20_000),
    st.integers(20_000, 200_000),
)
LIMIT = 1 << 20


class Undo(Exception):
    pass


class HeapMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.segment = Segment(f"heap {next(_numbers)}", size=LIMIT // 2, max_size=LIMIT)
        self.objects = {"first": self.segment.construct(SharedMap, "first")}
        self.model = {"first": {}}
        self.fill = 0
        self.arena = self.segment.arena()
        self.in_arena = set()

    def teardown(self):
        if not hasattr(self, "segment"):
            return
        for shared in self.objects.values():
            shared.close()
        name = self.segment.name
        self.segment.close()
        Segment.remove(name)

    def block(self, size):
        self.fill = (self.fill + 1) % 251
        return bytes([self.fill]) * size

    def put(self, owner, key, size):
        value = self.block(size)
        try:
            self.objects[owner][key] = value
        except SegmentFull:
            return  # and then nothing has changed, which the invariants see
        self.model[owner][key] = value

    @rule(key=st.integers(0, 20), size=SIZES, data=st.data())
    def allocate(self, key, size, data):
        self.put(data.draw(st.sampled_from(sorted(self.model))), key, size)

    @rule(key=st.integers(0, 20), data=st.data())
    def free(self, key, data):
        owner = data.draw(st.sampled_from(sorted(self.model)))
        assert self.objects[owner].pop(key, None) == self.model[owner].pop(key, None)

    @rule(sizes=st.lists(SIZES, max_size=6), first=st.integers(0, 20))
    def allocate_and_undo(self, sizes, first):
        try:
            with self.segment.transaction():
                for number, size in enumerate(sizes):
                    self.objects["first"][(first + number) % 21] = self.block(size)
                raise Undo
        except (Undo, SegmentFull):
            pass

    @rule(kib=st.sampled_from([100, 400, 900, None]))
    def set_quota(self, kib):
        try:
            self.segment.set_quota(kib and kib * 1024)
        except SegmentFull:
            pass  # of the table

    @rule()
    def trim(self):
        used = self.segment.stats().used
        self.segment.trim()
        assert self.segment.stats().used == used

    @rule(sizes=st.lists(SIZES, min_size=2, max_size=6), key=st.integers(0, 20))
    def rewrite_in_one_transaction(self, sizes, key):
        value = self.model["first"].get(key)
        try:
            with self.segment.transaction():
                for size in sizes:
                    value = self.block(size)
                    self.objects["first"][key] = value
        except SegmentFull:
            return
        self.model["first"][key] = value

    @precondition(lambda self: len(self.model) < 4)
    @rule(name=st.sampled_from("abc"), in_arena=st.booleans())
    def construct(self, name, in_arena):
        if name in self.model:
            return
        where = {"allocator": self.arena} if in_arena else {}
        try:
            self.objects[name] = self.segment.construct(SharedMap, name, **where)
        except SegmentFull:
            return
        self.model[name] = {}
        if in_arena:
            self.in_arena.add(name)

    @precondition(lambda self: len(self.model) > 1)
    @rule(data=st.data())
    def destroy(self, data):
        name = data.draw(st.sampled_from(sorted(set(self.model) - {"first"})))
        assert self.segment.destroy(name)
        self.forget(name)

    @precondition(lambda self: self.in_arena)
    @rule()
    def destroy_the_arena(self):
        try:
            other = self.segment.arena()
        except SegmentFull:
            return
        self.arena.destroy()
        self.arena = other
        for name in sorted(self.in_arena):
            self.forget(name)

    def forget(self, name):
        self.objects.pop(name).close()
        del self.model[name]
        self.in_arena.discard(name)

    @invariant()
    def every_byte_is_accounted_for(self):
        assert self.segment.check() == []
        stats = self.segment.stats()
        assert stats.size <= LIMIT
        assert stats.used + stats.free <= stats.max_size
        payload = sum(len(value) for model in self.model.values() for value in model.values())
        assert stats.used >= payload

    @invariant()
    def the_arena_has_what_lies_in_it(self):
        payload = sum(len(v) for name in self.in_arena for v in self.model[name].values())
        assert self.arena.memory >= payload
        assert bool(self.arena.used) == bool(self.in_arena)

    @invariant()
    def every_value_is_what_was_put(self):
        for name, model in self.model.items():
            assert dict(self.objects[name]) == model

    @invariant()
    def the_names_are_those_constructed(self):
        assert sorted(self.segment) == sorted(self.model)


HeapMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
TestHeap = HeapMachine.TestCase
