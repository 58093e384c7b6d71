# SPDX-License-Identifier: Apache-2.0
"""SharedMap against dict: random programs, with transactions that roll back."""

import contextlib
import itertools

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipcsys import Segment, SharedMap

_numbers = itertools.count()
KEYS = st.one_of(
    st.integers(-3, 12),
    st.sampled_from([0.0, -0.0, 1.0, 2.5, True, False, None, "", "a", b"a", (1,), (1.0,), ("a", None)]),
    st.text(max_size=3),
    st.integers(),
)
VALUES = st.one_of(
    st.integers(),
    st.text(max_size=40),
    st.binary(max_size=700),
    st.lists(st.integers(), max_size=5),
    st.none(),
)


class Undo(Exception):
    pass


class MapMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.segment = Segment(f"machine {next(_numbers)}", size="1 MiB")
        self.map = self.segment.construct(SharedMap, "map")
        self.other = self.segment.find("map")
        self.models = [{}]
        self.open = []

    def teardown(self):
        while getattr(self, "open", None):
            self.open.pop().__exit__(None, None, None)
        if hasattr(self, "segment"):
            assert self.segment.check() == []
            name = self.segment.name
            self.map.close()
            self.other.close()
            self.segment.close()
            Segment.remove(name)

    @property
    def model(self):
        return self.models[-1]

    @rule(key=KEYS, value=VALUES)
    def set(self, key, value):
        self.map[key] = self.model[key] = value

    @rule(key=KEYS, value=VALUES)
    def insert(self, key, value):
        assert self.map.insert(key, value) == (key not in self.model)
        self.model.setdefault(key, value)

    @rule(key=KEYS, value=VALUES)
    def setdefault(self, key, value):
        assert self.map.setdefault(key, value) == self.model.setdefault(key, value)

    @rule(key=KEYS)
    def get(self, key):
        missing = object()
        assert self.map.get(key, missing) == self.model.get(key, missing)
        assert (key in self.other) == (key in self.model)

    @rule(key=KEYS)
    def pop(self, key):
        missing = object()
        assert self.map.pop(key, missing) == self.model.pop(key, missing)

    @rule(key=KEYS)
    def delete(self, key):
        outcomes = []
        for mapping in (self.map, self.model):
            try:
                del mapping[key]
                outcomes.append("deleted")
            except KeyError:
                outcomes.append("missing")
        assert outcomes[0] == outcomes[1]

    @precondition(lambda self: self.model)
    @rule()
    def popitem(self):
        assert self.map.popitem() == self.model.popitem()

    @rule(items=st.lists(st.tuples(KEYS, VALUES), max_size=30))
    def update(self, items):
        self.map.update(items)
        self.model.update(items)

    @rule(key=KEYS, value=VALUES, right=st.booleans())
    def compare_and_set(self, key, value, right):
        expected = self.model.get(key, "none") if right else "not this"
        done = self.map.compare_and_set(key, expected, value)
        assert done == (right and key in self.model)
        if done:
            self.model[key] = value

    @rule()
    def clear(self):
        self.map.clear()
        self.model.clear()

    @precondition(lambda self: len(self.open) < 4)
    @rule()
    def begin_transaction(self):
        transaction = self.segment.transaction()
        transaction.__enter__()
        self.open.append(transaction)
        self.models.append(dict(self.model))

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
        if hasattr(self, "map"):
            assert list(self.other.items()) == list(self.model.items())
            assert [type(key) for key in self.map] == [type(key) for key in self.model]
            assert len(self.map) == len(self.model)
            assert self.map.check() == []


MapMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestMapMachine = MapMachine.TestCase
