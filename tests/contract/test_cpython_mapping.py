# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests of mappings, all three levels, run on SharedMap.

An excuse is a test that asks for what shared memory cannot give.  What else is
in such a test stands below it, said for SharedMap.
"""

import pytest
from excuses import excused

from ipcsys import SharedMap

mapping_tests = pytest.importorskip("test.mapping_tests", reason="Python without its own tests")

COPIES = "stores instances of local classes, which cannot be keys of another process"

LEVEL_2 = {
    "test_constructor": "keywords of the constructor are options, as of all shared objects",
    "test_copy": "a copy is a dict of one's own, not another shared map",
    "test_setdefault": "asks for the very list that was stored",
}
LEVEL_3 = {
    **LEVEL_2,
    "test_eq": COPIES,
    "test_getitem": COPIES,
    "test_pop": COPIES,
    "test_repr": "the repr names the type",
    "test_repr_deep": "a container that contains itself, or others without end",
}


class TestBasicLevel(mapping_tests.BasicTestMappingProtocol):
    type2test = SharedMap

    def _reference(self):
        return {"1": 2, "key1": "value1", "key2": (1, 2, 3)}


@excused(LEVEL_2)
class TestDictLevel(mapping_tests.TestMappingProtocol):
    type2test = SharedMap


@excused(LEVEL_3)
class TestHashLevel(mapping_tests.TestHashMappingProtocol):
    type2test = SharedMap


def test_every_level_is_run_whole():
    """An excuse hides one test and no more."""
    levels = {TestBasicLevel: 0, TestDictLevel: len(LEVEL_2), TestHashLevel: len(LEVEL_3)}
    for level, excuses in levels.items():
        names = [name for name in dir(level) if name.startswith("test_")]
        marked = [name for name in names if hasattr(getattr(level, name), "pytestmark")]
        assert len(marked) == excuses and len(names) - excuses >= 10


def test_setdefault_as_the_suite_has_it_but_for_identity():
    shared = SharedMap()
    assert shared.setdefault("key0") is None and shared.setdefault("key0", []) is None
    assert shared.setdefault("key", [3]) == [3] and shared.setdefault("key", [4]) == [3]
    with pytest.raises(TypeError):
        shared.setdefault()


def test_copies_as_the_suite_has_them_but_for_the_class():
    shared = SharedMap({1: 1, 2: 2, 3: 3})
    assert shared.copy() == {1: 1, 2: 2, 3: 3} and SharedMap().copy() == {}
    mutable = SharedMap({1: [1]})
    mutable.copy()[1].append(2)
    assert mutable == {1: [1]}
    with pytest.raises(TypeError):
        shared.copy(None)


def test_pop_of_an_empty_map_asks_no_key_for_its_hash():
    with pytest.raises(TypeError, match="keys are"):
        SharedMap().pop(object())
    with pytest.raises(KeyError):
        SharedMap().pop("x")


class Odd:
    def __hash__(self):
        raise AssertionError("hash() is never asked")

    def __eq__(self, other):
        raise AssertionError("== is never asked")


class Text(str):
    __slots__ = ()

    def __hash__(self):
        raise AssertionError("hash() is never asked")


ODD_KEYS = [[], {}, set(), bytearray(b"x"), object(), Odd(), float("nan"), (1, [2]), ("x", Odd()),
            frozenset(), 1j, range(3), print, int]  # fmt: skip


@pytest.mark.parametrize("key", ODD_KEYS, ids=lambda key: type(key).__name__)
def test_an_unhashable_or_odd_key_is_a_type_error_in_every_call(key):
    shared = SharedMap({"here": 1})
    calls = [
        lambda: shared[key],
        lambda: shared.__setitem__(key, 1),
        lambda: shared.__delitem__(key),
        lambda: key in shared,
        lambda: shared.get(key),
        lambda: shared.pop(key, None),
        lambda: shared.insert(key, 1),
        lambda: shared.setdefault(key, 1),
        lambda: shared.increment(key),
        lambda: shared.revision(key),
        lambda: shared.compare_and_set(key, 1, 2),
        lambda: shared.update([("new", 1), (key, 2)]),
        lambda: shared.get_many(["here", key]),
        lambda: shared.editing(key).__enter__(),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    assert shared == {"here": 1} and shared.check() == []


def test_a_subclass_of_a_plain_key_is_the_plain_key():
    shared = SharedMap([(Text("a"), 1)])
    assert shared["a"] == 1 and list(shared) == ["a"] and type(next(iter(shared))) is str


def test_equal_keys_are_one_key_which_keeps_its_first_spelling_as_in_dict():
    for spellings in ((1, 1.0, True), (0.0, -0.0, 0, False), ((1, 2.0), (1.0, 2))):
        shared, plain = SharedMap(), {}
        for value, key in enumerate(spellings):
            shared[key] = plain[key] = value
        assert repr(list(shared.items())) == repr(list(plain.items()))


def test_the_order_is_that_of_insertion_as_in_dict():
    shared, plain = SharedMap(), {}
    for step in range(400):
        key = step * 7919 % 61
        for mapping in (shared, plain):
            if step % 3 == 2:
                mapping.pop(key, None)
            else:
                mapping[key] = step  # where it is there already, it keeps its place
    assert list(shared.items()) == list(plain.items())
    assert list(reversed(shared)) == list(reversed(plain))
    assert shared.popitem() == plain.popitem()


def test_iteration_goes_over_one_moment_whatever_changes_meanwhile():
    for walk in (iter, reversed, lambda shared: iter(shared.items())):
        shared = SharedMap({number: number for number in range(100)})
        want = list(walk(shared.copy() if walk is iter else shared))
        iterator = walk(shared)
        got = [next(iterator)]
        for number in range(50):  # a dict would raise RuntimeError at the next step
            del shared[number]
            shared[number + 1000] = -1
        shared.clear()
        assert got + list(iterator) == want


def test_or_gives_a_dict_and_in_place_or_changes_what_is_shared():
    shared = SharedMap({"a": 1, "b": 2})
    for other in ({"b": 3, "c": 4}, SharedMap({"b": 3, "c": 4})):
        merged = shared | other
        assert type(merged) is dict and list(merged.items()) == [("a", 1), ("b", 3), ("c", 4)]
        assert type({"b": 9} | shared) is dict and {"b": 9} | shared == {"b": 2, "a": 1}
    same = shared
    shared |= [("c", 5)]
    assert shared is same and shared == {"a": 1, "b": 2, "c": 5}
    for wrong in (None, 1, [("a", 1)]):
        with pytest.raises(TypeError):
            shared | wrong
