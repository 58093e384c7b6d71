# SPDX-License-Identifier: Apache-2.0
"""SharedMap: a dict's manners, keys and values, handles and bad input, in one process."""

import collections
import collections.abc
import datetime
import enum
import gc
import math
import pickle
import threading
import weakref

import pytest

import ipcsys
from ipcsys import SharedMap

UTC = datetime.timezone.utc
KEYS = [
    None, 0, 1, -1, 127, 128, -33, 2**31, 2**63 - 1, 2**64 - 1, 2**64, -(2**63) - 1, 10**40,
    0.5, -1.25e300, math.inf, -math.inf, "", "a", "é" * 40, "x" * 1000, b"", b"a", b"\0" * 300,
    (), (1,), (1, (2, "three", None)), ("a", b"a"),
    datetime.datetime(2024, 2, 29, 12, 30, 1, 5), datetime.datetime(2024, 2, 29, 12, tzinfo=UTC),
]  # fmt: skip


@pytest.fixture
def shared():
    with SharedMap() as shared:
        yield shared
        assert shared.closed or shared.check() == []


def test_a_map_is_a_mutable_mapping(shared):
    assert isinstance(shared, collections.abc.MutableMapping)
    match shared:
        case {}:
            pass
        case _:
            pytest.fail("not a mapping pattern")


def test_every_kind_of_key_comes_back_as_it_was(shared):
    for number, key in enumerate(KEYS):
        shared[key] = number
    assert list(shared) == KEYS
    assert [type(key) for key in shared] == [type(key) for key in KEYS]
    for number, key in enumerate(KEYS):
        assert shared[key] == number and key in shared
    for key in KEYS:
        del shared[key]
    assert len(shared) == 0


