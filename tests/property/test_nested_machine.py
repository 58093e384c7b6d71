# SPDX-License-Identifier: Apache-2.0
"""A tree of containers in a SharedMap against nested dicts, lists and deques: random
programs, with transactions that roll back, through old handles and new ones."""

import collections
import contextlib
import copy
import itertools

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipcsys import ObjectGone, Segment, SharedDeque, SharedMap, SharedVector

_numbers = itertools.count()
KEYS = st.sampled_from(["a", "b", 1, (2, "c")])
VALUES = st.one_of(
    st.integers(-5, 5), st.text(max_size=3), st.binary(max_size=700), st.lists(st.integers(0, 3))
)
KINDS = st.sampled_from(["map", "vector", "deque", "typed"])
PLACES = st.lists(KEYS, max_size=3)
FRESH = {
    "map": (SharedMap, dict),
    "vector": (SharedVector, list),
    "deque": (SharedDeque, collections.deque),
    "typed": (SharedVector, list),
}


class Undo(Exception):
    pass


class Typed(list):
    """The model of a typed vector: it takes numbers only."""


class NestedMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.segment = Segment(f"nested {next(_numbers)}", size="1 MiB", max_size="8 MiB")
        self.map = self.segment.construct(SharedMap, "map")
        self.models = [{}]
        self.open = []
        self.kept = []  # (handle, the mark of its node)

    def teardown(self):
        while getattr(self, "open", None):
            self.open.pop().__exit__(None, None, None)
        if hasattr(self, "segment"):
            assert self.segment.check() == []
            self.segment.destroy("map")
            assert self.segment.check() == []
            for handle, _ in self.kept:
                with pytest.raises(ObjectGone):
                    len(handle)
                handle.close()
            self.map.close()
            name = self.segment.name
            self.segment.close()
            Segment.remove(name)

    @property
    def model(self):
        return self.models[-1]

    def reach(self, place):
        """Handle and model at the end of a path, as far as it goes over containers."""
        handle, model = self.map, self.model
        for key in place:
            if not isinstance(model, dict):
                key = next((at for at, value in enumerate(model) if isinstance(value, _Node)), None)
            if key is None or (isinstance(model, dict) and not isinstance(model.get(key), _Node)):
                break
            handle, model = handle[key], model[key].value
        return handle, model

    @rule(place=PLACES, key=KEYS, kind=KINDS, find=st.booleans(), fill=st.booleans())
    def construct(self, place, key, kind, find, fill):
        handle, model = self.reach(place)
        cls, plain = FRESH[kind]
        if isinstance(model, dict) and key in model:
            node = model[key]
            if find and isinstance(node, _Node) and node.cls is cls:
                assert handle.find_or_construct(cls, key) == node.plain()
            return
        if isinstance(model, Typed):
            return
        arguments = (
            ([1.5] * fill, "d") if kind == "typed" else ({0: 1} if kind == "map" else [1],) * fill
        )
        content = plain(arguments[0]) if arguments else plain()
        node = _Node(cls, Typed(content) if kind == "typed" else content)
        if isinstance(model, dict):
            made = handle.construct(cls, key, *arguments)
            model[key] = node
        else:
            made = handle.construct(cls, *arguments)
            model.append(node)
        self.kept.append((made, node.mark))

    @rule(place=PLACES, key=KEYS, value=VALUES)
    def put(self, place, key, value):
        handle, model = self.reach(place)
        if isinstance(model, dict):
            handle[key] = model[key] = value
        elif isinstance(model, Typed):
            handle.append(2.0)
            model.append(2.0)
        else:
            handle.append(value)
            model.append(value)

    @rule(place=PLACES, key=KEYS, how=st.sampled_from(["pop", "del", "popitem", "clear", "update"]))
    def take(self, place, key, how):
        handle, model = self.reach(place)
        if not isinstance(model, dict):
            if how == "clear":
                handle.clear()
                model.clear()
            elif model:
                assert handle.pop() == _plain(model.pop())
        elif how == "clear":
            handle.clear()
            model.clear()
        elif how == "update":
            handle.update({key: 1, "new": 2})
            model.update({key: 1, "new": 2})
        elif how == "popitem" and model:
            assert handle.popitem() == _plain(model.popitem())
        elif key in model and how == "pop":
            assert handle.pop(key) == _plain(model.pop(key))
        elif key in model and how == "del":
            del handle[key]
            del model[key]

    @rule(place=PLACES, at=st.integers(0, 3), how=st.sampled_from(["reverse", "del", "insert", "set"]))
    def move(self, place, at, how):
        handle, model = self.reach(place)
        if isinstance(model, (dict, Typed)) or at >= len(model):
            return
        for row in (handle, model):
            if how == "reverse":
                row.reverse()
            elif how == "del":
                del row[at]
            elif how == "insert":
                row.insert(at, "x" * 30)
            else:
                row[at] = 5

    @rule(place=PLACES, key=KEYS, right=st.booleans())
    def compare_and_set(self, place, key, right):
        handle, model = self.reach(place)
        if isinstance(model, dict) and isinstance(model.get(key), _Node):
            expected = handle[key] if right else model[key].plain()
            assert handle.compare_and_set(key, expected, 7) == right
            if right:
                model[key] = 7

    @precondition(lambda self: len(self.open) < 3)
    @rule()
    def begin_transaction(self):
        transaction = self.segment.transaction()
        transaction.__enter__()
        self.open.append(transaction)
        self.models.append(copy.deepcopy(self.model))

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
        if not hasattr(self, "map"):
            return
        plain = _plain(self.model)
        assert self.map.copy() == plain
        assert list(self.map.copy()) == list(plain)
        living = dict(_nodes(self.model))
        for handle, mark in self.kept:
            if mark in living:
                assert handle == living[mark].plain()
            elif not self.open:  # what stands deeper ends with the transaction
                with pytest.raises(ObjectGone):
                    handle.copy()
        if not self.open:
            assert self.segment.check() == []


class _Node:
    """A container of the model, told from others that were in its place."""

    def __init__(self, cls, value):
        self.cls, self.value, self.mark = cls, value, next(_numbers)

    def plain(self):
        return _plain(self.value)


def _plain(model):
    if isinstance(model, _Node):
        return model.plain()
    if isinstance(model, dict):
        return {key: _plain(value) for key, value in model.items()}
    if isinstance(model, tuple):
        return tuple(_plain(value) for value in model)
    if isinstance(model, collections.deque):
        return collections.deque(_plain(value) for value in model)
    return [_plain(value) for value in model] if isinstance(model, list) else model


def _nodes(model):
    for node in model.values() if isinstance(model, dict) else model:
        if isinstance(node, _Node):
            yield node.mark, node
            yield from _nodes(node.value)


NestedMachine.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestNestedMachine = NestedMachine.TestCase
