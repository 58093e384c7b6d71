# SPDX-License-Identifier: Apache-2.0
"""Containers that stand in a SharedVector or a SharedDeque."""

import collections
import copy
import pickle
import threading

import pytest

import ipcsys
from ipcsys import ObjectGone, Segment, SharedDeque, SharedMap, SharedVector

ROWS = {"vector": SharedVector, "deque": SharedDeque}
INNER = {
    "map": (SharedMap, ({"a": 1},), {"a": 1}),
    "vector": (SharedVector, ([1, 2],), [1, 2]),
    "typed": (SharedVector, ([1.0], "d"), [1.0]),
    "deque": (SharedDeque, ([1], 4), collections.deque([1], 4)),
}


@pytest.fixture
def segment():
    with Segment("s", size="4 MiB", max_size="64 MiB") as segment:
        yield segment
        assert segment.closed or segment.check() == []


@pytest.fixture(params=ROWS)
def row(request, segment):
    return segment.construct(ROWS[request.param], "row")


@pytest.fixture(params=INNER)
def kind(request):
    return request.param


def construct(row, kind):
    cls, args, plain = INNER[kind]
    return row.construct(cls, *args), plain


class Undo(Exception):
    pass


def test_it_is_made_at_the_end_and_read_as_a_handle(row, kind):
    row.append("first")
    made, plain = construct(row, kind)
    assert len(row) == 2 and row[1] == made == plain and type(row[-1]) is INNER[kind][0]
    assert made.name is None and list(row)[1] == plain and next(reversed(row)) == plain
    if kind == "map":
        row[1]["b"] = 2
        assert made == {"a": 1, "b": 2}
    else:
        row[1].append(2.0)
        assert made[-1] == 2.0
    assert row.check() == [] and made.check() == []
    assert repr(made) in repr(row)
    assert list(row.copy()) == ["first", made.copy()] and row == type(row.copy())(row.copy())
    there = pickle.loads(pickle.dumps(made))
    assert there == made
    assert plain not in row and made in row and row.index(made) == 1 and row.count(made) == 1
    row.reverse()
    assert row[0] == made
    row.insert(0, "x")
    assert row[1] == made


def test_copies_are_plain_all_the_way_down(row):
    inner = row.construct(SharedMap, {"x": 1})
    inner.construct(SharedVector, "v", [1]).construct(SharedDeque, [2], 3)
    want = {"x": 1, "v": [1, collections.deque([2], 3)]}
    for plain in (row.copy(), copy.copy(row), copy.deepcopy(row), row * 1, row + type(row.copy())()):
        assert list(plain) == [want] and type(plain[0]) is dict
        assert type(plain[0]["v"][1]) is collections.deque


ENDS = {
    "popped": lambda row: row.pop(),
    "deleted": lambda row: row.__delitem__(-1),
    "overwritten": lambda row: row.__setitem__(-1, "x" * 500),
    "cleared": lambda row: row.clear(),
    "removed": lambda row: row.remove(row[-1]),
    "multiplied by nothing": lambda row: row.__imul__(0),
}
ENDS_OF_SLICES = {
    "a slice deleted": lambda row: row.__delitem__(slice(1, None)),
    "every second deleted": lambda row: row.__delitem__(slice(-1, None, -2)),
    "a slice replaced": lambda row: row.__setitem__(slice(-2, None), [1, 2, 3]),
    "every second replaced": lambda row: row.__setitem__(slice(None, None, -len(row)), [5]),
    "popped at its index": lambda row: row.pop(len(row) - 1),
}


@pytest.mark.parametrize("length", [1, 200])
def test_it_goes_with_its_place_and_no_byte_is_lost(segment, row, kind, length):
    ends = ENDS | (ENDS_OF_SLICES if isinstance(row, SharedVector) else {})
    segment.destroy("row")
    before = segment.stats()
    for name, end in ends.items():
        row = segment.construct(type(row), "row", ["x" * 100] * length)
        handle, _ = construct(row, kind)
        inside = handle.construct(SharedVector, "v", ["y" * 500] * 40) if kind == "map" else None
        end(row)
        for gone in (handle, inside):
            if gone is not None:
                for use in (len, list, repr):
                    with pytest.raises(ObjectGone):
                        use(gone)
                gone.close()
        assert segment.check() == [], name
        segment.destroy("row")
        row.close()
        assert segment.check() == [], name
        after = segment.stats()
        assert (after.used, after.blocks) == (before.used, before.blocks), name


