# SPDX-License-Identifier: Apache-2.0
"""Pools and arenas between processes: the same blocks for all, and what a kill leaves."""

import pytest
from child import Child

from ipcsys import ObjectGone, PoolFull, Record, Segment, SegmentFull, SharedCell, SharedMap


class Point(Record):
    x: float


@pytest.fixture
def segment():
    with Segment("regions", "1 MiB", "16 MiB", cleanup="last") as made:
        yield made
        assert made.check() == []


TAKE = """
segment = ipcsys.Segment("regions", create=False)
(pool,) = segment.regions()
n = 0
try:
    while True:
        segment.construct(ipcsys.SharedCell, f"{os.getpid()} {n}", "v" * 100, allocator=pool)
        n += 1
except ipcsys.PoolFull:
    say(n, pool.used)
hear()
"""


def test_processes_take_from_one_pool_and_give_back_to_it(segment):
    pool = segment.pool(200, 40)
    mine = segment.construct(SharedCell, "mine", "v" * 100, allocator=pool)
    each = pool.used
    with Child(TAKE) as one, Child(TAKE) as other:
        first, second = one.hear().split(), other.hear().split()
        made = int(first[0]) + int(second[0])
        assert 40 - 2 * each < (made + 1) * each <= 40  # each needs one more while it is made
        assert pool.used == (made + 1) * each
        with pytest.raises(PoolFull, match=r"^the pool .* all 40 blocks .* 200 bytes"):
            segment.construct(SharedCell, "more", "v" * 100, allocator=pool)
        one.kill()
        assert segment.check() == [] and pool.used == (made + 1) * each
        for key in list(segment):  # what the dead one made is everybody's
            assert segment.destroy(key)
        assert pool.used == 0 and pool.count == 40
        other.say()
        other.finish()
    with pytest.raises(ObjectGone):
        mine.load()


def test_killed_in_a_transaction_it_has_taken_nothing_of_a_pool_or_an_arena(segment):
    pool, arena = segment.pool(200, 20), segment.arena()
    with segment.construct(SharedMap, "m", {1: 1}, allocator=arena):
        pass
    before = (pool.used, arena.used, arena.memory, segment.stats().used)
    code = """
segment = ipcsys.Segment("regions", create=False)
arena, pool = segment.regions()
with segment.transaction():
    for n in range(5):
        segment.construct(ipcsys.SharedCell, f"c{n}", "v" * 100, allocator=pool)
    segment["m"].update({n: "v" * 3000 for n in range(200)})
    segment.destroy("m") if sys.argv[1] == "destroy" else None
    say("inside")
    hear()
"""
    for how in ("keep", "destroy"):
        with Child(code, how) as child:
            child.expect("inside")
            child.kill()
        assert segment["m"] == {1: 1} and segment.keys() == ["m"]
        assert (pool.used, arena.used, arena.memory, segment.stats().used) == before
        assert segment.check() == []


def test_what_one_destroys_is_gone_for_all(segment):
    arena = segment.arena()
    things = segment.construct(SharedMap, "m", {n: "v" * 999 for n in range(50)}, allocator=arena)
    code = """
segment = ipcsys.Segment("regions", create=False)
(arena,) = segment.regions()
things = segment["m"]
say(len(things))
hear()
arena.destroy()
say(segment.regions())
hear()
"""
    used = segment.stats().used
    with Child(code) as child:
        child.expect("50")
        things["more"] = "w" * 999
        child.say()
        child.expect("[]")
        for use in (lambda: things[1], lambda: things.update({1: 2}), lambda: arena.used,
                    lambda: segment.construct(SharedMap, "n", allocator=arena)):  # fmt: skip
            with pytest.raises(ObjectGone):
                use()
        assert segment.keys() == [] and segment.stats().used < used - 50_000
        child.say()
        child.finish()


def test_an_arena_full_in_one_process_is_full_for_none_other_once_it_gives_back(segment):
    arena = segment.arena()
    code = """
segment = ipcsys.Segment("regions", create=False)
(arena,) = segment.regions()
things = segment.construct(ipcsys.SharedMap, "theirs", allocator=arena)
try:
    for n in range(1000):
        things[n] = b"v" * 100_000
except ipcsys.SegmentFull:
    say("full")
hear()
"""
    with Child(code) as child:
        child.expect("full")
        with pytest.raises(SegmentFull):
            segment.construct(SharedMap, "mine", {1: b"v" * 100_000})
        child.kill()
    arena.destroy()
    segment.construct(SharedMap, "mine", {1: b"v" * 5_000_000})
