# SPDX-License-Identifier: Apache-2.0
"""Segment: opening, keys, sizes, transactions, handles and bad input, in one process."""

import asyncio
import gc
import os
import pickle
import shutil
import threading
import weakref

import pytest

import ipcsys
from ipcsys import (
    AlreadyExists,
    AtomicInt,
    Closed,
    InUse,
    InvalidName,
    Lock,
    MismatchError,
    NotFound,
    ObjectGone,
    Segment,
    SegmentFull,
    SharedDeque,
    SharedMap,
    TooLarge,
    TransactionError,
    TransactionTooLarge,
)

KIB, MIB = 1024, 1024 * 1024


@pytest.fixture
def segment():
    with Segment(size="256 KiB") as opened:
        yield opened
        assert opened.check() == []


# --- objects under keys


def test_an_int_constructed_in_a_segment_is_found_again():
    with Segment("numbers") as segment:
        segment.construct(AtomicInt, "n", 42).close()
        with Segment("numbers", create=False) as again:
            found = again.find("n")
            assert found == 42
            found.add(1)
            assert segment["n"] == 43


def test_keys_are_found_walked_in_order_and_counted(segment):
    assert len(segment) == 0 and list(segment) == [] and segment.find("a") is None
    for key in ("b", "a", "ключ", "c"):
        segment.construct(SharedMap, key, {"key": key})
    assert segment.destroy("a") is True and segment.destroy("a") is False
    segment.construct(SharedMap, "a")
    assert list(segment) == segment.keys() == ["b", "ключ", "c", "a"] and len(segment) == 4
    assert segment["ключ"]["key"] == "ключ"
    assert "a" in segment and "d" not in segment and 5 not in segment and "a/b" not in segment
    with pytest.raises(KeyError, match="d"):
        segment["d"]


def test_each_key_has_one_object(segment):
    first = segment.construct(SharedMap, "m", {"a": 1})
    with pytest.raises(AlreadyExists, match="m"):
        segment.construct(SharedMap, "m")
    same = segment.find_or_construct(SharedMap, "m", {"never": "used"})
    first["b"] = 2
    assert dict(same) == {"a": 1, "b": 2}
    with pytest.raises(MismatchError, match="SharedMap"):
        segment.find_or_construct(SharedDeque, "m")


def test_arguments_reach_the_type(segment):
    deque = segment.construct(SharedDeque, "d", [1, 2, 3], maxlen=2)
    assert list(deque) == [2, 3] and deque.maxlen == 2
    with pytest.raises(TypeError, match="given by the segment"):
        segment.construct(SharedDeque, "e", name="other")


@pytest.mark.parametrize("wrong", [int, "SharedMap", None, Segment, type])
def test_only_shared_types_stand_in_a_segment(segment, wrong):
    with pytest.raises(TypeError, match="cannot stand in a segment"):
        segment.construct(wrong, "k")
    assert len(segment) == 0


@pytest.mark.parametrize("key", ["", "a" * 300, "a\0b", "..", "\ud800"])
def test_odd_keys_are_refused(segment, key):
    with pytest.raises(InvalidName):
        segment.construct(SharedMap, key)
    with pytest.raises(InvalidName):
        segment.find(key)
    assert key not in segment


def test_missing_arguments_are_told(segment):
    with pytest.raises(TypeError, match="a type and a key"):
        segment.construct(SharedMap)
    with pytest.raises(TypeError):
        segment.find(7)


def test_a_handle_of_a_destroyed_object_says_so(segment):
    gone, number = segment.construct(SharedMap, "m"), segment.construct(AtomicInt, "n")
    segment.destroy("m")
    segment.destroy("n")
    segment.construct(SharedMap, "m", {"a": 1})
    segment.construct(AtomicInt, "n", 5)
    for use in (lambda: gone["a"], lambda: gone.update(b=1), number.load, number.add):
        with pytest.raises(ObjectGone):
            use()


