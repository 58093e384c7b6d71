# SPDX-License-Identifier: Apache-2.0
"""check(): a block that nothing leads to is a leak, one that two have is damage."""

import mmap
import struct

import pytest

from ipcsys import (
    AtomicInt,
    Lock,
    Record,
    Segment,
    SharedArray,
    SharedBytes,
    SharedCell,
    SharedDeque,
    SharedMap,
    SharedString,
    SharedVector,
    _core,
)


class Note(Record):
    title: str
    size: int = 0


@pytest.fixture
def segment():
    with Segment("leaks", "1 MiB", "8 MiB", cleanup="last") as made:
        yield made


@pytest.fixture
def raw(segment, namespace):
    with (
        open(f"{_core.folder(namespace)}/leaks", "r+b") as file,
        mmap.mmap(file.fileno(), 0) as view,
    ):
        yield view


def words_that_say(raw, number):
    """Where in the file the 8-byte word `number` stands."""
    found, at = [], raw.find(struct.pack("<Q", number))
    while at >= 0:
        found += [at] * (at % 8 == 0)
        at = raw.find(struct.pack("<Q", number), at + 1)
    return found


def block_of(raw, content):
    """Offset of the block that begins with these bytes (text has a byte before it)."""
    return raw.find(content) & ~15


MADE = {
    "map": lambda s: s.construct(SharedMap, "thing", {n: "v" * (n * 60) for n in range(20)}),
    "deque": lambda s: s.construct(SharedDeque, "thing", ["v" * n for n in range(60)], maxlen=90),
    "vector": lambda s: s.construct(SharedVector, "thing", ["v" * n for n in range(60)]),
    "typed vector": lambda s: s.construct(SharedVector, "thing", range(99), typecode="q"),
    "string": lambda s: s.construct(SharedString, "thing", "text" * 50),
    "bytes": lambda s: s.construct(SharedBytes, "thing", b"text" * 50),
    "cell": lambda s: s.construct(SharedCell, "thing", {"a": [1] * 50}),
    "array": lambda s: s.construct(SharedArray, "thing", shape=(5, 5), dtype="f8"),
    "record": lambda s: s.construct(Note, "thing", "title" * 100),
    "lock": lambda s: s.construct(Lock, "thing"),
    "number": lambda s: s.construct(AtomicInt, "thing"),
    "pool": lambda s: s.construct(Note, "thing", "title", allocator=s.pool(128, 9)),
    "arena": lambda s: s.construct(SharedMap, "thing", {1: "v" * 999}, allocator=s.arena()),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_every_block_of_every_type_is_found(make, segment):
    thing = make(segment)
    assert segment.check() == []
    with segment.transaction():
        assert segment.destroy("thing")
        assert segment.check() == []  # what the open transaction has freed is no leak
    assert segment.check() == []
    thing.close()
    assert segment.check() == []


@pytest.mark.parametrize("kind", [SharedMap, SharedDeque])
def test_what_clear_has_left_is_no_leak(kind, segment):
    many = [(n, "v" * 300) for n in range(500)]
    thing = segment.construct(kind, "thing", many)
    with segment.transaction():
        thing.clear()
        assert segment.check() == []
    assert segment.stats().blocks > 500 and segment.check() == []
    assert segment.destroy("thing")
    assert segment.stats().blocks < 10 and segment.check() == []


def test_an_array_destroyed_while_it_is_open_is_no_leak(segment):
    array = segment.construct(SharedArray, "a", shape=(100,), dtype="f8")
    view = memoryview(array)
    assert segment.destroy("a")
    assert segment.stats().used > 800 and segment.check() == []
    view.release()
    array.close()
    assert segment.check() == []


def test_a_block_that_nothing_leads_to_is_a_leak(segment, raw):
    thing = segment.construct(SharedMap, "m", {1: b"lost" * 200, 2: b"kept" * 200})
    (value,) = words_that_say(raw, block_of(raw, b"lost" * 200))
    raw[value : value + 16] = bytes(16)  # the item's value is empty now, and in the item
    (line,) = segment.check()
    assert "leak" in line and "bytes at offset" in line
    assert thing[2] == b"kept" * 200


def test_many_leaks_are_counted_together(segment, raw):
    segment.construct(SharedDeque, "d", [b"lost" * 100] * 200)
    root = words_that_say(raw, 200)
    for at in root:  # the deque's length, and whatever else says so
        raw[at : at + 8] = bytes(8)
    lines = segment.check()
    assert any("200 leaks of" in line for line in lines)
    assert len(lines) < 50


def test_a_block_with_two_owners_is_damage(segment, raw):
    segment.construct(SharedMap, "m", {1: b"mine" * 200, 2: b"ours" * 200})
    mine, ours = (block_of(raw, text * 200) for text in (b"mine", b"ours"))
    (value,) = words_that_say(raw, mine)
    raw[value : value + 8] = struct.pack("<Q", ours)
    lines = segment.check()
    assert any("two owners" in line and "item of a SharedMap" in line for line in lines)
    assert any("leak" in line for line in lines)


def test_a_way_to_where_no_block_is_is_damage(segment, raw):
    segment.construct(SharedMap, "m", {1: b"mine" * 200})
    (value,) = words_that_say(raw, block_of(raw, b"mine" * 200))
    raw[value : value + 8] = struct.pack("<Q", 512 * 1024)
    assert any("where no block is" in line for line in segment.check())


def test_items_that_lead_in_a_circle_end_the_look(segment, raw):
    segment.construct(SharedMap, "m", {n: b"v" * 300 for n in range(3)})
    items = [words_that_say(raw, block_of(raw, b"v" * 300))[0] - 40]
    after = items[0] + 8
    raw[after : after + 8] = struct.pack("<Q", items[0])
    assert any("two owners" in line for line in segment.check())


def test_an_object_that_stands_alone_looks_for_leaks_too(namespace):
    with SharedMap({1: b"lost" * 200}, name="alone") as alone:
        assert alone.check() == []
        with (
            open(f"{_core.folder(namespace)}/alone", "r+b") as file,
            mmap.mmap(file.fileno(), 0) as raw,
        ):
            (value,) = words_that_say(raw, block_of(raw, b"lost" * 200))
            raw[value : value + 16] = bytes(16)
            (line,) = alone.check()
            assert "leak" in line
    SharedMap.remove("alone")
