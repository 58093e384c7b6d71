# SPDX-License-Identifier: Apache-2.0
"""What people see of shared objects: in a notebook, in a `match`, as copies, beside builtins."""

import collections
import copy
import pickle
from html.parser import HTMLParser

import numpy
import pytest

import ipcsys

FORMS = [
    (ipcsys.SharedMap, {"a": 1, "b": [1, 2]}, dict),
    (ipcsys.SharedVector, [1, "two", None], list),
    (ipcsys.SharedDeque, collections.deque([1, b"two"]), collections.deque),
]


class Reader(HTMLParser):
    """Well-formed?  And which tags and texts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts += [data.strip()] if data.strip() else []


def seen(shared):
    return Reader(shared._repr_html_())


def test_a_map_is_a_table_of_its_items():
    page = seen(ipcsys.SharedMap({"a": 1, 2: ["x"]}, name="shown"))
    assert page.texts == ["SharedMap 'shown', 2 items", "key", "value", "'a'", "1", "2", "['x']"]
    assert page.tags.count("tr") == 3


def test_a_vector_and_a_deque_are_tables_too():
    page = seen(ipcsys.SharedVector([5, 6], typecode="h"))
    assert page.texts == ["SharedVector, 2 values, typecode 'h'", "value", "0", "5", "1", "6"]
    assert "maxlen 3" in seen(ipcsys.SharedDeque([1], maxlen=3)).texts[0]


@pytest.mark.parametrize("kind", [ipcsys.SharedMap, ipcsys.SharedVector, ipcsys.SharedDeque])
def test_markup_in_values_is_text_and_nothing_more(kind):
    evil = "</td><script>alert(1)</script>&amp;"
    shared = kind({evil: evil}) if kind is ipcsys.SharedMap else kind([evil])
    page = seen(shared)
    assert set(page.tags) == {"table", "caption", "tr", "th", "td"}
    assert repr(evil) in page.texts


def test_a_name_is_escaped():
    assert "<b>" not in ipcsys.SharedMap(name="<b>x")._repr_html_()


@pytest.mark.parametrize(
    "shared",
    [
        lambda: ipcsys.SharedMap({number: "x" * 10_000 for number in range(300)}),
        lambda: ipcsys.SharedVector(["x" * 10_000, [["y" * 1000] * 100] * 100] * 100),
        lambda: ipcsys.SharedArray("wide", shape=(100,), dtype="S5000"),
        lambda: ipcsys.SharedArray("long", shape=(1_000_000,)),
    ],
    ids=["map", "vector", "wide-array", "long-array"],
)
def test_what_is_shown_is_bounded(shared):
    with shared() as large:
        assert len(large._repr_html_()) < 60_000


def test_what_is_left_out_is_counted():
    assert seen(ipcsys.SharedVector(range(100))).texts[-1] == "… and 80 more"
    assert seen(ipcsys.SharedMap({i: i for i in range(21)})).texts[-1] == "… and 1 more"
    assert "more" not in seen(ipcsys.SharedVector(range(20))).texts[-1]


def test_an_array_is_shown_as_numpy_shows_it():
    array = ipcsys.SharedArray("shown", shape=(2, 2), dtype="i4")
    array.numpy()[:] = [[1, 2], [3, 4]]
    page = seen(array)
    assert page.texts == [
        "SharedArray 'shown', shape (2, 2), dtype <i4, 16 bytes",
        repr(array.numpy()),
    ]


class Point(ipcsys.Record):
    x: float
    label: str = "<i>"


def test_a_record_is_a_table_of_its_fields():
    texts = seen(Point(1.5, name="shown")).texts
    assert texts == [
        "Point 'shown', 2 fields", "field", "value", "x", "1.5", "label", "'<i>'",
    ]  # fmt: skip


def test_a_segment_is_a_bar_of_memory_and_a_table_of_objects():
    segment = ipcsys.Segment("shown", size="1 MiB")
    segment.construct(ipcsys.SharedMap, "prices", {"x": 1})
    segment.construct(ipcsys.AtomicInt, "count", 7)
    page = seen(segment)
    assert page.tags[:2] == ["div", "div"]
    assert page.texts[0].startswith("Segment 'shown', ") and " of 1.0 MiB" in page.texts[0]
    assert page.texts[4:] == [
        "'prices'", "SharedMap", "1 items", "'count'", "AtomicInt", "AtomicInt(7)",
    ]  # fmt: skip


def test_a_closed_and_a_destroyed_object_say_so():
    shared = ipcsys.SharedMap()
    shared.close()
    assert seen(shared).texts == ["<closed SharedMap>"]
    segment = ipcsys.Segment("shown")
    inside = segment.construct(ipcsys.SharedVector, "gone", [1])
    segment.destroy("gone")
    assert seen(inside).texts[0].startswith("<SharedVector: ")


def test_mapping_and_sequence_patterns_match():
    match ipcsys.SharedMap({"kind": "tick", "price": 1.5, "size": 2}):
        case {"kind": "tick", "price": price, **rest}:
            assert price == 1.5 and rest == {"size": 2}
        case _:
            pytest.fail("no mapping")
    for kind in (ipcsys.SharedVector, ipcsys.SharedDeque):
        match kind([1, 2, 3]):
            case [first, *others]:
                assert (first, others) == (1, [2, 3])
            case _:
                pytest.fail("no sequence")


@pytest.mark.parametrize(("kind", "plain", "builtin"), FORMS)
def test_copies_are_plain_python_objects_of_ones_own(kind, plain, builtin):
    shared = kind(plain)
    for made in (copy.copy(shared), copy.deepcopy(shared)):
        assert type(made) is builtin and made == plain
        made.clear()
    assert shared == plain


def test_a_copy_of_an_array_is_an_ndarray():
    array = ipcsys.SharedArray("copied", shape=(2, 3), dtype="f4", order="F")
    array.numpy()[:] = 1
    for made in (copy.copy(array), copy.deepcopy(array)):
        assert type(made) is numpy.ndarray and made.dtype == "f4" and made.flags.f_contiguous
        made[:] = 2
    assert (array.numpy() == 1).all()


@pytest.mark.parametrize(("kind", "plain", "builtin"), FORMS)
def test_a_pickle_is_a_handle(kind, plain, builtin):
    shared = kind(plain)
    other = pickle.loads(pickle.dumps(shared))
    assert type(other) is kind
    other.clear()
    assert len(shared) == 0


@pytest.mark.parametrize(("kind", "plain", "builtin"), FORMS)
def test_they_are_equal_to_their_builtin_and_to_nothing_else(kind, plain, builtin):
    shared = kind(plain)
    assert shared == plain and plain == shared and not shared != plain
    assert shared == kind(plain)
    for other in ((), {}, [], collections.deque(), "", None, 0):
        assert shared != other


def test_views_look_like_those_of_a_dict():
    shared = ipcsys.SharedMap({"a": 1})
    assert repr(shared.keys()) == "MapKeys(['a'])"
    assert repr(shared.values()) == "MapValues([1])"
    assert repr(shared.items()) == "MapItems([('a', 1)])"