@pytest.mark.parametrize(
    "equal",
    [
        (1, 1.0, True),
        (0, 0.0, -0.0, False),
        (2**60, float(2**60)),
        ((1, (True, 2.0)), (1.0, (1, 2))),
        (
            datetime.datetime(2024, 1, 1, 12, tzinfo=UTC),
            datetime.datetime(2024, 1, 1, 14, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
        ),
    ],
    ids=lambda equal: repr(equal[0]),
)
def test_equal_keys_are_one_key_and_the_first_spelling_stays(shared, equal):
    expected = {}
    for number, key in enumerate(equal):
        shared[key] = expected[key] = number
    assert len(shared) == 1 and shared == expected
    assert repr(list(shared)[0]) == repr(equal[0])
    for key in equal:
        assert key in shared


@pytest.mark.parametrize("key", ["1", b"1", (1,), "a", b"a", ("a",), None, ()])
def test_keys_that_differ_stay_apart(shared, key):
    others = [other for other in ["1", b"1", (1,), "a", b"a", ("a",), None, ()] if other != key]
    for other in others:
        shared[other] = 1
    assert key not in shared


class Colour(enum.IntEnum):
    RED = 3


class Text(str):
    pass


def test_an_instance_of_a_subclass_counts_as_its_value(shared):
    shared[Colour.RED], shared[Text("t")] = 1, 2
    assert shared[3] == 1 and shared["t"] == 2
    assert [type(key) for key in shared] == [int, str]


@pytest.mark.parametrize(
    "key",
    [math.nan, (1, math.nan), [], {}, set(), pytest.param(object(), id="object()"), 1j,
     frozenset(), ([],)],
    ids=repr,
)
def test_other_keys_are_a_type_error_everywhere(shared, key):
    for use in (
        lambda: shared[key],
        lambda: shared.get(key),
        lambda: shared.pop(key, None),
        lambda: shared.setdefault(key),
        lambda: shared.insert(key, 1),
        lambda: shared.update({}, **{}) or shared.update([(key, 1)]),
        lambda: key in shared,
        lambda: shared.__setitem__(key, 1),
        lambda: shared.__delitem__(key),
    ):
        with pytest.raises(TypeError):
            use()
    assert len(shared) == 0


VALUES = [
    None, True, 1, 2.5, "text", b"", b"raw" * 5, b"x" * 300, b"y" * 100_000, [1, [2, {"a": (3,)}]],
    {"k": {1, 2}}, datetime.datetime(2024, 2, 29, tzinfo=UTC), 10**50, 1j, collections.Counter("abca"),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_values_come_back_equal_and_of_their_type(shared, value):
    shared["k"] = "before"
    shared["k"] = value
    assert shared["k"] == value and type(shared["k"]) is type(value)
    assert list(shared.values()) == [value] and shared.pop("k") == value


def test_values_of_all_sizes_replace_each_other(shared):
    sizes = [0, 7, 8, 9, 255, 256, 257, 511, 513, 4000, 70_000]
    for before in sizes:
        for after in sizes:
            shared["k"] = b"b" * before
            shared["k"] = b"a" * after
            assert shared["k"] == b"a" * after
    assert shared.check() == []


def test_what_you_get_is_a_copy(shared):
    shared["k"] = [1]
    shared["k"].append(2)
    assert shared["k"] == [1]


def test_missing_keys_raise_key_error_with_the_key(shared):
    for use in (lambda: shared["no"], lambda: shared.pop("no"), lambda: shared.__delitem__("no")):
        with pytest.raises(KeyError) as caught:
            use()
        assert caught.value.args == ("no",)
    with pytest.raises(KeyError):
        shared.popitem()


def test_the_everyday_methods_do_what_those_of_dict_do(shared):
    plain = {}
    for both in (shared, plain):
        both["a"] = 1
        both.update({"b": 2}, c=3)
        both.update([("d", 4), ["e", 5]])
        assert both.setdefault("a", 9) == 1 and both.setdefault("f", 6) == 6
        assert both.setdefault("g") is None
        assert both.get("a") == 1 and both.get("z") is None and both.get("z", 7) == 7
        assert both.pop("b") == 2 and both.pop("b", None) is None
        both["a"] = 10
        assert both.popitem() == ("g", None)
        del both["d"]
        assert both == {"a": 10, "c": 3, "e": 5, "f": 6} and both != {"a": 10}
        assert list(both) == ["a", "c", "e", "f"] and list(reversed(both)) == ["f", "e", "c", "a"]
        assert both | {"a": 0, "n": 1} == {"a": 0, "c": 3, "e": 5, "f": 6, "n": 1}
        assert {"a": 0, "n": 1} | both == {"a": 10, "n": 1, "c": 3, "e": 5, "f": 6}
        both |= {"c": 30}
        assert both.copy() == {"a": 10, "c": 30, "e": 5, "f": 6} and type(both.copy()) is dict
        both.clear()
        assert len(both) == 0 and not both and both == {}
    assert isinstance(shared, SharedMap)


def test_views_follow_the_map_and_act_as_sets(shared):
    keys, values, items = shared.keys(), shared.values(), shared.items()
    shared.update(a=1, b=2)
    assert list(keys) == ["a", "b"] and list(values) == [1, 2] and list(items) == [("a", 1), ("b", 2)]
    assert keys & {"a", "z"} == {"a"} and keys | {"z"} == {"a", "b", "z"} and "a" in keys
    assert ("a", 1) in items and ("a", 2) not in items and 2 in values and 3 not in values
    assert list(reversed(keys)) == ["b", "a"] and list(reversed(items)) == [("b", 2), ("a", 1)]
    assert len(keys) == len(values) == len(items) == 2 and "MapKeys" in repr(keys)


def test_iteration_is_over_the_keys_of_its_beginning(shared):
    shared.update({number: number for number in range(10)})
    for key in shared:
        del shared[key]
        shared[key + 100] = key
    assert list(shared) == list(range(100, 110))


def test_a_map_shows_itself_as_dict_does(shared):
    shared.update({"a": [1], 2: "b"})
    assert repr(shared) == "SharedMap({'a': [1], 2: 'b'})"
    shared.close()
    assert repr(shared) == "<closed SharedMap>"


def test_a_map_compares_with_any_mapping_and_has_no_hash(shared):
    shared["a"] = 1
    other = SharedMap({"a": 1})
    assert shared == other and shared == collections.OrderedDict(a=1)
    assert shared == collections.UserDict(a=1) and not shared != {"a": 1}
    assert shared != 1 and shared != [("a", 1)] and (shared == object()) is False
    with pytest.raises(TypeError):
        hash(shared)
    with pytest.raises(TypeError):
        shared < other  # noqa: B015
    with pytest.raises(TypeError):
        shared | [("a", 1)]
    other.close()


def test_insert_says_whether_it_did(shared):
    assert shared.insert("a", 1) is True
    assert shared.insert("a", 2) is False
    assert shared["a"] == 1


def test_compare_and_set_replaces_the_expected_value_only(shared):
    assert shared.compare_and_set("a", None, 1) is False
    shared["a"] = 1
    assert shared.compare_and_set("a", 2, 3) is False and shared["a"] == 1
    assert shared.compare_and_set("a", 1, b"x" * 1000) is True
    assert shared.compare_and_set("a", b"x" * 1000, [1]) is True and shared["a"] == [1]


def test_update_is_all_or_nothing(shared):
    shared["a"] = 1
    with pytest.raises(TypeError):
        shared.update([("a", 2), ("b", 3), ([], 4)])
    with pytest.raises(ValueError, match="#1 has length 1"):
        shared.update([("a", 2), ("b",)])
    with pytest.raises(TypeError, match="#0"):
        shared.update([5])
    assert shared == {"a": 1}


def test_large_maps_grow_shrink_and_stay_in_order(shared):
    plain = {}
    for number in range(20_000):
        shared[f"key {number}"] = plain[f"key {number}"] = number
    assert shared == plain and list(shared) == list(plain)
    for number in range(0, 20_000, 3):
        del shared[f"key {number}"], plain[f"key {number}"]
    assert shared == plain and list(shared) == list(plain) and shared.check() == []
    shared.clear()
    assert len(shared) == 0 and list(shared) == [] and shared.check() == []
    part = dict(list(plain.items())[:1000])
    shared.update(part)
    assert shared == part and shared.check() == []


def test_one_update_takes_tens_of_thousands(shared):
    plain = {f"key {number}": number for number in range(30_000)}
    shared.update(plain)
    assert shared == plain and shared.check() == []


def test_an_update_that_does_not_fit_changes_nothing():
    plain = dict.fromkeys(range(300), "before")
    with SharedMap(plain, max_size="2 MiB") as shared:
        with pytest.raises((ipcsys.SegmentFull, ipcsys.TransactionTooLarge)):
            shared.update(dict.fromkeys(range(300), "x" * 250) | dict.fromkeys(range(200_000)))
        assert shared == plain and shared.check() == []


def test_the_constructor_takes_what_dict_takes():
    plain = {number: str(number) for number in range(5000)}
    for source in (plain, list(plain.items()), iter(plain.items()), collections.UserDict(plain)):
        with SharedMap(source) as shared:
            assert shared == plain
            with SharedMap(shared) as other:
                assert other == shared
    for source, error in ((5, TypeError), ([1], TypeError), (["abc"], ValueError)):
        with pytest.raises(error):
            SharedMap(source)


def test_a_full_map_says_so_and_has_room_again_after_clear():
    with SharedMap(max_size=1 << 20) as shared:
        number = 0
        with pytest.raises(ipcsys.SegmentFull) as caught:
            while True:
                shared[number] = b"x" * 1000
                number += 1
        assert isinstance(caught.value, MemoryError)
        assert number > 300 and len(shared) == number and shared.check() == []
        shared.clear()
        for again in range(number - 10):
            shared[again] = b"y" * 1000
        assert len(shared) == number - 10 and shared.check() == []


def test_a_name_is_one_map_for_all_who_open_it():
    with SharedMap({"a": 1}, name="m") as first, SharedMap({"b": 2}, name="m") as second:
        assert second == {"a": 1} and second.name == "m"
        second["c"] = 3
        assert first["c"] == 3
        with pytest.raises(ipcsys.AlreadyExists):
            SharedMap(name="m", create=True)
        with pytest.raises(ipcsys.InUse):
            SharedMap.remove("m")
    with SharedMap(name="m", create=False) as again:
        assert again == {"a": 1, "c": 3}
    with SharedMap({"n": 1}, name="m", create="new") as anew:
        assert anew == {"n": 1}
    SharedMap.remove("m")
    with pytest.raises(ipcsys.NotFound):
        SharedMap(name="m", create=False)


def test_a_name_of_another_kind_is_a_mismatch():
    with ipcsys.Lock(name="x"), pytest.raises(ipcsys.MismatchError):
        SharedMap(name="x")
    with ipcsys.SharedDeque(name="y"), pytest.raises(ipcsys.MismatchError, match="SharedDeque"):
        SharedMap(name="y")
    SharedMap(name="y", create="new").close()


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"name": ""}, ipcsys.InvalidName),
        ({"name": "a/b"}, ipcsys.InvalidName),
        ({"name": 5}, TypeError),
        ({"create": "maybe"}, ValueError),
        ({"create": False}, ValueError),
        ({"cleanup": "first"}, ValueError),
        ({"max_size": -1}, (ValueError, OverflowError)),
        ({"max_size": 10}, ValueError),
        ({"max_size": 1.5}, TypeError),
        ({"segment": 5, "name": "m"}, TypeError),
        ({"colour": 1}, TypeError),
    ],
)
def test_bad_keywords_are_refused(keywords, error):
    with pytest.raises(error):
        SharedMap(**keywords)


