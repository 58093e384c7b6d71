# SPDX-License-Identifier: Apache-2.0
"""Quotas: how much of a segment one process may have in use."""

import mmap
import os
import struct

import pytest

from ipcsys import (
    MemberQuota,
    NotFound,
    QuotaExceeded,
    Record,
    Segment,
    SegmentFull,
    SharedArray,
    SharedDeque,
    SharedMap,
    SharedString,
    _core,
)

SEAL = 0x9107A5EA1ED0B0ED
MINE = os.getpid()


class Note(Record):
    title: str


@pytest.fixture
def segment():
    with Segment("quotas", "1 MiB", "32 MiB", cleanup="last") as made:
        yield made
        assert made.check() == []


def used(segment):
    (row,) = segment.quotas()
    assert row.pid == os.getpid()
    assert segment.stats().charged == row.used
    return row.used


def test_without_a_quota_nothing_is_counted(segment):
    segment.construct(SharedMap, "m", {1: "v" * 5000})
    assert segment.quotas() == []
    assert segment.stats()[-2:] == (0, 0)


def test_a_quota_is_what_a_process_may_have_and_no_more(segment):
    segment.set_quota("100 KiB")
    assert segment.stats().quota == 102400 and segment.quotas() == []
    things = segment.construct(SharedMap, "m")
    with pytest.raises(QuotaExceeded, match=r"^the quota .* may have 102400 bytes .* set_quota"):
        for n in range(10_000):
            things[n] = "v" * 100
    assert 100_000 < used(segment) <= 102400
    assert len(things) > 300 and set(things.values()) == {"v" * 100}
    del things[0]
    things[0] = "again"


def test_what_goes_beyond_is_undone_whole(segment):
    things = segment.construct(SharedMap, "m", {"kept": 1})
    segment.set_quota("64 KiB")
    before = used(segment) if segment.quotas() else 0
    with pytest.raises(QuotaExceeded):
        things.update({n: "v" * 1000 for n in range(100)})
    with pytest.raises(QuotaExceeded), segment.transaction():
        things["some"] = "v" * 1000
        things["large"] = "v" * 100_000
    assert things == {"kept": 1} and segment.stats().charged == before


def test_it_is_a_segment_full_and_a_memory_error(segment):
    segment.set_quota(1)
    with pytest.raises(SegmentFull):
        segment.construct(SharedMap, "m")
    with pytest.raises(MemoryError):
        segment.construct(SharedMap, "m")
    assert segment.keys() == []


def test_what_is_freed_can_be_had_again(segment):
    segment.set_quota("1 MiB")
    things = segment.construct(SharedDeque, "d")
    empty = used(segment)
    for _ in range(20):
        things.extend(["v" * 3000] * 150)
        assert used(segment) > 450_000
        while things:
            things.popleft()
    things.clear()
    segment.destroy("d")
    assert empty > 1000 and used(segment) < 500  # the table of names


def test_clear_makes_room_for_oneself(segment):
    segment.set_quota("1 MiB")
    things = segment.construct(SharedMap, "m", {n: "v" * 900 for n in range(700)})
    things.clear()  # the values go bit by bit
    things["large"] = b"x" * 800_000
    assert things["large"] == b"x" * 800_000


@pytest.mark.parametrize("kind", [SharedMap, SharedDeque])
def test_beyond_the_quota_one_can_always_clear_and_destroy(kind, segment):
    segment.set_quota("1 MiB")
    things = segment.construct(kind, "x", [(n, "v" * 500) for n in range(500)])
    segment.construct(kind, "y", [(n, "v" * 500) for n in range(500)])
    segment.set_quota(100)
    with pytest.raises(QuotaExceeded):
        segment.construct(kind, "z")
    things.clear()
    assert segment.destroy("x") and segment.destroy("y")
    assert segment.stats().used < 20_000


@pytest.mark.parametrize("make", [
    lambda s: s.construct(SharedString, "x", "text" * 500),
    lambda s: s.construct(SharedArray, "x", shape=(1000,), dtype="f8"),
    lambda s: s.construct(Note, "x", "title" * 400),
    lambda s: s.construct(SharedMap, "x", {1: "v" * 2000}, allocator=s.arena()),
    lambda s: s.construct(Note, "x", "title" * 300, allocator=s.pool(2000, 6)),
])  # fmt: skip
def test_all_that_lies_in_blocks_counts(make, segment):
    segment.set_quota("1 MiB")
    thing = make(segment)
    assert used(segment) > 1500
    segment.destroy("x")
    thing.close() if hasattr(thing, "close") else None
    for region in segment.regions():
        region.destroy()
    del thing
    assert used(segment) < 1000


