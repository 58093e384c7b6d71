# SPDX-License-Identifier: Apache-2.0
"""SharedVector and the middle of SharedDeque against list and deque: random programs,
seen through a second handle, with transactions that roll back."""

import contextlib
import itertools
from collections import deque

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipcsys import Segment, SharedDeque, SharedVector

_numbers = itertools.count()
INDEX = st.integers(-45, 45)
SLICE = st.builds(
    slice,
    st.none() | INDEX,
    st.none() | INDEX,
    st.sampled_from([None, None, 1, 1, 2, -1, -3]),
)


class Undo(Exception):
    pass


class SequenceMachine(RuleBasedStateMachine):
    """What both can do; a subclass makes the two."""

    values = st.one_of(
        st.integers(), st.text(max_size=30), st.binary(max_size=700), st.none(), st.booleans()
    )

    def start(self, kind, model, *args):
        self.segment = Segment(f"rows {next(_numbers)}", size="1 MiB")
        self.row = self.segment.construct(kind, "row", *args)
        self.other = self.segment.find("row")
        self.models = [model]
        self.open = []

    def teardown(self):
        while getattr(self, "open", None):
            self.open.pop().__exit__(None, None, None)
        if hasattr(self, "segment"):
            assert self.segment.check() == []
            assert self.segment.destroy("row")
            assert self.segment.check() == []
            self.row.close()
            self.other.close()
            name = self.segment.name
            self.segment.close()
            Segment.remove(name)

    def both(self, action):
        """The same call on both, with the same result or error."""
        outcomes = []
        for row in (self.row, self.models[-1]):
            try:
                outcomes.append(action(row))
            except (IndexError, ValueError) as error:
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1]

    @rule(data=st.data(), index=INDEX)
    def insert(self, data, index):
        value = data.draw(self.values)
        self.both(lambda row: row.insert(index, value))

    @rule(data=st.data(), index=INDEX)
    def set_one(self, data, index):
        value = data.draw(self.values)
        self.both(lambda row: row.__setitem__(index, value))

    @rule(index=INDEX)
    def get_and_delete(self, index):
        self.both(lambda row: row[index])
        self.both(lambda row: row.__delitem__(index))

    @rule(data=st.data())
    def extend(self, data):
        values = data.draw(st.lists(self.values, max_size=40))
        self.both(lambda row: row.extend(values))

    @rule(data=st.data())
    def find_and_remove(self, data):
        known = list(self.models[-1])
        value = data.draw(st.sampled_from(known) if known else self.values)
        self.both(lambda row: row.index(value))
        self.both(lambda row: row.count(value))
        self.both(lambda row: row.remove(value))

    @rule()
    def reverse(self):
        self.both(lambda row: row.reverse())

    @precondition(lambda self: len(self.models[-1]) < 60)
    @rule(times=st.integers(-1, 3))
    def repeat(self, times):
        self.both(lambda row: row.__imul__(times) and None)

    @precondition(lambda self: len(self.open) < 4)
    @rule()
    def begin_transaction(self):
        transaction = self.segment.transaction()
        transaction.__enter__()
        self.open.append(transaction)
        self.models.append(self.models[-1].copy())

    @precondition(lambda self: self.open)
    @rule(undo=st.booleans())
    def end_transaction(self, undo):
        error = Undo() if undo else None
        with contextlib.suppress(Undo):
            self.open.pop().__exit__(type(error) if undo else None, error, None)
        model = self.models.pop()
        if not undo:
            self.models[-1] = model

    @invariant()
    def they_agree(self):
        if hasattr(self, "row"):
            assert list(self.other) == list(self.models[-1])
            assert len(self.row) == len(self.models[-1]) and self.row.check() == []


class VectorMachine(SequenceMachine):
    @initialize()
    def begin(self):
        self.start(SharedVector, [])

    @rule(part=SLICE)
    def read_slice(self, part):
        self.both(lambda row: row[part])

    @rule(part=SLICE)
    def delete_slice(self, part):
        self.both(lambda row: row.__delitem__(part))

    @rule(part=SLICE, data=st.data())
    def assign_slice(self, part, data):
        values = data.draw(st.lists(self.values, max_size=12))
        self.both(lambda row: row.__setitem__(part, values))

    @rule(index=INDEX)
    def pop(self, index):
        self.both(lambda row: row.pop(index))

    @rule(backwards=st.booleans())
    def sort(self, backwards):
        self.both(lambda row: row.sort(key=repr, reverse=backwards))


class TypedMachine(VectorMachine):
    values = st.integers(-(2**15), 2**15 - 1)

    @initialize()
    def begin(self):
        self.start(SharedVector, [], (), "h")


class DequeMachine(SequenceMachine):
    @initialize(maxlen=st.sampled_from([None, None, 0, 1, 3, 20]))
    def begin(self, maxlen):
        self.start(SharedDeque, deque((), maxlen), (), maxlen)

    @rule(steps=st.integers(-60, 60))
    def rotate(self, steps):
        self.both(lambda row: row.rotate(steps))

    @rule(data=st.data())
    def appendleft(self, data):
        value = data.draw(self.values)
        self.both(lambda row: row.appendleft(value))


SETTINGS = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestVectorMachine = VectorMachine.TestCase
TestTypedMachine = TypedMachine.TestCase
TestDequeMachine = DequeMachine.TestCase
TestVectorMachine.settings = TestTypedMachine.settings = TestDequeMachine.settings = SETTINGS