def test_a_closed_map_raises_closed_from_everything():
    shared = SharedMap({"a": 1})
    shared.close()
    shared.close()
    assert shared.closed
    for use in (
        lambda: shared["a"],
        lambda: shared.__setitem__("a", 1),
        lambda: shared.__delitem__("a"),
        lambda: "a" in shared,
        lambda: len(shared),
        lambda: iter(shared),
        lambda: shared.get("a"),
        lambda: shared.update(a=1),
        lambda: shared.items(),
        lambda: shared == {},
        lambda: shared.copy(),
        lambda: shared.clear(),
        lambda: shared.popitem(),
        lambda: shared.check(),
        lambda: pickle.dumps(shared),
        lambda: shared.__enter__(),
    ):
        with pytest.raises(ipcsys.Closed):
            use()


class Closing:
    """Closes the map while it is being encoded."""

    def __init__(self, shared):
        self.shared = shared

    def __reduce__(self):
        self.shared.close()
        return (int, ())


def test_encoding_a_value_may_close_the_map():
    shared = SharedMap()
    with pytest.raises(ipcsys.Closed):
        shared["a"] = Closing(shared)
    shared = SharedMap({"a": 1})
    with pytest.raises(ipcsys.Closed):
        shared.update({"a": Closing(shared)})


