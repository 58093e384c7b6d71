# SPDX-License-Identifier: Apache-2.0
"""Record: declaring, making, finding, reading and writing one."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import gc
import pickle
import threading
import weakref
from typing import Annotated, Any, ClassVar, Optional

import pytest

import ipcsys
from ipcsys import ObjectGone, Record, SchemaError, Segment


class Tick(Record, version=2):
    symbol: str
    price: float
    size: ipcsys.u32 = 0


class Every(Record):
    flag: bool = True
    a: ipcsys.i8 = -1
    b: ipcsys.i16 = -2
    c: ipcsys.i32 = -3
    d: ipcsys.i64 = -4
    e: ipcsys.u8 = 1
    f: ipcsys.u16 = 2
    g: ipcsys.u32 = 3
    h: ipcsys.u64 = 4
    i: ipcsys.f32 = 0.5
    j: ipcsys.f64 = 0.1
    k: float = 0.2
    label: ipcsys.text[10] = "ten"
    raw: ipcsys.blob[7] = b"seven"
    position: ipcsys.f32[3] = (1, 2, 3)
    flags: ipcsys.u8[5] = (0, 1, 2, 3, 4)
    text: str = "t"
    data: bytes = b"d"
    number: int = 5
    nothing: str | None = None
    perhaps: Optional[int] = 7
    limit: float | None = None
    known: bool | None = None
    anything: Any = None
    noted: Annotated[str, ipcsys.text[4]] = "four"
    tags: list[str] = ipcsys.field(default_factory=lambda: ["x"])
    shared: ClassVar[int] = 3


@pytest.fixture
def segment():
    with Segment("s", size="1 MiB") as segment:
        yield segment
        assert segment.closed or segment.check() == []


@pytest.fixture
def tick(segment):
    return segment.construct(Tick, "last", symbol="X", price=1.5)


def test_is_declared_and_used_like_a_dataclass(segment, tick):
    assert repr(tick) == "Tick(symbol='X', price=1.5, size=0)"
    assert (tick.symbol, tick.price, tick.size) == ("X", 1.5, 0)
    tick.symbol, tick.price, tick.size = "a longer symbol", 2, 7
    assert tick.asdict() == {"symbol": "a longer symbol", "price": 2.0, "size": 7}
    assert segment.construct(Tick, "other", "X", 1.5, 3).asdict()["size"] == 3
    match tick:
        case Tick(symbol, price, size=7):
            assert (symbol, price) == ("a longer symbol", 2.0)
        case _:
            pytest.fail("no match")


def test_is_found_again_as_its_class_or_one_made_for_it(segment, tick):
    again = segment.find("last", Tick)
    assert type(again) is Tick and again == tick and again.name == "last"
    again.price = 9
    assert tick.price == 9.0
    bare = segment["last"]
    assert type(bare).__name__ == "Tick" and bare == tick and bare.price == 9.0
    bare.size = 4
    assert tick.size == 4
    assert segment.find_or_construct(Tick, "last") == tick
    assert segment.find("none", Tick) is None
    with pytest.raises(ipcsys.AlreadyExists):
        segment.construct(Tick, "last", "Y", 1.0)
    with pytest.raises(TypeError, match="symbol"):
        segment.find_or_construct(Tick, "none")
    with pytest.raises(TypeError):
        segment.find("last", int)


def test_another_type_under_the_key_is_a_mismatch(segment, tick):
    segment.construct(ipcsys.SharedMap, "map")
    with pytest.raises(ipcsys.MismatchError, match=r"SharedMap.*Record"):
        segment.find("map", Tick)
    with pytest.raises(ipcsys.MismatchError, match=r"Record.*SharedMap"):
        segment.find("last", ipcsys.SharedMap)
    with pytest.raises(SchemaError, match="Tick"):
        segment.find("last", Every)


def test_stands_alone_by_name_or_without():
    with Tick("X", 1.0, name="alone") as one, Tick(name="alone", create=False) as two:
        two.size = 3
        assert one.size == 3 and one.name == "alone"
        with pytest.raises(ipcsys.AlreadyExists):
            Tick("X", 1.0, name="alone", create=True)
    Tick.remove("alone")
    with pytest.raises(ipcsys.NotFound):
        Tick(name="alone", create=False)
    assert Tick("Y", 2.0).name is None


def test_each_type_holds_its_values(segment):
    record = segment.construct(Every, "every")
    assert record.asdict() == dataclasses.asdict(copy.copy(record))
    assert record.position == (1.0, 2.0, 3.0) and record.tags == ["x"] and Every.shared == 3
    values = {
        "flag": False, "a": -128, "b": 2**15 - 1, "c": -(2**31), "d": -(2**63), "e": 255,
        "f": 2**16 - 1, "g": 2**32 - 1, "h": 2**64 - 1, "i": -0.25, "j": 1e300, "k": float("inf"),
        "label": "é" * 5, "raw": b"\0\1\0", "position": (4.0, 5.0, 6.0), "flags": (9,) * 5,
        "text": "\ud800 and " + "long " * 500, "data": bytes(range(256)) * 9,
        "number": -(10**100), "nothing": "some", "perhaps": None, "limit": -2.5, "known": True, "noted": "",
        "anything": {"a": [1, (2, None)]}, "tags": [],
    }  # fmt: skip
    for name, value in values.items():
        setattr(record, name, value)
        assert getattr(record, name) == value, name
    assert record.asdict() == values and record.check() == []
    record.update(segment.construct(Every, "another").asdict())
    assert record == segment.find("another", Every)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("a", 128, OverflowError), ("a", -129, OverflowError), ("e", -1, OverflowError),
     ("h", 2**64, OverflowError), ("h", -1, OverflowError), ("d", 2**63, OverflowError),
     ("i", 1e39, OverflowError), ("a", 1.0, TypeError), ("a", "1", TypeError),
     ("k", "1", TypeError), ("k", None, TypeError), ("flag", 2, TypeError), ("flag", "", TypeError),
     ("label", "e" * 11, ValueError), ("label", "é" * 6, ValueError), ("label", b"x", TypeError),
     ("raw", b"12345678", ValueError), ("raw", "x", TypeError), ("raw", 3, TypeError),
     ("position", (1, 2), ValueError), ("position", 1, TypeError), ("position", "abc", TypeError),
     ("flags", (1, 2, 3, 4, 256), OverflowError), ("text", None, TypeError),
     ("data", "x", TypeError), ("number", 1.5, TypeError), ("perhaps", "x", TypeError),
     ("nothing", 1, TypeError), ("limit", "x", TypeError), ("known", 2.0, TypeError), ("anything", (x for x in ()), TypeError)],
)  # fmt: skip
def test_a_value_that_does_not_fit_changes_nothing(segment, name, value, error):
    record = segment.construct(Every, "every")
    before = record.asdict()
    with pytest.raises(error, match=None if name == "anything" else name):
        setattr(record, name, value)
    with pytest.raises(error):
        record.update(text="changed", **{name: value} if name != "text" else {"text": value})
    with pytest.raises(error):
        segment.construct(Every, "new", **{name: value})
    assert record.asdict() == before and segment.find("new") is None


def test_numbers_and_arrays_of_numpy_are_taken(segment):
    numpy = pytest.importorskip("numpy")
    record = segment.construct(Every, "every", a=numpy.int8(3), flag=numpy.bool_(False))
    record.position = numpy.array([1, 2, 3], "f4")
    record.k = numpy.float32(0.5)
    assert (record.a, record.flag, record.position, record.k) == (3, False, (1.0, 2.0, 3.0), 0.5)


def test_a_misspelt_field_is_an_error(segment, tick):
    with pytest.raises(AttributeError, match="prise"):
        tick.prise = 1
    with pytest.raises(AttributeError):
        tick.prise  # noqa: B018
    with pytest.raises(AttributeError):
        del tick.price
    with pytest.raises(TypeError, match="prise"):
        tick.update(prise=1)
    with pytest.raises(TypeError, match="prise"):
        segment.construct(Tick, "new", "X", 1.0, prise=1)
    with pytest.raises(TypeError, match="two values"):
        segment.construct(Tick, "new", "X", symbol="X", price=1.0)
    with pytest.raises(TypeError, match="3 fields"):
        segment.construct(Tick, "new", 1, 2, 3, 4)
    tick._private = 1
    assert tick._private == 1 and segment.find("new") is None


def test_what_cannot_be_declared_is_a_type_error():
    for annotations, message in (
        ({"update": str}, "update"), ({"_a": str}, "_a"), ({"a": "nowhere.to.be.found"}, "nowhere"),
        ({"a": ipcsys.text}, "length"), ({"a": "ipcsys.u8 | None"}, "None"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=message):
            type("Bad", (Record,), {"__annotations__": annotations})
    with pytest.raises(OverflowError, match=r"Bad\.a"):
        type("Bad", (Record,), {"__annotations__": {"a": ipcsys.u8}, "a": 256})
    with pytest.raises(ValueError, match="version"):
        type("Bad", (Record,), {}, version=0)
    with pytest.raises(ValueError):
        ipcsys.field(default=1, default_factory=int)
    with pytest.raises(TypeError):
        ipcsys.u8[0]
    with pytest.raises(TypeError):
        ipcsys.u8[2][2]
    with pytest.raises(TypeError, match="no fields"):
        Record()


def test_fields_are_inherited_and_may_have_any_name(segment):
    class Named(Tick):
        name: str = "n"
        segment: int = 0

        def both(self):
            return self.name, self.price

    record = segment.construct(Named, "named", "X", 1.0, name="mine")
    assert record.both() == ("mine", 1.0) and Tick.price.__get__(record) == 1.0
    Tick.price.__set__(record, 2.0)
    assert segment.find("named", Named).price == 2.0
    with pytest.raises(TypeError):
        Tick.price.__get__(object())
    with pytest.raises(TypeError):
        Tick.price.__get__(segment.construct(Every, "every"))
    assert [Tick.symbol.name, Tick.size.annotation, Tick.size.default] == ["symbol", "u32", 0]
    with pytest.raises(AttributeError):
        Tick.symbol.default  # noqa: B018


def test_a_class_in_a_function_may_use_local_names_in_its_annotations(segment):
    Local = ipcsys.text[3]

    class Inner(Record):
        value: Local = "abc"

    assert segment.construct(Inner, "inner").value == "abc"


def test_copies_are_plain_and_pickles_are_handles(tick):
    plain = copy.copy(tick)
    assert repr(plain) == repr(tick) and plain == copy.deepcopy(tick) and tick == plain
    plain.price = 100.0
    assert tick.price == 1.5 and tick != plain and dataclasses.is_dataclass(plain)
    assert pickle.loads(pickle.dumps(plain)) == plain
    handle = pickle.loads(pickle.dumps(tick))
    handle.price = 3.0
    assert tick.price == 3.0 and type(handle) is Tick
    alone = Tick("A", 1.0)
    assert pickle.loads(pickle.dumps(alone)) == alone


def test_a_pickled_handle_without_a_class_comes_back_without_one(segment, tick):
    handle = pickle.loads(pickle.dumps(segment["last"]))
    assert handle == tick and type(handle).__module__ == "ipcsys"


def test_equal_means_the_same_name_and_values(segment, tick):
    assert tick == segment.construct(Tick, "twin", "X", 1.5) and tick != 5
    assert tick != segment.construct(Tick, "other", "Y", 1.5)
    with pytest.raises(TypeError):
        hash(tick)


def test_several_fields_change_at_once(tick):
    tick.update(price=2.0, size=3)
    tick.update({"symbol": "Z"}, size=4)
    assert tick.asdict() == {"symbol": "Z", "price": 2.0, "size": 4}
    tick.update()


def test_a_transaction_reads_its_own_writes_and_is_undone_whole(segment, tick):
    with segment.transaction():
        tick.price, tick.symbol = 7.0, "a symbol of its own cell"
        assert (tick.price, tick.symbol) == (7.0, "a symbol of its own cell")
        with pytest.raises(KeyError), tick.transaction():
            tick.update(price=8.0, symbol="another one of its own")
            assert tick.price == 8.0
            raise KeyError
        assert tick.asdict()["symbol"] == "a symbol of its own cell"
    before = tick.asdict()
    used = segment.stats().used
    with pytest.raises(KeyError), segment.transaction():
        tick.symbol = "x" * 3000
        segment.construct(Every, "every")
        raise KeyError
    assert tick.asdict() == before and "every" not in segment
    assert segment.stats().used == used


def test_a_view_of_several_records_is_of_one_moment(segment):
    one, two = segment.construct(Tick, "one", "", 0.0), segment.construct(Tick, "two", "", 0.0)
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            with segment.transaction():
                one.price, two.symbol = number, "s" * (number % 40)
                two.price = number

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(300):
        for view in segment.read():
            with view:
                found = one.price, two.price, two.symbol
        assert found[0] == found[1] and len(found[2]) == found[0] % 40
        with segment.read(), pytest.raises(ipcsys.TransactionError):
            one.price = -1.0
    stop.set()
    writer.join(10)
    assert one.price == two.price > 0


def test_another_task_of_the_thread_cannot_write_meanwhile(segment, tick):
    async def other():
        tick.price = 1.0

    async def main():
        with segment.transaction():
            await asyncio.create_task(other())

    with pytest.raises(ipcsys.TransactionError):
        asyncio.run(main())


def test_a_destroyed_record_is_gone_for_its_handles(segment, tick):
    handles = [tick, segment.find("last", Tick), segment["last"]]
    data = pickle.dumps(tick)
    segment.destroy("last")
    segment.construct(Tick, "last", "new", 9.0)
    for handle in handles:
        for use in (
            lambda h=handle: h.price, lambda h=handle: h.symbol, lambda h=handle: h.asdict(),
            lambda h=handle: setattr(h, "price", 1.0), lambda h=handle: setattr(h, "symbol", "n"),
            lambda h=handle: h.update(price=1.0), lambda h=handle: h.check(),
        ):  # fmt: skip
            with pytest.raises(ObjectGone):
                use()
    with pytest.raises(ObjectGone):
        pickle.loads(data)
    assert segment.find("last", Tick).asdict() == {"symbol": "new", "price": 9.0, "size": 0}


def test_nothing_is_left_of_destroyed_records(segment):
    segment.construct(Tick, "warm", "X", 1.0)  # the catalogue's own tables stay
    segment.destroy("warm")
    used = segment.stats().used
    for number in range(5):
        record = segment.construct(Every, f"r{number}", text="t" * 1000, anything=list(range(99)))
        record.update(text="u" * 2000, data=b"d" * 99)
    for number in range(5):
        segment.destroy(f"r{number}")
    assert segment.stats().used == used


def test_a_closed_handle_says_so(segment, tick):
    other = segment.find("last", Tick)
    tick.close()
    assert tick.closed and repr(tick) == "<closed Tick>" and other.price == 1.5
    for use in (lambda: tick.price, lambda: setattr(tick, "price", 1.0), lambda: tick.asdict(),
                lambda: setattr(tick, "symbol", "s"), lambda: pickle.dumps(tick),
                lambda: tick.update(price=1.0)):  # fmt: skip
        with pytest.raises(ipcsys.Closed):
            use()


def test_a_full_segment_refuses_and_stays_whole():
    with Segment(None, size="64 KiB") as segment:
        tick = segment.construct(Tick, "t", "X", 1.0)
        with pytest.raises(ipcsys.SegmentFull):
            tick.update(price=2.0, symbol="x" * 100_000)
        with pytest.raises(ipcsys.SegmentFull):
            segment.construct(Tick, "new", "x" * 100_000, 1.0)
        assert tick.asdict() == {"symbol": "X", "price": 1.0, "size": 0}
        assert segment.check() == []


def test_a_closed_handle_by_its_own_value_is_no_danger(segment, tick):
    class Index:
        def __index__(self):
            tick.close()
            return 5

    with pytest.raises(ipcsys.Closed):
        tick.update(size=Index(), price=1.0)


def test_classes_and_handles_are_collected(segment):
    def use():
        class Short(Record):
            x: int = 0

        record = segment.construct(Short, "short")
        record.x = 2
        return weakref.ref(Short), weakref.ref(record)

    references = use()
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_threads_see_whole_updates(tick):
    stop, torn = threading.Event(), []

    def read():
        while not stop.is_set():
            values = tick.asdict()
            if values["price"] != values["size"] or values["symbol"] != "s" * values["size"]:
                torn.append(values)

    tick.update(price=0, size=0, symbol="")
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(3000):
        number %= 40
        tick.update(price=number, size=number, symbol="s" * number)
    stop.set()
    reader.join(10)
    assert torn == []


def test_the_benchmark_measures_each_statement_once():
    from ipcsys.bench import records

    found = records.measure(rounds=50, repeats=1)
    assert "record.price (float)" in found and all(value >= 0 for value in found.values())