def test_a_thousand_objects_come_and_go(segment):
    before = None
    for _ in range(4):
        for i in range(250):
            segment.construct(AtomicInt, f"n{i}", i)
        assert [segment[f"n{i}"].load() for i in range(0, 250, 10)] == list(range(0, 250, 10))
        for i in range(250):
            assert segment.destroy(f"n{i}")
        after = segment.stats()
        assert before is None or after.used == before.used
        before = after


# --- sizes


@pytest.mark.parametrize(
    ("size", "bytes_"),
    [("64 KiB", 64 * KIB), ("64KiB", 64 * KIB), (100000, 102400), ("1.5 MiB", 1572864),
     ("1 MB", 1003520), ("0.1 GB", 100003840)],
)  # fmt: skip
def test_sizes_are_bytes_or_text(size, bytes_):
    with Segment(size=size) as segment:
        assert segment.stats().size == segment.stats().max_size == bytes_


@pytest.mark.parametrize("size", [0, -1, "", "big", "10 MiBs", "-1 KiB", "nan", "inf", 2**200])
def test_senseless_sizes_are_refused(size):
    with pytest.raises(ValueError, match="size"):
        Segment(size=size)


@pytest.mark.parametrize("size", [1.5, None, b"10", True, [1]])
def test_sizes_of_other_types_are_refused(size):
    with pytest.raises(TypeError, match="size"):
        Segment(size=size)


def test_limits_of_sizes():
    with pytest.raises(ValueError, match="less than size"):
        Segment(size="1 MiB", max_size="64 KiB")
    with pytest.raises(TooLarge):
        Segment(size="64 KiB", max_size="1000 TiB")


def test_a_segment_grows_up_to_its_limit_and_says_when_it_is_full():
    with Segment(size="64 KiB", max_size="1 MiB") as segment:
        table = segment.construct(SharedMap, "m")
        with pytest.raises(SegmentFull) as full:
            for i in range(10000):
                table[i] = b"x" * 1000
        assert isinstance(full.value, MemoryError)
        stats = segment.stats()
        assert stats.size == stats.max_size == MIB and 600 < len(table) < 1000
        segment.destroy("m")
        assert segment.check() == [] and segment.stats().used < 10 * KIB
        segment.construct(SharedMap, "m", {i: b"y" * 1000 for i in range(600)})


def test_stats_are_an_immutable_named_tuple(segment):
    stats = segment.stats()
    assert stats.members == 1 and stats.objects == stats.blocks == stats.used == 0
    assert 0 < stats.free < stats.size == stats[0] == 256 * KIB
    with pytest.raises(AttributeError):
        stats.free = 1


# --- transactions


def test_a_transaction_is_all_or_nothing_against_exceptions(segment):
    table = segment.construct(SharedMap, "m", {"a": 1})
    items = segment.construct(SharedDeque, "d", [1, 2])
    segment.construct(SharedMap, "doomed", {"x": 1})
    before = segment.stats()
    with pytest.raises(ZeroDivisionError):  # noqa: SIM117
        with segment.transaction():
            table["b"] = 2
            del table["a"]
            items.append(3)
            segment.construct(SharedMap, "new", {i: i for i in range(100)})
            segment.destroy("doomed")
            assert list(segment) == ["m", "d", "new"] and dict(table) == {"b": 2}
            1 / 0  # noqa: B018
    assert dict(table) == {"a": 1} and list(items) == [1, 2]
    assert list(segment) == ["m", "d", "doomed"] and segment["doomed"]["x"] == 1
    assert segment.stats() == before
    with segment.transaction():
        table["b"] = 2
        items.append(3)
    assert dict(table) == {"a": 1, "b": 2} and list(items) == [1, 2, 3]