def test_a_value_that_cannot_be_encoded_changes_nothing(shared):
    shared["a"] = 1
    for value in (lambda: 1, threading.Lock()):
        with pytest.raises(Exception, match=r".+"):
            shared["a"] = value
    assert shared == {"a": 1}


def test_a_pickled_map_is_the_same_map():
    for name in (None, "m"):
        with SharedMap({"a": 1}, name=name) as shared:
            with pickle.loads(pickle.dumps(shared)) as other:
                other["b"] = 2
                assert shared["b"] == 2 and other.name == name
    data = pickle.dumps(shared := SharedMap())
    pickle.loads(data).close()
    shared.close()
    with pytest.raises(ipcsys.ObjectGone):
        pickle.loads(data)


class Numbers(SharedMap):
    def __init__(self, *args, **keywords):
        super().__init__(*args, **keywords)
        self.note = "mine"


def test_maps_can_be_subclassed_and_weakly_referenced():
    numbers = Numbers({1: 2})
    assert repr(numbers) == "Numbers({1: 2})" and numbers.note == "mine"
    with pickle.loads(pickle.dumps(numbers)) as other:
        assert type(other) is Numbers and other.note == "mine" and other == {1: 2}
    reference = weakref.ref(numbers)
    numbers.itself = numbers
    del numbers
    gc.collect()
    assert reference() is None


