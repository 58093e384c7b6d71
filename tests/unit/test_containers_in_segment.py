# SPDX-License-Identifier: Apache-2.0
"""SharedMap, SharedDeque and AtomicInt in a Segment: keys, transactions, the end of objects."""

import gc
import pickle
import threading
import time

import pytest

import ipcsys
from ipcsys import AtomicInt, ObjectGone, Segment, SharedDeque, SharedMap


@pytest.fixture
def segment():
    with Segment("s", size="4 MiB") as segment:
        yield segment
        assert segment.closed or segment.check() == []


class Undo(Exception):
    pass


def test_each_type_is_constructed_and_found_again(segment):
    made = {
        "map": segment.construct(SharedMap, "map", {"a": 1}),
        "deque": segment.construct(SharedDeque, "deque", [1, 2], maxlen=5),
        "number": segment.construct(AtomicInt, "number", 7),
    }
    assert made["map"] == {"a": 1} and list(made["deque"]) == [1, 2] and made["number"] == 7
    for key, value in made.items():
        found = segment.find(key)
        assert type(found) is type(value) and found == value and found.name == key
        assert segment[key] == value
        with pytest.raises(ipcsys.AlreadyExists):
            segment.construct(type(value), key)
        assert segment.find_or_construct(type(value), key) == value
    with pytest.raises(ipcsys.MismatchError, match=r"SharedMap.*AtomicInt|AtomicInt.*SharedMap"):
        segment.find_or_construct(AtomicInt, "map")
    assert segment.find_or_construct(SharedMap, "other", {1: 2}) == {1: 2}


def test_the_types_take_the_segment_themselves(segment):
    shared = SharedMap({"a": 1}, name="map", segment=segment)
    assert segment["map"] == shared
    assert SharedMap(name="map", segment=segment, create=False) == {"a": 1}
    with pytest.raises(ipcsys.NotFound):
        SharedMap(name="none", segment=segment, create=False)
    for keywords in ({}, {"name": "x", "create": "new"}, {"name": "x", "namespace": "n"},
                     {"name": "x", "cleanup": "last"}, {"name": "x", "max_size": 1 << 20}):  # fmt: skip
        with pytest.raises(ValueError):
            SharedMap(segment=segment, **keywords)


def test_a_destroyed_object_is_gone_for_its_handles_even_if_the_key_is_used_again(segment):
    shared, deque, number = (
        segment.construct(SharedMap, "map", {"a": 1}),
        segment.construct(SharedDeque, "deque", [1]),
        segment.construct(AtomicInt, "number", 1),
    )
    for again in (False, True):
        for key in ("map", "deque", "number"):
            assert segment.destroy(key)
            if again:
                segment.construct({"map": SharedMap, "deque": SharedDeque}.get(key, AtomicInt), key)
        for use in (
            lambda: shared["a"],
            lambda: shared.__setitem__("a", 2),
            lambda: shared.pop("a"),
            lambda: len(shared),
            lambda: shared.copy(),
            lambda: shared.update(a=1),
            lambda: shared.clear(),
            lambda: shared.check(),
            lambda: deque.append(1),
            lambda: deque.pop(timeout=5),
            lambda: deque[0],
            lambda: len(deque),
            lambda: list(deque),
            lambda: deque.push(2),
            lambda: deque.clear(),
            lambda: number.add(1),
            lambda: number.value,
        ):
            with pytest.raises(ipcsys.ObjectGone):
                use()
        if not again:
            for key, kind in (("map", SharedMap), ("deque", SharedDeque), ("number", AtomicInt)):
                segment.construct(kind, key)
    assert segment["map"] == {} and segment["number"] == 0


def test_a_wait_ends_when_the_deque_is_destroyed(segment):
    deque = segment.construct(SharedDeque, "deque")
    caught = []

    def wait():
        try:
            deque.pop(timeout=20)
        except ipcsys.ObjectGone:
            caught.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    started = time.monotonic()
    segment.destroy("deque")
    thread.join(20)
    assert caught and time.monotonic() - started < 5


@pytest.mark.parametrize("size", ["1 MiB", "16 MiB"])
def test_large_objects_can_be_destroyed_and_leave_nothing(size):
    with Segment("large", size=size, max_size="32 MiB") as segment:
        segment.construct(AtomicInt, "first")  # the catalogue keeps its table
        before = segment.stats().used
        for _ in range(3):
            shared = segment.construct(SharedMap, "map")
            for number in range(10_000):
                shared[number] = "x" * (number % 400)
            deque = segment.construct(SharedDeque, "deque")
            for number in range(5_000):
                deque.append("x" * (number % 300))
            assert segment.destroy("map") and segment.destroy("deque")
            assert segment.check() == []
        assert segment.stats().used == before