def test_a_nested_transaction_is_a_savepoint(segment):
    table = segment.construct(SharedMap, "m")
    with segment.transaction():
        table["outer"] = 1
        with pytest.raises(KeyError), segment.transaction():
            table["outer"] = 2
            table["inner"] = 1
            raise KeyError
        assert dict(table) == {"outer": 1}
        with segment.transaction():
            table["kept"] = 1
    assert dict(table) == {"outer": 1, "kept": 1}
    with pytest.raises(ZeroDivisionError), segment.transaction():
        with segment.transaction():
            table["committed inside"] = 1
        1 / 0  # noqa: B018
    assert dict(table) == {"outer": 1, "kept": 1}


def test_words_that_change_without_the_lock_take_no_part(segment):
    number = segment.construct(AtomicInt, "n")
    with pytest.raises(ZeroDivisionError), segment.transaction():
        number.add(5)
        1 / 0  # noqa: B018
    assert number == 5


def test_an_object_of_an_undone_construction_is_gone(segment):
    with pytest.raises(ZeroDivisionError), segment.transaction():
        number, table = segment.construct(AtomicInt, "n", 1), segment.construct(SharedMap, "m")
        assert number.add(1) == 2
        table["a"] = 1
        1 / 0  # noqa: B018
    other = segment.construct(AtomicInt, "n", 7)
    for use in (number.add, lambda: table["a"], lambda: table.update(a=2)):
        with pytest.raises(ObjectGone):
            use()
    assert other == 7


def test_transactions_end_in_order_once_and_in_their_thread(segment):
    table = segment.construct(SharedMap, "m")
    outer, inner = segment.transaction(), segment.transaction()
    with pytest.raises(TransactionError, match="not open"):
        outer.__exit__(None, None, None)
    outer.__enter__()
    inner.__enter__()
    assert outer.open and inner.open
    with pytest.raises(TransactionError, match="reverse order"):
        outer.__exit__(None, None, None)
    with pytest.raises(TransactionError, match="entered once"):
        inner.__enter__()
    errors = []

    def leave():
        try:
            inner.__exit__(None, None, None)
        except TransactionError as error:
            errors.append(str(error))

    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()
    assert len(errors) == 1 and "another thread" in errors[0]
    table["a"] = 1
    inner.__exit__(None, None, None)
    outer.__exit__(None, None, None)
    assert not outer.open and table["a"] == 1
    with pytest.raises(TransactionError, match="entered once"):
        outer.__enter__()


def test_a_forgotten_transaction_is_undone(segment):
    table = segment.construct(SharedMap, "m")
    transaction = segment.transaction()
    transaction.__enter__()
    table["a"] = 1
    del transaction
    gc.collect()
    assert dict(table) == {}


def test_a_second_thread_waits_and_its_timeout_says_for_whom(segment):
    table = segment.construct(SharedMap, "m")
    told, order = [], []

    def late():
        try:
            with segment.transaction(timeout=0.05):
                pass
        except ipcsys.Timeout as error:
            told.append(str(error))
        with pytest.raises(TimeoutError), segment.transaction(timeout=0):
            pass
        with segment.transaction():
            order.append(dict(table))

    with segment.transaction():
        thread = threading.Thread(target=late)
        thread.start()
        while not told:
            thread.join(0.01)
        table["a"] = 1
        order.append("first")
    thread.join()
    assert order == ["first", {"a": 1}] and "process" in told[0]


def test_another_task_of_the_thread_gets_an_error_instead_of_a_deadlock(segment):
    table = segment.construct(SharedMap, "m")

    async def main():
        inside, done = asyncio.Event(), asyncio.Event()

        async def first():
            with segment.transaction():
                table["first"] = 1
                inside.set()
                await done.wait()

        async def second():
            await inside.wait()
            uses = [
                lambda: segment.transaction().__enter__(),
                lambda: table.update(second=2),
                lambda: segment.construct(SharedMap, "other"),
                lambda: segment.find("m"),
                lambda: segment.destroy("m"),
                lambda: segment.check(),
                lambda: len(segment),
            ]
            for use in uses:
                with pytest.raises(TransactionError, match="another asyncio task"):
                    use()
            done.set()

        await asyncio.gather(first(), second())

    asyncio.run(main())
    assert dict(table) == {"first": 1}
    table["later"] = 1


