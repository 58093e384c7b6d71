# SPDX-License-Identifier: Apache-2.0
"""SharedArray in a Segment: views, names, the end of its memory."""

import gc
import pickle

import pytest

import ipcsys
from ipcsys import Segment, SharedArray, SharedMap

numpy = pytest.importorskip("numpy")


@pytest.fixture
def segment():
    with Segment(None, "1 MiB", "64 MiB") as segment:
        yield segment
        assert segment.check() == []


def address(array):
    return numpy.asarray(array).ctypes.data


def test_it_is_found_by_its_key_and_seen_without_a_copy(segment):
    array = segment.construct(SharedArray, "a", shape=(3, 4), dtype="f8")
    view = numpy.asarray(array)
    assert view.shape == (3, 4) and not view.any() and address(array) % 64 == 0
    view[:] = 2
    again = segment["a"]
    assert type(again) is SharedArray and again.numpy().sum() == 24 and again.name == "a"
    assert numpy.shares_memory(again.numpy(), view)
    assert (again.shape, again.dtype, again.order) == ((3, 4), "<f8", "C")
    copy = pickle.loads(pickle.dumps(array))
    copy.numpy()[0, 0] = 7
    assert view[0, 0] == 7 and "a" in segment and list(segment) == ["a"]


@pytest.mark.parametrize(
    ("shape", "dtype", "order"),
    [(5, "i2", None), ((), "f8", None), ((0, 3), "u1", None), ((2, 3), "c16", "F"),
     (4, [("x", "<f4"), ("y", "<i8", (2,))], None), ((3, 5, 7), "?", "C"), (2, "M8[ns]", None)],
)  # fmt: skip
def test_any_shape_dtype_and_order(segment, shape, dtype, order):
    array = segment.construct(SharedArray, "a", shape, dtype, order)
    view = array.numpy()
    assert view.shape == (shape if isinstance(shape, tuple) else (shape,))
    assert view.dtype == numpy.dtype(dtype) and view.flags.f_contiguous >= (order == "F")
    assert view.ctypes.data % 64 == 0 and not any(view.tobytes("A"))


def test_readonly_views_cannot_write_and_the_lock_is_one_for_all(segment):
    array = segment.construct(SharedArray, "a", 3)
    looker = segment.find_or_construct(SharedArray, "a", 3, readonly=True)
    with pytest.raises(ValueError, match="read-only"):
        looker.numpy()[0] = 1
    assert pickle.loads(pickle.dumps(looker)).readonly
    with array.lock:
        assert looker.lock.locked() and not looker.lock.acquire(timeout=0)
    assert not array.lock.locked()
    with pytest.raises(TypeError, match="another object"):
        pickle.dumps(array.lock)


def test_what_was_asked_for_must_agree(segment):
    segment.construct(SharedArray, "a", shape=(2, 3), dtype="f8")
    segment.construct(SharedMap, "m")
    for asked in ({"shape": 6}, {"dtype": "i8"}, {"order": "F"}):
        with pytest.raises(ipcsys.MismatchError):
            segment.find_or_construct(SharedArray, "a", **{"dtype": "f8"} | asked)
    with pytest.raises(ipcsys.MismatchError):
        segment.find_or_construct(SharedArray, "m", shape=1)
    with pytest.raises(ipcsys.AlreadyExists):
        segment.construct(SharedArray, "a", 3)
    with pytest.raises(ipcsys.NotFound):
        segment.find_or_construct(SharedArray, "none of this name")
    with pytest.raises(ValueError):
        segment.construct(SharedArray, "b", -1)
    with pytest.raises(ipcsys.SegmentFull):
        segment.construct(SharedArray, "b", 2**26)
    with pytest.raises(ipcsys.TransactionError), segment.transaction():
        segment.construct(SharedArray, "b", 3)
    assert list(segment) == ["a", "m"]


def used_without(segment):
    """What the segment uses once its catalogue and the cells of arrays have their place."""
    segment.construct(SharedArray, "first", 1).close()
    segment.destroy("first")
    return segment.stats().used


def test_memory_stays_while_it_is_looked_at_and_goes_with_the_last(segment):
    before = used_without(segment)
    array = segment.construct(SharedArray, "a", 10_000)
    other, view = segment["a"], array.numpy()
    view[:] = 1.5
    assert segment.destroy("a") and "a" not in segment
    segment.construct(SharedMap, "m", {n: "x" * 900 for n in range(300)})
    array.close()
    other.close()
    assert view.sum() == 15_000, "the memory was given to somebody else"
    assert segment.check() == []
    segment.destroy("m")
    assert segment.stats().used > before
    del view, array, other
    gc.collect()
    assert segment.stats().used == before, "the last view was let go, and memory stays"


def test_the_key_is_free_for_another_while_the_first_is_looked_at(segment):
    first = segment.construct(SharedArray, "a", 4)
    first.numpy()[:] = 1
    segment.destroy("a")
    second = segment.construct(SharedArray, "a", 4)
    second.numpy()[:] = 2
    assert first.numpy().sum() == 4 and segment["a"].numpy().sum() == 8
    with pytest.raises(ipcsys.ObjectGone):
        pickle.loads(pickle.dumps(first))


def test_a_destruction_that_is_undone_is_none(segment):
    array = segment.construct(SharedArray, "a", 4)
    array.numpy()[:] = 3
    array.close()
    for _ in range(2):
        with pytest.raises(LookupError), segment.transaction():
            segment.destroy("a")
            raise LookupError
    with segment["a"] as array:
        assert array.numpy().sum() == 12
        with pytest.raises(LookupError), segment.transaction():
            segment.destroy("a")
            raise LookupError
    assert segment["a"].numpy().sum() == 12


def test_many_come_and_go_and_nothing_is_left(segment):
    before = used_without(segment)
    kept = []
    for number in range(200):
        array = segment.construct(SharedArray, f"a{number}", number, "u1")
        array.numpy()[:] = number
        kept.append(array.numpy())
        segment.destroy(f"a{number}")
        if number % 3 == 0:
            kept.pop(number % len(kept))
    assert all((view == len(view)).all() for view in kept)
    kept.clear()
    del array
    gc.collect()
    used_without(segment)
    assert segment.stats().used == before


def test_closed_handles_raise_closed(segment):
    array = segment.construct(SharedArray, "a", 4)
    array.close()
    assert array.closed and repr(array) == "<closed SharedArray>"
    for act in (array.numpy, lambda: memoryview(array), lambda: array.lock, lambda: array.shape):
        with pytest.raises((ipcsys.Closed, BufferError)):
            act()
