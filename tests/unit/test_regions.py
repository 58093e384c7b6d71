# SPDX-License-Identifier: Apache-2.0
"""Pools and arenas: where objects' memory comes from, and what goes with them."""

import copy
import itertools
import os
import pathlib
import pickle
import struct
import threading
import time

import pytest

from ipcsys import (
    Arena,
    AtomicInt,
    Closed,
    CorruptionError,
    Error,
    Lock,
    ObjectGone,
    Pool,
    Record,
    Segment,
    SegmentFull,
    SharedArray,
    SharedBytes,
    SharedCell,
    SharedDeque,
    SharedMap,
    SharedString,
    SharedVector,
    TransactionError,
)

_numbers = itertools.count()


class Point(Record):
    x: float
    y: float = 0.0


class Odd(Record):
    allocator: str


@pytest.fixture
def segment():
    with Segment(f"regions {next(_numbers)}", "1 MiB", "32 MiB", cleanup="last") as made:
        yield made
        assert made.check() == []


def test_a_pool_holds_what_was_promised_and_no_more(segment):
    pool = segment.pool(64, 6)
    assert (pool.size, pool.count, pool.used) == (64, 6, 0)
    assert pool.memory >= 6 * 64 and pool.segment is segment
    before = segment.stats().used
    points = [segment.construct(Point, f"p{n}", n, y=2, allocator=pool) for n in range(3)]
    assert [(p.x, p.y) for p in points] == [(0.0, 2.0), (1.0, 2.0), (2.0, 2.0)]
    assert pool.used == 6
    used = segment.stats().used
    with pytest.raises(SegmentFull, match="^the pool .* all 6 blocks .* are in use"):
        segment.construct(Point, "p3", 3, allocator=pool)
    assert "p3" not in segment and segment.stats().used == used > before
    segment.destroy("p1")
    assert pool.used == 4
    assert segment.construct(Point, "p4", 4, allocator=pool).x == 4.0
    assert segment.check() == []


def test_a_pool_keeps_its_memory_for_its_objects(segment):
    memory = segment.stats()
    pool = segment.pool(100, 2000)
    assert memory.free - segment.stats().free < 2000  # it is set apart, not used
    whole = pool.memory
    for n in range(3):
        segment.construct(Point, f"p{n}", n, allocator=pool)
    for n in range(3):
        segment.destroy(f"p{n}")
    assert (pool.used, pool.memory) == (0, whole)
    pool.destroy()
    assert (segment.stats().used, segment.stats().free) >= (memory.used, memory.free - 40_000)


def test_a_pool_refuses_what_is_too_large_for_its_blocks(segment):
    pool = segment.pool(100, 10)
    with pytest.raises(SegmentFull, match="^the pool .* blocks of 100 bytes cannot hold 256"):
        segment.construct(SharedMap, "m", {n: n for n in range(100)}, allocator=pool)
    assert "m" not in segment and pool.used == 0


def test_pools_of_many_blocks_have_all_of_them(segment):
    pool = segment.pool("24 B", 150_000)
    assert pool.memory >= 150_000 * 32
    assert segment.stats().size > 150_000 * 32
    assert segment.check() == []
    pool.destroy()


@pytest.mark.parametrize(
    ("size", "count", "error"),
    [(0, 1, ValueError), (2041, 1, ValueError), (-1, 1, ValueError), (64, 0, ValueError),
     (64, -5, ValueError), (None, 1, TypeError), (64, 1.5, TypeError), (64, 2**80, OverflowError),
     (64, 2**62, SegmentFull), (2040, 100_000, SegmentFull)],
)
def test_impossible_pools_are_refused_and_take_nothing(segment, size, count, error):
    before = segment.stats()
    with pytest.raises(error):
        segment.pool(size, count)
    after = segment.stats()
    assert (after.used, after.overhead, after.pools) == (before.used, before.overhead, 0)


GROWING = [
    (SharedMap, lambda m: m.update({f"k{n}": "v" * n for n in range(300)})),
    (SharedVector, lambda v: v.extend("x" * n for n in range(300))),
    (SharedDeque, lambda d: d.extend("x" * n for n in range(300))),
    (SharedString, lambda s: s.append("text" * 5000)),
    (SharedBytes, lambda b: b.extend(b"text" * 5000)),
    (SharedCell, lambda c: c.store("value" * 1000)),
]