def test_a_transaction_that_outgrows_its_journal_says_so_and_is_undone():
    with Segment(size="1 MiB") as segment:
        table = segment.construct(SharedMap, "m")
        with pytest.raises(SegmentFull):  # so the journal cannot go on in the heap
            for i in range(100000):
                table[i] = i
        full = len(table)
        with pytest.raises(TransactionTooLarge, match="smaller parts"), segment.transaction():
            for i in range(full):
                del table[i]
        assert len(table) == full and segment.check() == []
        with segment.transaction():
            for i in range(100):
                del table[i]
        assert len(table) == full - 100 and segment.check() == []


def test_a_large_transaction_is_undone_as_well(segment):
    with Segment(size="256 KiB", max_size="64 MiB") as segment:
        table = segment.construct(SharedMap, "m", {-1: -1})
        with pytest.raises(ZeroDivisionError), segment.transaction():
            for i in range(20000):
                table[i] = i
            1 / 0  # noqa: B018
        assert dict(table) == {-1: -1} and segment.check() == []
        with segment.transaction():
            for i in range(20000):
                table[i] = i
        assert len(table) == 20001 and segment.check() == []


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", []])
def test_senseless_timeouts_are_refused(segment, timeout):
    with pytest.raises((ValueError, TypeError), match="timeout"):
        segment.transaction(timeout=timeout)


def test_a_transaction_belongs_to_its_segment_alone(segment):
    table = segment.construct(SharedMap, "m")
    with Segment(size="64 KiB") as other:
        theirs = other.construct(SharedMap, "m")
        with pytest.raises(ZeroDivisionError), segment.transaction():
            table["a"] = theirs["a"] = 1
            1 / 0  # noqa: B018
        assert dict(table) == {} and dict(theirs) == {"a": 1}


def test_one_file_has_one_transaction_however_often_it_is_opened():
    with Segment("twice", "64 KiB") as one, Segment("twice") as two:
        table = two.construct(SharedMap, "m")
        with pytest.raises(ZeroDivisionError), one.transaction():
            table["a"] = 1
            with two.transaction():
                table["b"] = 1
            1 / 0  # noqa: B018
        assert dict(table) == {}


# --- opening and handles


def test_create_says_what_may_be_there():
    with pytest.raises(NotFound, match="s"):
        Segment("s", create=False)
    with Segment("s", "128 KiB", create=True) as segment:
        with pytest.raises(AlreadyExists):
            Segment("s", create=True)
        with pytest.raises(InUse):
            Segment("s", create="new")
        assert Segment("s", "1 GiB").stats().size == 128 * KIB  # the creator's size counts
        segment.construct(AtomicInt, "n")
    gc.collect()
    with Segment("s", "64 KiB", create="new") as segment:
        assert "n" not in segment and segment.stats().size == 64 * KIB


def test_another_kind_of_object_under_the_name_is_told():
    lock = Lock(name="taken")
    with pytest.raises(MismatchError, match="taken"):
        Segment("taken")
    lock.close()
    with Segment("mine", "64 KiB"), pytest.raises(MismatchError, match="mine"):
        Lock(name="mine")


def test_a_removed_name_is_free_and_its_holders_go_on():
    with Segment("s", "64 KiB") as segment:
        segment.construct(AtomicInt, "n", 1)
        with pytest.raises(InUse):
            Segment.remove("s")
        segment.request_shutdown()
        segment.request_shutdown()
        assert segment.shutdown_requested and segment["n"] == 1
        with pytest.raises(NotFound):
            Segment("s", create=False)
        with Segment("s", "64 KiB") as other:
            assert "n" not in other and not other.shutdown_requested
    Segment.remove("s")
    with pytest.raises(NotFound):
        Segment("s", create=False)


