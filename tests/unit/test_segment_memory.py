# SPDX-License-Identifier: Apache-2.0
"""What a segment does with its memory: trim(), stats(), blocks used again."""

import itertools
import pathlib
import pickle

import pytest

from ipcsys import Closed, Segment, SegmentFull, SharedMap, TransactionError, _core

_numbers = itertools.count()


@pytest.fixture
def segment():
    name = f"memory {next(_numbers)}"
    with Segment(name, "1 MiB", "32 MiB", cleanup="last") as made:
        yield made


def test_trim_gives_free_memory_back_and_takes_it_again(segment):
    kept = segment.construct(SharedMap, "kept", {"key": "value" * 1000})
    large = segment.construct(SharedMap, "large", {n: bytes(100_000) for n in range(100)})
    large.close()
    segment.destroy("large")
    before = segment.stats()
    given_back = segment.trim()
    after = segment.stats()
    assert given_back > 9_000_000
    assert after.memory == before.memory - given_back < 1_000_000
    assert after.size == before.size and after.used == before.used
    assert segment.check() == [] and kept == {"key": "value" * 1000}
    kept["again"] = b"x" * 5_000_000
    assert segment.stats().memory > 5_000_000
    assert segment.check() == [] and kept["again"] == b"x" * 5_000_000


def test_trim_of_what_is_in_use_gives_nothing_back(segment):
    segment.construct(SharedMap, "kept", {n: b"y" * 20_000 for n in range(50)})
    segment.trim()
    assert segment.trim() == 0
    assert segment["kept"] == {n: b"y" * 20_000 for n in range(50)}


def test_trim_gives_nothing_back_while_a_pickled_handle_is_under_way():
    segment = Segment(size="4 MiB")
    ticket = pickle.dumps(segment)
    assert segment.trim() == 0
    pickle.loads(ticket).close()
    assert segment.trim() > 3_000_000


def test_trim_refuses_a_transaction_and_a_closed_handle(segment):
    with segment.transaction(), pytest.raises(TransactionError, match="trim"):
        segment.trim()
    other = Segment(segment.name)
    other.close()
    with pytest.raises(Closed):
        other.trim()


def test_every_byte_of_the_heap_is_used_free_or_overhead(segment):
    heap = sum(segment.stats()[name] for name in (2, 3, 7))
    things = segment.construct(SharedMap, "things")
    for n in range(200):
        things[n] = b"z" * (n * 37 % 5000)
        stats = segment.stats()
        assert stats.used + stats.free + stats.overhead == heap + stats.size - 2**20
        assert stats.largest_free <= stats.free
    assert segment.check() == []


def test_the_largest_free_block_can_be_had_in_one_piece():
    segment = Segment(size="1 MiB")
    things = segment.construct(SharedMap, "things", {n: b"z" * 9000 for n in range(40)})
    for n in range(0, 40, 2):
        del things[n]
    largest = segment.stats().largest_free
    with pytest.raises(SegmentFull):
        things["too large"] = b"z" * (largest + 64)
    things["large"] = b"z" * (largest - 128)


def test_a_value_rewritten_in_one_operation_takes_memory_once():
    segment = Segment(size="1 MiB")
    things = segment.construct(SharedMap, "things", {"key": b"short"})
    # together far more than the segment has
    things.update([("key", bytes([n]) * (100_000 + n)) for n in range(100)])
    assert things["key"] == bytes([99]) * 100_099
    assert segment.check() == []


def test_the_heap_does_not_fall_to_pieces_in_a_long_life():
    young, old = _core.measure_wear(40_000), _core.measure_wear(300_000)
    for facts in (young, old):
        assert facts["live"] <= facts["used"] <= facts["size"]
        assert facts["size"] < 1.4 * facts["peak"]
        assert facts["largest_free"] <= facts["free"]
    assert old["size"] / old["peak"] < young["size"] / young["peak"] + 0.05
    for rounds in (0, -1, 10**10):
        with pytest.raises(ValueError, match="rounds must be"):
            _core.measure_wear(rounds)


def test_huge_pages_are_a_wish_that_stats_answer():
    plain = Segment(size="4 MiB")
    assert plain.stats().huge_pages == 0
    segment = Segment(size="4 MiB", huge_pages=True)
    enabled = pathlib.Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
    granted = enabled.exists() and "[never]" not in enabled.read_text()
    assert segment.stats().huge_pages == (granted and "[deny]" not in enabled.read_text())
    things = segment.construct(SharedMap, "things", {"key": b"v" * 3_000_000})
    assert things["key"] == b"v" * 3_000_000
    assert segment.check() == []