@pytest.mark.parametrize(("kind", "grow"), GROWING, ids=[kind.__name__ for kind, _ in GROWING])
def test_what_an_object_grows_by_comes_from_its_arena(segment, kind, grow):
    arena = segment.arena()
    thing = segment.construct(kind, "thing", allocator=arena)
    before, outside = arena.used, segment.stats().blocks - arena.used
    assert before > 0
    grow(thing)
    assert arena.used > before or arena.memory > 5000
    assert segment.stats().blocks - arena.used == outside
    assert segment.check() == []
    segment.destroy("thing")
    assert arena.used == 0 and segment.check() == []


def test_a_push_that_had_to_wait_takes_its_memory_from_the_arena_too(segment):
    arena = segment.arena()
    deque = segment.construct(SharedDeque, "d", ["x" * 900], maxlen=1, allocator=arena)
    outside = segment.stats().blocks - arena.used
    pusher = threading.Thread(target=deque.push, args=("y" * 900,), kwargs={"timeout": 10})
    pusher.start()
    time.sleep(0.05)  # so that it waits
    assert deque.pop(timeout=10) == "x" * 900
    pusher.join(10)
    assert list(deque) == ["y" * 900]
    assert segment.stats().blocks - arena.used == outside


def test_destroying_an_arena_ends_its_objects_and_leaves_the_others(segment):
    arena = segment.arena()
    mine = segment.construct(SharedMap, "mine", {n: "v" * 3000 for n in range(20)}, allocator=arena)
    point = segment.construct(Point, "point", 1, allocator=arena)
    other = segment.construct(Point, "other", 2)  # shares the layout that `point` brought
    kept = segment.construct(SharedMap, "kept", {"a": "b" * 3000})
    assert arena.memory > 60_000
    free = segment.stats().free
    arena.destroy()
    assert segment.keys() == ["other", "kept"]
    for look in (lambda: mine[0], lambda: point.x, lambda: arena.used, arena.destroy):
        with pytest.raises(ObjectGone):
            look()
    with pytest.raises(ObjectGone, match="this arena was destroyed"):
        segment.construct(SharedMap, "late", allocator=arena)
    assert (other.x, kept) == (2.0, {"a": "b" * 3000})
    assert segment.stats().free > free + 60_000 and segment.regions() == []
    assert segment.check() == []


def test_regions_are_found_by_whoever_opens_the_segment(segment):
    arena, pool = segment.arena(), segment.pool(32, 5)
    with Segment(segment.name, create=False) as other:
        found = other.regions()
        assert found == [pool, arena] and [type(r) for r in found] == [Pool, Arena]
        assert found[0] != arena and len({*found, pool, arena}) == 2
        stats = other.stats()
        assert (stats.pools, stats.arenas) == (1, 1)
        other.construct(SharedCell, "cell", allocator=found[1])
    with pytest.raises(Closed):
        _ = found[1].used
    assert arena.used > 0
    assert repr(pool) == f"<ipcsys.Pool of 5 x 32 bytes in {segment!r}>"
    assert repr(arena) == f"<ipcsys.Arena of {segment!r}>"


def test_regions_take_part_in_transactions(segment):
    arena = segment.arena()
    before = segment.stats()
    with pytest.raises(KeyError), segment.transaction():
        lost = segment.pool(64, 500)
        segment.construct(SharedMap, "m", {n: "v" * 2500 for n in range(50)}, allocator=arena)
        segment.construct(Point, "p", 1, allocator=lost)
        with pytest.raises(TransactionError, match="destroying a pool"):
            lost.destroy()
        raise KeyError
    after = segment.stats()
    assert (after.used, after.blocks) == (before.used, before.blocks)
    assert (arena.used, arena.memory) == (0, 0)
    assert segment.regions() == [arena] and segment.keys() == []
    for use in (lambda: lost.used, lost.destroy):
        with pytest.raises(ObjectGone, match="this pool was destroyed"):
            use()
    with segment.transaction():
        segment.construct(SharedVector, "v", ["x" * 100] * 50, allocator=arena)
        segment.destroy("v")
    assert arena.used == 0 and segment.check() == []


def test_find_or_construct_takes_an_allocator_for_what_it_makes(segment):
    arena = segment.arena()
    segment.find_or_construct(SharedMap, "m", {1: 2}, allocator=arena)
    used = arena.used
    assert segment.find_or_construct(SharedMap, "m", allocator=arena) == {1: 2}
    assert arena.used == used > 0