def test_the_last_user_takes_the_segment_along():
    segment, again = Segment("s", "64 KiB", cleanup="last"), Segment("s")
    segment.close()
    Segment("s", create=False).close()
    again.close()
    with pytest.raises(NotFound):
        Segment("s", create=False)


def test_a_closed_segment_says_so_and_its_objects_stay():
    segment = Segment(size="64 KiB")
    table = segment.construct(SharedMap, "m", {"a": 1})
    transaction = segment.transaction()
    segment.close()
    segment.close()
    assert segment.closed and segment.name is None and table["a"] == 1
    table["b"] = 2
    uses = [
        segment.stats, segment.check, segment.keys, segment.request_shutdown, segment.transaction,
        lambda: len(segment), lambda: segment.find("m"), lambda: segment["m"],
        lambda: "m" in segment, lambda: iter(segment), lambda: pickle.dumps(segment),
        lambda: segment.construct(SharedMap, "x"), lambda: segment.destroy("m"),
        transaction.__enter__, segment.__enter__,
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(Closed):
            use()


def test_closing_inside_a_transaction_does_not_end_it():
    with Segment("s", "64 KiB") as other:
        segment = Segment("s")
        table = segment.construct(SharedMap, "m")
        with segment.transaction():
            table["a"] = 1
            segment.close()
            table["b"] = 2
        assert dict(other["m"]) == {"a": 1, "b": 2}


def test_a_segment_is_pickled_by_name_or_by_ticket():
    for name in ("s", None):
        with Segment(name, "64 KiB") as segment:
            table = segment.construct(SharedMap, "m", {"a": 1})
            for thing in (segment, table):
                again = pickle.loads(pickle.dumps(thing))
                again = again["m"] if thing is segment else again
                again["b"] = 2
                assert table.pop("b") == 2
                again.close()
            pickled = pickle.dumps(segment)
            table.close()
    gc.collect()
    pickle.loads(pickled).close()  # what was pickled is good for one use, even now
    with pytest.raises(ObjectGone):
        pickle.loads(pickled)


def test_a_pickled_name_never_leads_to_another_segment():
    segment = Segment("s", "64 KiB")
    pickled = pickle.dumps(segment)
    segment.request_shutdown()
    with Segment("s", "64 KiB"), pytest.raises(ObjectGone, match="another"):
        pickle.loads(pickled)
    segment.close()
    with pytest.raises(ipcsys.FormatError):
        Segment._restore(ipcsys._core.folder(), "s", "no proof")


class Mine(Segment):
    note = None


def test_subclasses_and_weak_references_work():
    with Mine("s", "64 KiB") as segment:
        segment.note = "mine"
        again = pickle.loads(pickle.dumps(segment))
        assert type(again) is Mine and again.note == "mine" and again.name == "s"
        assert weakref.ref(segment)() is segment and "Mine" in repr(segment)
        assert segment.construct(AtomicInt, "n", 1) == 1
        again.close()


def test_names_of_segments_must_be_names():
    for name in ("", "a/b", "..", "a\0b", "\ud800", "x" * 300):
        with pytest.raises(InvalidName):
            Segment(name)
    with pytest.raises(TypeError):
        Segment(7)
    with pytest.raises(ValueError, match="create"):
        Segment("s", create="maybe")


def test_a_segment_larger_than_the_machine_is_refused_at_once_and_takes_nothing():
    before = shutil.disk_usage(os.environ["IPCSYS_DIR"]).free
    with pytest.raises(ipcsys.NoSpace):
        ipcsys.Segment("huge", size="900 GiB")
    assert shutil.disk_usage(os.environ["IPCSYS_DIR"]).free > before - (64 << 20)
    with pytest.raises(ipcsys.NotFound):
        ipcsys.Segment("huge", create=False)
