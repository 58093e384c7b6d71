# SPDX-License-Identifier: Apache-2.0
"""SharedVector: what it promises beyond list's own tests (tests/contract)."""

import copy
import multiprocessing
import pickle

import pytest

import ipcsys
from ipcsys import Segment, SharedDeque, SharedVector


@pytest.fixture
def vector():
    with SharedVector([3, "b", b"c", None]) as row:
        yield row


@pytest.fixture
def numbers():
    with SharedVector([1, 2, 3], "i") as row:
        yield row


def test_what_it_gives_are_plain_copies(vector):
    assert type(vector[1:]) is list and type(vector.copy()) is list
    assert type(vector + []) is list and type([] + vector) is list and type(vector * 2) is list
    assert copy.copy(vector) == copy.deepcopy(vector) == [3, "b", b"c", None]
    vector.append([1])
    vector[-1].append(2)
    assert vector[-1] == [1]


def test_equals_lists_and_vectors_of_the_same_values(vector, numbers):
    assert vector == [3, "b", b"c", None] and vector != [3] and vector != (3, "b", b"c", None)
    assert numbers == SharedVector([1, 2, 3]) and numbers < [1, 3]


def test_matches_as_a_sequence(numbers):
    match numbers:
        case [first, *rest]:
            assert (first, rest) == (1, [2, 3])
        case _:
            pytest.fail("not a sequence")


def test_a_typed_one_holds_numbers_of_its_type_only(numbers):
    assert numbers.typecode == "i" and repr(numbers) == "SharedVector([1, 2, 3], typecode='i')"
    for bad, error in (("x", TypeError), (1.5, TypeError), (2**31, OverflowError)):
        with pytest.raises(error):
            numbers.append(bad)
        with pytest.raises(error):
            numbers[0:2] = [1, bad]
    assert numbers == [1, 2, 3]


@pytest.mark.parametrize("code", "bBhHiIlLqQ")
def test_integer_types_hold_their_limits(code):
    bits = {"b": 8, "h": 16, "i": 32, "l": 64, "q": 64}[code.lower()]
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if code.islower() else (0, 2**bits - 1)
    with SharedVector([low, high, 1], code) as row:
        assert list(row) == [low, high, 1]
        for value in (low - 1, high + 1):
            with pytest.raises(OverflowError):
                row.append(value)
        row[:] = [high] * 9
        row[1:2] = [low, low]
        assert list(row) == [high, low, low, *[high] * 7]


def test_floats_are_stored_in_their_width():
    with SharedVector([0.1, float("inf")], "d") as wide, SharedVector([0.5, 0.1], "f") as narrow:
        assert list(wide) == [0.1, float("inf")]
        assert narrow[0] == 0.5 and narrow[1] == pytest.approx(0.1, abs=1e-7) and narrow[1] != 0.1


def test_a_wrong_typecode_is_refused():
    for bad, error in (("z", ValueError), ("", ValueError), ("dd", ValueError), (3, TypeError)):
        with pytest.raises(error):
            SharedVector((), bad)


def test_a_name_opened_with_another_typecode_is_a_mismatch():
    with SharedVector([1.0], "d", name="row"):
        with SharedVector(name="row") as again:
            assert again.typecode == "d"
        with pytest.raises(ipcsys.MismatchError, match="'q'"):
            SharedVector((), "q", name="row")
        with pytest.raises(ipcsys.MismatchError, match="SharedVector"):
            SharedDeque(name="row")
    SharedVector.remove("row")


def test_remove_takes_a_name_on_the_class_and_a_value_on_an_object(vector):
    with SharedVector([1, 1, 2], name="row") as row:
        row.remove(1)
        assert row == [1, 2]
        with pytest.raises(ValueError, match="9 is not in the SharedVector"):
            row.remove(9)
    SharedVector.remove("row")
    with pytest.raises(ipcsys.NotFound):
        SharedVector.remove("row")
    with SharedDeque([1, 2]) as row:
        row.remove(1)
        assert list(row) == [2]


def test_a_slice_assignment_is_one_change(vector):
    with pytest.raises(ValueError, match="size 1 to extended slice of size 2"):
        vector[::2] = [1]
    with pytest.raises(TypeError):
        vector[1:2] = 5
    with pytest.raises(ipcsys.EncodeError):
        vector[1:3] = [1, lambda: None]
    assert vector == [3, "b", b"c", None]


def test_indices_fail_as_those_of_a_list(vector):
    for key in (4, -5):
        with pytest.raises(IndexError):
            vector[key]
        with pytest.raises(IndexError):
            vector[key] = 1
        with pytest.raises(IndexError):
            del vector[key]
    for key in ("a", 1.0, None):
        with pytest.raises(TypeError):
            vector[key]


def test_sorting_is_stable_and_refuses_what_cannot_be_compared(numbers):
    with SharedVector(["bb", "a", "cc", "d"]) as row:
        row.sort(key=len)
        assert row == ["a", "d", "bb", "cc"]
        row.sort(key=len, reverse=True)
        assert row == ["bb", "cc", "a", "d"]
        row.append(1)
        with pytest.raises(TypeError):
            row.sort()
        assert row[-1] == 1 and row.check() == []


def test_takes_part_in_transactions():
    with Segment("rows") as segment:
        row = segment.construct(SharedVector, "row", [1, 2, 3])
        flat = segment.construct(SharedVector, "flat", [1, 2, 3], "q")
        with pytest.raises(ZeroDivisionError), segment.transaction():
            for each in (row, flat):
                each[1:1] = range(50)
                each.reverse()
                del each[::3]
                assert len(each) < 53
            raise ZeroDivisionError
        assert row == flat == [1, 2, 3] and segment.check() == []
        assert segment.destroy("row") and segment.destroy("flat")
        with pytest.raises(ipcsys.ObjectGone):
            row.append(1)
        with pytest.raises(ipcsys.ObjectGone):
            flat[0]
        assert segment.check() == []
        row.close()
        flat.close()
    Segment.remove("rows")


def test_growing_past_the_segment_changes_nothing():
    with Segment("small", size="256 KiB", max_size="256 KiB") as segment:
        for code in (None, "q"):
            row = segment.construct(SharedVector, f"row {code}", range(1000), code)
            with pytest.raises(ipcsys.SegmentFull):
                row.extend(range(100_000))
            with pytest.raises(ipcsys.SegmentFull):
                row *= 1000
            assert row == list(range(1000)) and segment.check() == []
            row.close()
    Segment.remove("small")


def _append(row, count):
    for number in range(count):
        row.append(number)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("code", [None, "q"])
def test_processes_append_side_by_side(method, code):
    context = multiprocessing.get_context(method)
    with SharedVector((), code) as row:
        children = [context.Process(target=_append, args=(row, 300)) for _ in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join(30)
            assert child.exitcode == 0
        assert sorted(row) == sorted([*range(300), *range(300)]) and row.check() == []


def test_a_pickle_is_a_handle(numbers):
    with pickle.loads(pickle.dumps(numbers)) as other:
        other.append(4)
        assert numbers == [1, 2, 3, 4] and other.typecode == "i"


def test_a_closed_one_says_so(vector):
    vector.close()
    assert repr(vector) == "<closed SharedVector>" and vector.closed
    for use in (
        lambda: vector[0],
        lambda: vector.append(1),
        lambda: len(vector),
        lambda: list(vector),
        lambda: vector.sort(),
        lambda: vector.reverse(),
        lambda: vector.remove(1),
    ):
        with pytest.raises(ipcsys.Closed):
            use()