def test_popped_ones_come_back_as_copies(row, kind):
    row.append(0)
    _, plain = construct(row, kind)
    popped = row.pop()
    assert popped == plain and type(popped) is type(plain) and list(row) == [0]
    if isinstance(row, SharedDeque):
        row.clear()
        construct(row, kind)
        assert row.popleft(timeout=1) == plain
        construct(row, kind)
        row.rotate(5)
        assert row.pop(timeout=None) == plain


def test_a_full_deque_drops_the_one_at_the_other_end(segment, kind):
    row = segment.construct(SharedDeque, "row", maxlen=2)
    first, plain = construct(row, kind)
    construct(row, kind)
    third, _ = construct(row, kind)
    with pytest.raises(ObjectGone):
        len(first)
    assert list(row) == [plain, plain] and third == plain
    row.appendleft(1)
    row.extend([2, 3])
    with pytest.raises(ObjectGone):
        len(third)
    with pytest.raises(ValueError, match="maxlen 0"):
        segment.construct(SharedDeque, "none", maxlen=0).construct(SharedMap)
    with pytest.raises(ipcsys.MismatchError):
        segment.construct(SharedMap, "m", {1: 1}).find_or_construct(SharedDeque, 1)


def test_one_who_waits_is_given_it(segment):
    row = segment.construct(SharedDeque, "row")
    got = []
    waiter = threading.Thread(target=lambda: got.append(row.popleft(timeout=20)))
    waiter.start()
    row.construct(SharedVector, [1, 2])
    waiter.join()
    assert got == [[1, 2]] and not row


def test_moved_ones_stay_the_same(row):
    handles = [row.construct(SharedVector, [number]) for number in range(40)]
    row.reverse()
    assert row[0] == [39] and row[0] == handles[39]
    if isinstance(row, SharedVector):
        row.sort()
        row.sort(key=lambda value: -value[0])
        assert [value[0] for value in row[::2]] == list(range(39, 0, -2))
    else:
        row.rotate(7)
        row.rotate(-7)
    for handle in handles:
        handle.append("more")
    assert list(row) == [[number, "more"] for number in range(39, -1, -1)]
    for _ in range(100):
        row.insert(0, "x")  # grows, in a ring of its own
    assert row[-1] == handles[0]


def test_a_handle_is_refused_but_may_be_put_where_it_is(segment, row):
    made = row.construct(SharedVector, [1])
    row[0] = made
    row[0] += [2]
    assert made == [1, 2]
    for store in (
        lambda: row.append(made),
        lambda: row.insert(0, made),
        lambda: row.extend(row),
        lambda: row.extend([made]),
        lambda: row.__setitem__(0, SharedVector()),
        lambda: row.__imul__(2),
    ):
        with pytest.raises(TypeError):
            store()
    assert list(row) == [[1, 2]]


def test_what_cannot_stand_there_is_refused(segment, row):
    for other in (ipcsys.SharedArray, ipcsys.Lock, dict):
        with pytest.raises(TypeError):
            row.construct(other)
    for keywords in ({"name": "x"}, {"create": False}, {"create": "new"}, {"max_size": 1 << 20}):
        with pytest.raises(ValueError):
            SharedVector(segment=row, **keywords)
    with pytest.raises(TypeError):
        row.construct()
    with pytest.raises(TypeError, match="typecode"):
        segment.construct(SharedVector, "numbers", [], "d").construct(SharedVector)
    assert SharedVector([7], segment=row) == [7] and row[0] == [7]
    inner = row
    for _ in range(32):
        inner = inner.construct(SharedVector)
    with pytest.raises(ipcsys.TooLarge, match="32 deep"):
        inner.construct(SharedMap)
    assert segment.check() == []


def test_undone_with_the_rest(segment, row, kind):
    kept, plain = construct(row, kind)
    with pytest.raises(Undo), segment.transaction():
        made, _ = construct(row, kind)
        del row[0]
        with pytest.raises(ObjectGone):
            len(kept)
        row.clear()
        raise Undo
    assert kept == plain and list(row) == [plain]
    with pytest.raises(ObjectGone):
        len(made)


def test_readers_meet_only_living_ones(row):
    """A container is replaced again and again while others read it and list it."""
    stop = threading.Event()
    failures = []

    def read():
        try:
            while not stop.is_set():
                assert list(row.copy()) in ([], [{"a": [1]}])
                assert len(list(row)) <= 1 and "a" in repr(row) + "a"
                try:
                    row[0]["a"].append(2)
                    row[0]["a"].pop()
                except (IndexError, ObjectGone, KeyError):
                    pass
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(200):
        with row.transaction():
            row.construct(SharedMap).construct(SharedVector, "a", [1])
        if number % 2:
            row.clear()
        else:
            row.pop()
    stop.set()
    for thread in threads:
        thread.join()
    assert [error for error in failures if not isinstance(error, AssertionError)] == []