def test_an_uninitialised_map_is_closed():
    with pytest.raises(ipcsys.Closed):
        len(SharedMap.__new__(SharedMap))
    with SharedMap() as shared, pytest.raises(RuntimeError):
        shared.__init__()


def test_threads_that_share_a_map_lose_nothing(shared):
    def work(number):
        for step in range(300):
            shared[number, step] = step
            assert shared[number, step] == step
            shared.setdefault("all", 0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(shared) == 4 * 300 + 1


def test_increment_begins_at_nothing_and_adds_whatever_adds(shared):
    assert [shared.increment("n"), shared.increment("n", 5), shared.increment("n", -7)] == [1, 6, -1]
    assert shared.increment("n", 0.5) == -0.5 == shared["n"]
    assert shared.increment("n") == 0.5
    shared["big"] = 2**63 - 1
    assert shared.increment("big") == 2**63 == shared["big"]
    shared["text"] = "a"
    assert shared.increment("text", "b") == "ab" == shared["text"]
    with pytest.raises(TypeError):
        shared.increment("text", 1)
    with pytest.raises(KeyError):
        shared.increment("none", "text")
    assert shared["text"] == "ab" and "none" not in shared


def test_a_revision_grows_with_each_change_of_its_key(shared):
    shared.update(a=1, b=2)
    before = shared.revision("a")
    shared["b"] = 3
    assert shared.revision("a") == before
    shared["a"] = 1
    assert shared.revision("a") > before
    with pytest.raises(KeyError):
        shared.revision("c")


def test_get_many_gives_those_that_are_there(shared):
    shared.update({1: "one", 2: "two"})
    assert shared.get_many([2, 3, 1.0]) == {2: "two", 1: "one"}
    assert shared.get_many(()) == {}
    with pytest.raises(TypeError):
        shared.get_many([[]])
    with pytest.raises(TypeError):
        shared.get_many(1)


def test_editing_writes_the_value_back(shared):
    shared["list"] = [1]
    with shared.editing("list") as value:
        value.append(2)
        assert shared["list"] == [1]
    assert shared["list"] == [1, 2]
    with shared.editing("new", {}) as value:
        value["x"] = 1
    assert shared["new"] == {"x": 1}


def test_editing_that_fails_writes_nothing(shared):
    shared["list"] = [1]
    with pytest.raises(ZeroDivisionError), shared.editing("list") as value:
        value.append(2)
        shared["other"] = 1
        1 / 0  # noqa: B018
    with pytest.raises(KeyError), shared.editing("none"):
        pytest.fail("there is nothing to edit")
    with pytest.raises(ipcsys.EncodeError), shared.editing("list") as value:
        value.append(lambda: None)
    assert shared == {"list": [1]}
    with shared.editing("list"):
        pass  # none of them left a transaction open


def test_nobody_else_changes_the_map_during_an_edit(shared):
    shared["list"] = []

    def add(number):
        with shared.editing("list") as value:
            value.append(number)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(shared["list"]) == list(range(20))


def test_a_map_of_its_own_has_transactions(shared):
    with pytest.raises(ZeroDivisionError), shared.transaction():
        shared["a"] = 1
        1 / 0  # noqa: B018
    with shared.transaction(timeout=5):
        shared["b"] = 2
    assert shared == {"b": 2}
    shared.close()
    with pytest.raises(ipcsys.Closed):
        shared.transaction()
