# SPDX-License-Identifier: Apache-2.0
"""SharedDeque against collections.deque: random programs, with transactions that roll back."""

import contextlib
import itertools
from collections import deque

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipcsys import Segment, SharedDeque

_numbers = itertools.count()
VALUES = st.one_of(
    st.integers(), st.text(max_size=30), st.binary(max_size=700), st.lists(st.integers(), max_size=5)
)


class Undo(Exception):
    pass


class DequeMachine(RuleBasedStateMachine):
    @initialize(maxlen=st.sampled_from([None, None, 0, 1, 3, 20]))
    def begin(self, maxlen):
        self.segment = Segment(f"machine {next(_numbers)}", size="1 MiB")
        self.deque = self.segment.construct(SharedDeque, "deque", (), maxlen)
        self.other = self.segment.find("deque")
        self.models = [deque((), maxlen)]
        self.open = []

    def teardown(self):
        while getattr(self, "open", None):
            self.open.pop().__exit__(None, None, None)
        if hasattr(self, "segment"):
            assert self.segment.check() == []
            name = self.segment.name
            self.deque.close()
            self.other.close()
            self.segment.close()
            Segment.remove(name)

    @property
    def model(self):
        return self.models[-1]

    @rule(value=VALUES, left=st.booleans())
    def append(self, value, left):
        for each in (self.deque, self.model):
            (each.appendleft if left else each.append)(value)

    @rule(value=VALUES)
    def push(self, value):
        full = len(self.model) == self.model.maxlen
        assert self.deque.push(value) == (not full)
        if not full:
            self.model.append(value)

    @rule(values=st.lists(VALUES, max_size=40), left=st.booleans())
    def extend(self, values, left):
        for each in (self.deque, self.model):
            (each.extendleft if left else each.extend)(values)

    @rule(left=st.booleans())
    def pop(self, left):
        outcomes = []
        for each in (self.deque, self.model):
            try:
                outcomes.append((each.popleft if left else each.pop)())
            except IndexError:
                outcomes.append(IndexError)
        assert outcomes[0] == outcomes[1]

    @rule(value=VALUES, index=st.integers(-25, 25))
    def set_and_get(self, value, index):
        outcomes = []
        for each in (self.deque, self.model):
            try:
                each[index] = value
                outcomes.append(each[index])
            except IndexError:
                outcomes.append(IndexError)
        assert outcomes[0] == outcomes[1]

    @rule()
    def clear(self):
        self.deque.clear()
        self.model.clear()

    @precondition(lambda self: len(self.open) < 4)
    @rule()
    def begin_transaction(self):
        transaction = self.segment.transaction()
        transaction.__enter__()
        self.open.append(transaction)
        self.models.append(self.model.copy())

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
        if hasattr(self, "deque"):
            assert list(self.other) == list(self.model)
            assert len(self.deque) == len(self.model) and self.deque.check() == []


DequeMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestDequeMachine = DequeMachine.TestCase