def test_what_was_there_before_the_first_quota_is_the_segments(segment):
    old = segment.construct(SharedMap, "old", {n: "v" * 3000 for n in range(100)})
    segment.set_quota("100 KiB")
    assert segment.quotas() == []
    old.clear()
    segment.destroy("old")
    segment.construct(SharedMap, "new", {n: "v" * 3000 for n in range(20)})
    assert 60_000 < used(segment) < 70_000


def test_a_process_can_have_a_limit_of_its_own(segment):
    segment.set_quota("64 KiB")
    segment.set_quota("1 MiB", pid=MINE)
    assert segment.stats().quota == 1 << 20
    things = segment.construct(SharedMap, "m", {1: b"x" * 500_000})
    assert segment.quotas() == [MemberQuota((MINE, 1 << 20, used(segment)))]
    segment.set_quota(None, pid=MINE)
    things[2] = b"x" * 2_000_000
    assert segment.quotas()[0].limit is None and segment.stats().quota == 0
    with pytest.raises(QuotaExceeded):
        segment.set_quota("1 MiB", pid=MINE)
        things[3] = 1.5


def test_a_quota_can_be_taken_back(segment):
    segment.set_quota("64 KiB")
    segment.set_quota(None)
    segment.construct(SharedMap, "m", {1: b"x" * 500_000})
    assert segment.quotas()[0].limit is None


def test_a_quota_that_is_undone_was_never_there(segment):
    with pytest.raises(ZeroDivisionError), segment.transaction():
        segment.set_quota("64 KiB")
        segment.construct(SharedMap, "m", {n: n for n in range(100)})
        _ = 1 / 0
    assert segment.quotas() == [] and segment.stats().quota == 0
    with segment.transaction():
        segment.set_quota("64 KiB")
        with pytest.raises(ZeroDivisionError), segment.transaction():
            segment.construct(SharedMap, "m", {n: "v" * 200 for n in range(100)})
            _ = 1 / 0
        segment.construct(SharedMap, "m", {n: "v" * 200 for n in range(100)})
    assert used(segment) > 20_000


@pytest.mark.parametrize("wrong", [0, -1, "much", 1.5, True])
def test_senseless_quotas_are_refused(wrong, segment):
    with pytest.raises((TypeError, ValueError), match="size must be"):
        segment.set_quota(wrong)
    with pytest.raises(NotFound, match="no process 999999999"):
        segment.set_quota(1000, pid=999_999_999)
    with pytest.raises(TypeError):
        segment.set_quota(1000, pid="me")
    assert segment.quotas() == []


def test_the_old_life_of_a_mapped_file_has_no_rows(tmp_path):
    path = tmp_path / "file"
    with Segment(path=path, size="1 MiB") as segment:
        segment.set_quota("100 KiB")
        segment.construct(SharedMap, "m", {n: "v" * 1000 for n in range(20)}).close()
        assert used(segment) > 20_000
        segment.snapshot(tmp_path / "copy")
    Segment.remove(path=path)
    with Segment(path=tmp_path / "copy", create=False) as segment:
        assert segment.quotas() == [] and segment.check() == []
        with segment["m"] as things:
            things["more"] = "v" * 50_000
            assert 50_000 < used(segment) < 60_000
            things.clear()
        with pytest.raises(QuotaExceeded):
            segment.construct(SharedMap, "n", {1: b"v" * 200_000})
        assert segment.check() == []
    Segment.remove(path=tmp_path / "copy")


DAMAGE = {"seal": 0, "limit": 8, "owner": 16, "its limit": 24, "its bytes": 32, "the last": 6128}


@pytest.mark.parametrize("number", [0, 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("field", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_table_breaks_nothing(field, number, namespace):
    """Hostile bytes: an error or a wrong sum, which check() names; never a crash."""
    with Segment("damaged", "256 KiB", cleanup="last") as segment:
        segment.set_quota("100 KiB")
        things = segment.construct(SharedMap, "m", {n: "v" * 300 for n in range(50)})
        with (
            open(f"{_core.folder(namespace)}/damaged", "r+b") as file,
            mmap.mmap(file.fileno(), 0) as raw,
        ):
            (table,) = (
                at for at in range(0, len(raw) - 8, 16)
                if struct.unpack_from("<Q", raw, at)[0] == at ^ SEAL
            )
            before = raw[table + field : table + field + 8]
            raw[table + field : table + field + 8] = struct.pack("<Q", number)
            for act in (
                lambda: things.update({n: "w" * 400 for n in range(60)}),
                segment.quotas, segment.stats, things.clear, segment.check,
                lambda: segment.set_quota(None), lambda: segment.set_quota(5000, pid=MINE),
            ):  # fmt: skip
                try:
                    act()
                except _core_errors():
                    pass
            if field in (0, 32) and before != struct.pack("<Q", number):
                assert any("quota" in line for line in segment.check())


def _core_errors():
    import ipcsys

    return ipcsys.Error