def test_changes_of_a_transaction_come_together_or_not_at_all(segment):
    shared = segment.construct(SharedMap, "map", {"a": 1})
    deque = segment.construct(SharedDeque, "deque", [1])
    number = segment.construct(AtomicInt, "number", 1)
    with pytest.raises(Undo), segment.transaction():
        shared["a"], shared["b"] = 2, "x" * 1000
        shared.update({key: key for key in range(200)})
        deque.extend(range(100))
        deque.popleft()
        number.add(1)
        assert shared["a"] == 2 and deque[0] == 0 and len(shared) == 202 and len(deque) == 100
        raise Undo
    assert shared == {"a": 1} and list(deque) == [1]
    assert number == 2, "what others may have added to must not be taken back"
    with segment.transaction():
        shared["a"] = 3
        with pytest.raises(Undo), segment.transaction():
            shared.clear()
            deque.clear()
            raise Undo
        deque.append(4)
        assert shared == {"a": 3}
    assert shared == {"a": 3} and list(deque) == [1, 4]


def test_an_error_inside_a_transaction_undoes_its_own_call_only(segment):
    shared = segment.construct(SharedMap, "map")
    with segment.transaction():
        shared["a"] = 1
        with pytest.raises(TypeError):
            shared.update([("b", 2), ([], 3)])
        with pytest.raises(KeyError):
            shared.pop("none")
        shared["c"] = 3
    assert shared == {"a": 1, "c": 3}


def test_readers_wait_for_what_a_transaction_has_changed_and_for_nothing_else(segment):
    shared = segment.construct(SharedMap, "map", {"a": 1})
    other = segment.construct(SharedMap, "other", {"a": 1})
    seen = []
    with segment.transaction():
        shared["a"] = 2
        quick = threading.Thread(target=lambda: seen.append(("other", other["a"], len(other))))
        quick.start()
        quick.join(10)
        slow = threading.Thread(target=lambda: seen.append(("map", shared["a"], len(shared))))
        slow.start()
        time.sleep(0.05)
        assert seen == [("other", 1, 1)]
        shared["a"] = 3
    slow.join(10)
    assert seen == [("other", 1, 1), ("map", 3, 1)]


def test_waiting_inside_a_transaction_is_an_error_at_once(segment):
    deque = segment.construct(SharedDeque, "deque", maxlen=1)
    with segment.transaction():
        with pytest.raises(ipcsys.TransactionError):
            deque.pop(timeout=5)
        assert deque.push(1, timeout=5)
        with pytest.raises(ipcsys.TransactionError):
            deque.push(2, timeout=5)
        assert deque.push(2) is False and deque.pop(timeout=5) == 1


def test_an_object_outlives_its_segments_handle():
    segment = Segment("s")
    shared = segment.construct(SharedMap, "map", {"a": 1})
    number = segment.construct(AtomicInt, "number", 1)
    segment.close()
    shared["b"] = 2
    assert shared == {"a": 1, "b": 2} and number.add(1) == 2
    shared.close()
    number.close()


def test_an_object_in_a_segment_can_be_pickled(segment):
    for made in (segment.construct(SharedMap, "map"), segment.construct(SharedDeque, "deque"),
                 segment.construct(AtomicInt, "number")):  # fmt: skip
        data = pickle.dumps(made)
        other = pickle.loads(data)
        assert type(other) is type(made) and other.name == made.name
        segment.destroy(made.name)
        with pytest.raises(ipcsys.ObjectGone):
            pickle.loads(data)
        other.close()
    gc.collect()


def test_a_full_segment_says_so_and_keeps_what_it_has():
    with Segment("s", size="1 MiB", max_size="1 MiB") as segment:
        shared = segment.construct(SharedMap, "map", {"keep": 1})
        with pytest.raises(ipcsys.SegmentFull):
            for number in range(10_000):
                shared[number] = "x" * 500
        assert shared["keep"] == 1 and shared.check() == [] and segment.check() == []
        with pytest.raises(ipcsys.SegmentFull):
            segment.construct(SharedDeque, "deque", range(100_000))
        assert segment.find("deque") is None and segment.check() == []


@pytest.mark.parametrize("kind", [SharedMap, SharedDeque])
def test_a_pickle_does_not_open_another_that_got_the_name(kind):
    first = kind(name="pickled")
    kept = pickle.dumps(first)
    assert type(pickle.loads(kept)) is kind
    first.close()
    kind.remove("pickled")
    with pytest.raises(ObjectGone, match="pickled"):
        pickle.loads(kept)
    with kind(name="pickled"), pytest.raises(ObjectGone, match="another's"):
        pickle.loads(kept)
    kind.remove("pickled")
