# SPDX-License-Identifier: Apache-2.0
"""Records between processes: old and new programs on one object, and kill -9."""

import multiprocessing
import time

import pytest
from child import Child, until

import ipcsys
from ipcsys import Record, SchemaError, Segment

OLD = """
class Tick(ipcsys.Record, version=1):
    symbol: str
    price: ipcsys.f32
    size: ipcsys.u8 = 1
    venue: str = "somewhere"
segment = ipcsys.Segment("desk", create=False)
"""


class Tick(Record, version=2):
    symbol: str
    last: float = ipcsys.field(renamed_from="price")
    size: int = 1
    note: str = "none"


class Pair(Record):
    one: int = 0
    two: int = 0
    text: str = ""


@pytest.fixture
def segment():
    with Segment("desk", size="1 MiB") as segment:
        yield segment
        assert segment.check() == []


def test_an_old_program_goes_on_while_a_new_one_upgrades_the_record(segment):
    with Child(OLD + """
tick = segment.construct(Tick, "t", "X", 1.5)
say("made")
while tick.venue != "stop":
    tick.update(price=tick.size, symbol="s" * tick.size)
    tick.size = tick.size % 100 + 1
say(sorted(tick.asdict()), tick._layout().version)
""") as old:  # fmt: skip
        old.expect("made")
        time.sleep(0.05)
        tick = segment.find("t", Tick)
        assert tick.note == "none"
        seen = set()
        start = time.monotonic()
        while time.monotonic() < start + 0.5 or (len(seen) < 6 and time.monotonic() < start + 15):
            values = tick.asdict()
            assert values["symbol"] in ("X", "s" * int(values["last"]))
            seen.add(values["size"])
        assert len(seen) > 5, "the old program stood still"
        segment["t"].check()
        older = type("Tick", (Record,), {"__annotations__": {"venue": str}}, version=1)
        segment.find("t", older).venue = "stop"
        old.expect("['price', 'size', 'symbol', 'venue'] 2")


def test_one_of_many_programs_that_start_at_once_migrates(segment):
    old = type("Tick", (Record,), {"__annotations__": {"symbol": str, "price": float}}, name="Tick")
    segment.construct(old, "t", "X", 2.0)
    runs = segment.construct(ipcsys.AtomicInt, "runs")
    code = """
class Tick(ipcsys.Record, version=2):
    symbol: str
    price: str
segment = ipcsys.Segment("desk", create=False)
runs = segment["runs"]
@Tick.migration(from_version=1)
def to_text(values):
    runs.add(1)
    values["price"] = f"{values['price']:.2f} EUR"
say("ready")
hear()
say(segment.find("t", Tick).price)
"""
    children = [Child(code) for _ in range(4)]
    try:
        for child in children:
            child.expect("ready")
        for child in children:
            child.say("go")
        for child in children:
            child.expect("2.00 EUR")
    finally:
        for child in children:
            child.__exit__(None, None, None)
    assert runs.load() == 1


def test_a_death_inside_a_migration_leaves_the_old_record(segment):
    old = type("Tick", (Record,), {"__annotations__": {"symbol": str, "price": float}}, name="Tick")
    record = segment.construct(old, "t", "X", 2.0)
    with Child("""
class Tick(ipcsys.Record, version=2):
    symbol: str
    price: str
@Tick.migration(from_version=1)
def to_text(values):
    say("inside")
    time.sleep(60)
ipcsys.Segment("desk", create=False).find("t", Tick)
""") as child:  # fmt: skip
        child.expect("inside")
        child.kill()
    assert record.asdict() == {"symbol": "X", "price": 2.0}
    assert segment["t"]._layout().version == 1


UPDATE = """
class Pair(ipcsys.Record):
    one: int = 0
    two: int = 0
    text: str = ""
pair = ipcsys.Segment("desk", create=False).find("p", Pair)
say("ready")
number = 0
while True:
    number += 1
    pair.update(one=number, two=-number, text="t" * (number % 50))
"""


