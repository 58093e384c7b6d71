# SPDX-License-Identifier: Apache-2.0
"""SharedString, SharedBytes and SharedCell against str, bytearray and a variable."""

import pickle

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ipcsys import Segment, SharedBytes, SharedCell, SharedString

TEXTS = st.text(max_size=40)
BYTES = st.binary(max_size=40)
INDICES = st.integers(-50, 50)
SLICES = st.slices(30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | BYTES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


class TextMachine(RuleBasedStateMachine):
    """Each has two handles; a transaction may be open, and may be undone."""

    def __init__(self):
        super().__init__()
        self.segment = Segment(None, "1 MiB", "8 MiB")
        self.segment.construct(SharedCell, "first")  # the catalogue keeps its table
        self.segment.destroy("first")
        self.used = self.segment.stats().used
        self.text = self.segment.construct(SharedString, "text", "start")
        self.bytes = self.segment.construct(SharedBytes, "bytes", b"start")
        self.cell = self.segment.construct(SharedCell, "cell", "start")
        self.others = [pickle.loads(pickle.dumps(each)) for each in (self.text, self.bytes, self.cell)]
        self.model = (list("start"), bytearray(b"start"), "start")
        self.kept = []

    def same(self, shared, model, act):
        """Both give the same, or the same kind of error."""
        outcomes = []
        for target in (shared, model):
            try:
                outcomes.append((None, act(target)))
            except (ValueError, IndexError, TypeError) as error:
                outcomes.append((type(error), None))
        assert outcomes[0][0] == outcomes[1][0], outcomes

    @rule(text=TEXTS)
    def append(self, text):
        self.text.append(text)
        self.model[0].extend(text)

    @rule(index=INDICES, text=TEXTS)
    def insert(self, index, text):
        self.text.insert(index, text)
        self.model[0][index:index] = text

    @rule(part=SLICES, text=TEXTS)
    def assign(self, part, text):
        self.same(self.text, self.model[0], lambda t: t.__setitem__(part, text))

    @rule(index=INDICES, letter=st.characters())
    def assign_one(self, index, letter):
        self.same(self.text, self.model[0], lambda t: t.__setitem__(index, letter))

    @rule(part=SLICES | INDICES)
    def delete(self, part):
        self.same(self.text, self.model[0], lambda t: t.__delitem__(part))
        self.same(self.bytes, self.model[1], lambda t: t.__delitem__(part))

    @rule(part=SLICES, data=BYTES)
    def assign_bytes(self, part, data):
        if part.step in (None, 1) or data:  # bytearray takes nothing for a deletion
            self.same(self.bytes, self.model[1], lambda t: t.__setitem__(part, data))

    @rule(data=BYTES, index=INDICES, byte=st.integers(0, 255))
    def change_bytes(self, data, index, byte):
        for target in (self.bytes, self.model[1]):
            target.extend(data)
            target.insert(index, byte)
        self.same(self.bytes, self.model[1], lambda t: t.pop(index))

    @rule(value=VALUES)
    def store(self, value):
        assert self.cell.exchange(value) == self.model[2]
        self.model = (*self.model[:2], value)

    @rule(value=VALUES, other=VALUES)
    def compare_exchange(self, value, other):
        if self.cell.compare_exchange(value, other):
            assert value == self.model[2]
            self.model = (*self.model[:2], other)
        assert self.cell.compare_exchange(self.cell.load(), self.cell.load())

    @rule()
    def begin(self):
        if len(self.kept) < 3:
            transaction = self.segment.transaction()
            transaction.__enter__()
            self.kept.append((transaction, (list(self.model[0]), bytearray(self.model[1]), self.model[2])))

    @rule(undo=st.booleans())
    def end(self, undo):
        if self.kept:
            transaction, before = self.kept.pop()
            transaction.__exit__(*((LookupError, LookupError(), None) if undo else (None,) * 3))
            if undo:
                self.model = before

    @invariant()
    def handles_see_the_model(self):
        text = "".join(self.model[0])
        for shared in (self.text, self.others[0]):
            assert shared == text and len(shared) == len(text) and shared[2:9] == text[2:9]
        for shared in (self.bytes, self.others[1]):
            assert shared == bytes(self.model[1])
        for shared in (self.cell, self.others[2]):
            assert shared.load() == self.model[2]

    def teardown(self):
        while self.kept:
            self.end(undo=True)
        assert self.segment.check() == self.text.check() == self.bytes.check() == []
        for key in ("text", "bytes", "cell"):
            self.segment.destroy(key)
        assert self.segment.check() == [] and self.segment.stats().used == self.used
        self.segment.close()


TextMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
TestTexts = TextMachine.TestCase
