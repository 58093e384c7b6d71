# SPDX-License-Identifier: Apache-2.0
"""Containers in containers between processes, and through kill -9."""

import pickle
import random
import time

import pytest
from child import Child

import ipcsys
from ipcsys import ObjectGone, Segment, SharedMap, SharedVector

USE = """
import pickle
handle = pickle.loads(bytes.fromhex(hear()))
while True:
    handle.append(hear())
    say(len(handle))
    hear()
    try:
        handle.append("too late")
    except ipcsys.ObjectGone:
        say("gone")
    handle = pickle.loads(bytes.fromhex(hear()))
"""


@pytest.mark.parametrize("alone", [False, True])
def test_another_process_shares_it_and_hears_that_it_went(alone):
    segment = Segment("s", size="2 MiB")
    outer = SharedMap() if alone else segment.construct(SharedMap, "outer")
    with segment, Child(USE) as other:
        for end in (lambda: outer.pop("k"), outer.clear, lambda: outer.update(k=1)):
            outer.pop("k", None)
            handle = outer.construct(SharedVector, "k", ["ours"])
            other.say(pickle.dumps(handle).hex())
            other.say("theirs")
            other.expect("2")
            assert outer == {"k": ["ours", "theirs"]} and handle[1] == "theirs"
            end()
            other.say()
            other.expect("gone")
        assert outer.check() == []


REPLACE = """
segment = ipcsys.Segment("s", create=False)
outer = segment["outer"]
say("ready")
number = 0
while True:
    number += 1
    with segment.transaction():
        outer.pop("row", None)
        row = outer.construct(ipcsys.SharedVector, "row", [number] * 5)
        row.append("x" * 300)
    inner = outer.construct(ipcsys.SharedMap, "map", {1: number, 2: number})
    inner.construct(ipcsys.SharedVector, "deep", [number])
    if number % 3 == 0:
        outer.clear()
    elif number % 3 == 1:
        del outer["map"]
    else:
        outer["map"] = number
        outer.pop("map")
"""


def look_at(outer):
    """What is found is whole, or gone; True for what was found."""
    try:
        row = outer.get("row")
        found = row is not None and row.copy()
    except ObjectGone:
        found = False
    if found:
        assert found == [found[0]] * 5 + ["x" * 300]
    copy = outer.copy()
    assert set(copy) <= {"row", "map"}
    inner = copy.get("map")
    if isinstance(inner, dict):
        assert inner[1] == inner[2] and inner.get("deep", [inner[1]]) == [inner[1]]
    return bool(found)


def test_readers_meet_whole_ones_or_none():
    with Segment("s", size="2 MiB") as segment:
        outer = segment.construct(SharedMap, "outer")
        with Child(REPLACE) as writer:
            writer.expect("ready")
            seen = 0
            end = time.monotonic() + 0.6
            while time.monotonic() < end or seen < 5:
                seen += look_at(outer)
                assert time.monotonic() < end + 20
            writer.kill()
        assert segment.check() == []


def test_killed_writers_leave_no_byte_behind():
    dice = random.Random(2)
    with Segment("s", size="2 MiB") as segment:
        for round_ in range(6):
            outer = segment.construct(SharedMap, "outer")
            with Child(REPLACE) as writer:
                writer.expect("ready")
                time.sleep(dice.random() * 0.03)
                writer.kill()
            assert segment.check() == []  # leaks too
            look_at(outer)
            segment.destroy("outer")
            assert segment.check() == [] and segment.find("outer") is None
            if round_ == 0:
                used = segment.stats().used
            assert segment.stats().used == used
            outer.close()


FILL = """
segment = ipcsys.Segment("s", create=False)
outer = segment["outer"]
outer.construct(ipcsys.SharedMap, "large", {number: "x" * 60 for number in range(int(sys.argv[1]))})
say("ready")
del outer["large"]
say("done")
"""


def test_what_a_killed_one_had_still_to_give_back_the_next_writer_gives_back():
    """A map is gone in a few stores; its memory comes back step by step, by whom it may."""
    with Segment("s", size="4 MiB", max_size="32 MiB") as segment:
        outer = segment.construct(SharedMap, "outer")
        outer["a"] = 1
        used = segment.stats().used
        for delay in (0.0, 0.001, 0.003):
            with Child(FILL, 20000) as writer:
                writer.expect("ready")
                time.sleep(delay)
                writer.kill()
            if "large" in outer:
                outer.pop("large")
            assert segment.check() == []
            for number in range(3000):
                outer["a"] = number  # each gives back a little
                if segment.stats().used == used:
                    break
            assert segment.stats().used == used


def test_a_reader_waits_for_no_transaction_that_leaves_the_map_alone():
    with Segment("s", size="2 MiB") as segment:
        outer = segment.construct(SharedMap, "outer")
        outer.construct(SharedVector, "k", [1])
        segment.construct(SharedMap, "other")
        holder = """
segment = ipcsys.Segment("s", create=False)
with segment.transaction():
    segment["other"]["x"] = 1
    say("inside")
    hear()
"""
        with Child(holder) as writer:
            writer.expect("inside")
            assert outer["k"][0] == 1 and len(outer["k"]) == 1  # no lock is needed for either
            writer.say()


def test_an_old_handle_is_not_taken_in_by_a_new_segment_of_the_name():
    with Segment("s", size="1 MiB") as segment:
        handle = segment.construct(SharedMap, "m").construct(SharedVector, "v", [1])
        data = pickle.dumps(handle)
        handle.close()
    Segment.remove("s")
    with Segment("s", size="1 MiB") as segment:
        segment.construct(SharedMap, "m").construct(SharedVector, "v", [2])
        with pytest.raises(ipcsys.ObjectGone):
            pickle.loads(data)