def test_updates_are_whole_for_readers_and_through_kills(segment):
    pair = segment.construct(Pair, "p")
    for _ in range(5):
        with Child(UPDATE) as writer:
            writer.expect("ready")
            end = time.monotonic() + 0.1
            while time.monotonic() < end:
                values = pair.asdict()
                assert values["one"] == -values["two"]
                assert values["text"] == "t" * (values["one"] % 50)
            writer.kill()
        values = pair.asdict()
        assert values["one"] == -values["two"] and pair.check() == []
        pair.one, pair.two = values["one"], values["two"]  # the lock is free


def test_single_words_from_many_processes_are_never_torn(segment):
    pair = segment.construct(Pair, "p")
    code = """
class Pair(ipcsys.Record):
    one: int = 0
    two: int = 0
    text: str = ""
pair = ipcsys.Segment("desk", create=False).find("p", Pair)
high = int(sys.argv[1])
say("ready")
while True:
    for number in range(1000):
        pair.one = number << 40 | high
        pair.text = sys.argv[1] * 7
"""
    with Child(code, "1") as one, Child(code, "2") as two:
        one.expect("ready")
        two.expect("ready")
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert pair.one & 0xFF in (0, 1, 2)
            assert pair.text in ("", "1" * 7, "2" * 7)
    assert pair.check() == []


def test_words_changed_one_after_the_other_are_seen_in_that_order(segment):
    pair = segment.construct(Pair, "p")
    code = """
class Pair(ipcsys.Record):
    one: int = 0
    two: int = 0
    text: str = ""
pair = ipcsys.Segment("desk", create=False).find("p", Pair)
number = pair.two
pair.one = number  # the last writer may have died between the two
say("ready")
while True:
    number += 1
    pair.one = number
    pair.two = number
"""
    last = 0
    for _ in range(3):
        with Child(code) as writer:
            writer.expect("ready")
            before, start = last, time.monotonic()
            while time.monotonic() < start + 0.15 or (
                last == before and time.monotonic() < start + 15
            ):
                values = pair.asdict()
                assert values["one"] - values["two"] in (0, 1) and values["two"] >= last
                last = values["two"]
            writer.kill()
            assert last > before


def change(pair, number):
    pair.one = number
    pair.update(two=number, text="from a child, in a block of its own")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_handle_travels_to_a_child_process(segment, method):
    alone = Pair(name=None)
    for pair in (segment.construct(Pair, "p"), alone):
        child = multiprocessing.get_context(method).Process(target=change, args=(pair, 7))
        child.start()
        child.join(20)
        assert child.exitcode == 0
        assert pair.asdict() == {"one": 7, "two": 7, "text": "from a child, in a block of its own"}


def test_a_destroyed_record_is_gone_in_other_processes(segment):
    segment.construct(Pair, "p", one=5)
    with Child("""
class Pair(ipcsys.Record):
    one: int = 0
    two: int = 0
    text: str = ""
pair = ipcsys.Segment("desk", create=False).find("p", Pair)
say(pair.one)
while True:
    try:
        pair.one
    except ipcsys.ObjectGone:
        break
say("gone")
""") as child:  # fmt: skip
        child.expect("5")
        segment.destroy("p")
        child.expect("gone")
        until(lambda: segment.check() == [])


def test_a_program_below_a_migration_is_told(segment):
    with Child(OLD + """
segment.construct(Tick, "t", "X", 1.5)
say("made")
hear()
try:
    segment.find("t", Tick)
except ipcsys.SchemaError as error:
    say(error)
""") as old:  # fmt: skip
        old.expect("made")
        newer = type("Tick", (Record,), {"__annotations__": {"symbol": bytes}}, version=2)
        with pytest.raises(SchemaError, match="symbol"):
            segment.find("t", newer)
        newer.migration(from_version=1)(lambda values: {"symbol": values["symbol"].encode()})
        assert segment.find("t", newer).symbol == b"X"
        old.say("go")
        assert "migrated to version 2; this program declares version 1" in old.hear()