@pytest.mark.parametrize("kind", [AtomicInt, Lock, SharedArray])
def test_what_stands_in_cells_takes_no_allocator(segment, kind):
    with pytest.raises(TypeError, match="stands in a cell"):
        segment.construct(kind, "n", allocator=segment.arena())


def test_an_allocator_is_a_region_of_this_very_segment(segment):
    with Segment(size="1 MiB") as other:
        with pytest.raises(ValueError, match="of another segment"):
            segment.construct(SharedMap, "m", allocator=other.arena())
    with pytest.raises(TypeError):
        segment.construct(SharedMap, "m", allocator="arena")
    assert segment.keys() == []


def test_the_classes_make_them_too(segment):
    made = [Arena(segment), Pool(segment, 64, count=3)]
    assert segment.regions() == made[::-1]
    wrongs = (lambda: Arena(), lambda: Arena(5), lambda: Pool("s", 1, 1), lambda: Pool(segment))
    for wrong in wrongs:
        with pytest.raises(TypeError):
            wrong()


def test_a_field_may_be_called_allocator(segment):
    odd = segment.construct(Odd, "odd", allocator="none")
    assert odd.allocator == "none"


SEAL = 0x5E91A7C0DE00F00D  # csrc/segment/heap.h
NEXT = 16


def test_a_list_of_regions_that_leads_in_a_circle_is_damage_and_no_end_of_waiting():
    with Segment(f"regions {next(_numbers)}", "256 KiB", cleanup="last") as segment:
        arena = segment.arena()
        segment.pool(64, 4)
        (path,) = pathlib.Path(os.environ["IPCSYS_DIR"]).rglob(segment.name)
        with path.open("r+b") as file:
            data = file.read()
            (at,) = (
                at for at in range(0, len(data) - 24, 16)
                if struct.unpack_from("<QQQ", data, at)[::2] == (at ^ SEAL, 0)
            )
            file.seek(at + NEXT)
            file.write(struct.pack("<Q", at))
        with pytest.raises(CorruptionError, match="has no end"):
            segment.regions()
        assert any("pools and arenas" in line for line in segment.check())
        assert segment.stats().arenas > 0
        with pytest.raises(CorruptionError, match="the list of pools and arenas"):
            arena.destroy()


HEAD = {
    "seal": 0, "generation": 8, "next": 16, "slot": 24, "slots": 32, "live": 40, "bytes": 48,
    "closing": 56, "first runs": 64, "last runs": 312,
}  # fmt: skip


@pytest.mark.parametrize("number", [0, 1, 4096, 2**40 + 64, 2**64 - 16])
@pytest.mark.parametrize("field", HEAD.values(), ids=HEAD)
@pytest.mark.parametrize("kind", ["pool", "arena"])
def test_hostile_bytes_in_a_regions_head_break_nothing(kind, field, number, namespace):
    """Errors, wrong counts, or damage that check() names; never a crash or a hang."""
    with Segment("hostile", "256 KiB", "1 MiB", cleanup="last") as segment:
        region = segment.pool(200, 6) if kind == "pool" else segment.arena()
        segment.construct(SharedCell, "c", "v" * 100, allocator=region)
        segment.construct(SharedMap, "outside", {1: "v" * 500})
        path = pathlib.Path(os.environ["IPCSYS_DIR"]) / namespace / "hostile"
        (path,) = [path] if path.exists() else pathlib.Path(os.environ["IPCSYS_DIR"]).rglob("hostile")
        with path.open("r+b") as file:
            data = file.read()
            (at,) = (
                at for at in range(0, len(data) - 8, 16)
                if struct.unpack_from("<Q", data, at)[0] == at ^ SEAL
            )
            file.seek(at + field)
            file.write(struct.pack("<Q", number))
        for use in (
            lambda: segment.construct(SharedCell, "d", "w" * 150, allocator=region),
            lambda: segment["c"].store("x" * 120), lambda: region.used, segment.regions,
            segment.stats, segment.check, segment.arena, lambda: segment.pool(64, 3),
            lambda: segment.destroy("c"), region.destroy, segment.check,
        ):  # fmt: skip
            try:
                use()
            except Error:
                pass
        assert segment["outside"] == {1: "v" * 500}


@pytest.mark.parametrize("make", [lambda s: s.pool(64, 2), lambda s: s.arena()])
def test_regions_cannot_be_pickled_or_copied(segment, make):
    region = make(segment)
    for save in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            save(region)
