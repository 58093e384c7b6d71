# SPDX-License-Identifier: Apache-2.0
"""Schema evolution: programs with different versions of a record on one object."""

import threading

import pytest

import ipcsys
from ipcsys import Record, SchemaError, Segment, field, schema


@pytest.fixture
def segment():
    with Segment("s", size="1 MiB") as segment:
        yield segment
        assert segment.check() == []


def declare(version, fields, name="Tick"):
    """A class as another program would declare it: {name: type or (type, default)}."""
    space = {"__annotations__": {}}
    for key, given in fields.items():
        kind, *default = given if isinstance(given, tuple) else (given,)
        space["__annotations__"][key] = kind
        space.update({key: default[0]} if default else {})
    return type("Tick", (Record,), space, version=version, name=name)


Old = declare(1, {"symbol": ipcsys.text[8], "price": ipcsys.f32, "size": (ipcsys.u8, 1),
                  "venue": (str, "somewhere")})  # fmt: skip
New = declare(2, {
    "symbol": str, "last": (float, field(renamed_from="price", default=0.0)),
    "size": (ipcsys.i64, 1), "bid": (float, -1.0), "tags": (list, field(default_factory=list)),
})  # fmt: skip


def make(segment, cls=Old, **values):
    return segment.construct(cls, "t", **{"symbol": "X", "price": 1.5, "size": 7, **values})


def test_a_newer_program_upgrades_what_an_older_one_made_and_both_go_on(segment):
    old = make(segment, venue="a venue of its own cell")
    new = segment.find("t", New)
    assert new.asdict() == {"symbol": "X", "last": 1.5, "size": 7, "bid": -1.0, "tags": []}
    assert old.asdict() == {
        "symbol": "X", "price": 1.5, "size": 7, "venue": "a venue of its own cell"}  # fmt: skip
    new.last, new.size = 2.25, 200
    assert (old.price, old.size) == (2.25, 200)
    old.price, old.symbol, old.venue = 3.5, "older", "elsewhere, and longer than it was"
    assert (new.last, new.symbol, old.venue) == (3.5, "older", "elsewhere, and longer than it was")
    old.update(size=9, price=4.0)
    assert (new.size, new.last) == (9, 4.0)


def test_an_older_program_keeps_to_its_own_types_when_it_writes(segment):
    old = make(segment)
    new = segment.find("t", New)
    new.size, new.symbol = 2**40, "longer than eight"
    assert (old.size, old.symbol) == (2**40, "longer than eight")
    with pytest.raises(OverflowError, match="size"):
        old.size = 256
    with pytest.raises(ValueError, match="symbol"):
        old.symbol = "longer than eight"
    assert new.size == 2**40


def test_an_older_program_that_comes_later_uses_its_defaults_for_what_is_not_stored(segment):
    segment.construct(New, "t", symbol="N")
    old = segment.find("t", Old)
    assert old.asdict() == {"symbol": "N", "price": 0.0, "size": 1, "venue": "somewhere"}
    with pytest.raises(SchemaError, match="venue"):
        old.venue = "x"
    with pytest.raises(SchemaError, match="venue"):
        old.update(venue="x", size=3)
    assert old.size == 1
    without = declare(1, {"symbol": ipcsys.text[8], "venue": str})
    handle = segment.find("t", without)
    with pytest.raises(SchemaError, match="venue"):
        handle.venue  # noqa: B018
    assert handle.symbol == "N" and handle.asdict() == {"symbol": "N"}


def test_a_name_may_come_back_for_another_field(segment):
    old, new = make(segment), segment.find("t", New)
    newer = segment.find("t", declare(3, {
        "symbol": str, "last": (float, 0.0), "size": (int, 1), "bid": (float, -1.0),
        "tags": list, "price": (str, "a text")}))  # fmt: skip
    newer.price = "new"
    assert (old.price, new.last, newer.last, newer.price) == (1.5, 1.5, 1.5, "new")
    old.price = 8.0
    assert (newer.last, newer.price) == (8.0, "new")


def test_chains_of_versions_reach_every_program(segment):
    handles = [segment.construct(declare(1, {"f1": (int, 1)}), "t", f1=10)]
    for version in range(2, 8):
        fields = {f"f{version}": (int, field(renamed_from=f"f{version - 1}", default=0)),
                  "new": (int, version)}  # fmt: skip
        handles.append(segment.find("t", declare(version, fields)))
    for number, handle in enumerate(handles):
        setattr(handle, f"f{number + 1}", number * 100)
        assert [getattr(h, f"f{n + 1}") for n, h in enumerate(handles)] == [number * 100] * 7
    assert handles[-1].new == 2


@pytest.mark.parametrize(
    ("before", "after"),
    [("i8", "i16"), ("i8", "i64"), ("u8", "i16"), ("u8", "u64"), ("u32", "i64"), ("i32", "int"),
     ("u64", "int"), ("f32", "f64"), ("text[4]", "text[9]"), ("text[4]", "str"),
     ("blob[4]", "bytes"), ("i8[2]", "i32[2]"), ("f32[3]", "f64[3]"), ("str", "str | None"),
     ("int", "int | None"), ("float", "float | None"), ("f32", "float | None"),
     ("bool", "bool | None")],
)  # fmt: skip
def test_types_widen_and_nothing_is_lost(segment, before, after):
    space = {name: getattr(ipcsys, name) for name in ipcsys.schema.__all__}
    one, two = eval(before, space), eval(after, space)
    values = {"text": ["", "abcd"], "str": ["", "text" * 9], "blob": [b"", b"abcd"],
              "f32": [0.5, -1.5], "float": [0.1, float("inf")], "bool": [True, False],
              "int": [0, 2**100, -(2**70)]}  # fmt: skip
    bits = before.strip("iu").partition("[")[0]
    if bits.isdigit():
        low = 0 if before[0] == "u" else -(2 ** (int(bits) - 1))
        values[before.partition("[")[0]] = [low, low + 2 ** int(bits) - 1, 5]
    for index, value in enumerate(values[before.partition("[")[0].partition(" ")[0]]):
        if before in ("i8[2]", "f32[3]"):
            value = (value,) * one.count
        old = segment.construct(declare(1, {"v": one}), f"k{index}", value)
        new = segment.find(f"k{index}", declare(2, {"v": two}))
        assert new.v == value == old.v and type(new.v) is type(old.v)
        old.v = old.v
        assert new.v == value


@pytest.mark.parametrize(
    ("before", "after"),
    [(ipcsys.i16, ipcsys.i8), (ipcsys.i8, ipcsys.u16), (int, ipcsys.i64), (float, ipcsys.f32),
     (ipcsys.i32, float), (bool, ipcsys.i8), (str, ipcsys.text[4]), (str, bytes), (str, object),
     (ipcsys.text[4], ipcsys.text[3]), (ipcsys.i8[2], ipcsys.i8[3]), (ipcsys.i8, ipcsys.i8[1]),
     (str | None, str), (list, str)],
    ids=str,
)  # fmt: skip
def test_what_is_no_widening_is_refused_and_nothing_changes(segment, before, after):
    sample = {int: 1, float: 1.0, bool: True, str: "s", list: []}.get(before)
    sample = (1, 1) if sample is None and getattr(before, "count", 0) == 2 else sample
    old = segment.construct(declare(1, {"v": before}), "t",
                            sample if sample is not None else "s" if "s" in str(before) or
                            "text" in str(before) else 1)  # fmt: skip
    stored = old.v
    with pytest.raises(SchemaError, match=r"v: .* is stored, .* declared.*migration") as caught:
        segment.find("t", declare(2, {"v": after}))
    assert isinstance(caught.value, (ipcsys.MismatchError, ValueError))
    assert old.v == stored and segment["t"]._layout().version == 1


def test_what_differs_is_said(segment):
    make(segment)
    with pytest.raises(SchemaError, match=r"extra \(int\) is new and has no default"):
        segment.find("t", declare(2, {"symbol": str, "extra": int}))
    with pytest.raises(SchemaError, match=r"extra \(int\) is added.*higher version"):
        segment.find("t", declare(1, {"symbol": ipcsys.text[8], "price": ipcsys.f32,
                                      "size": ipcsys.u8, "venue": str, "extra": (int, 0)}))  # fmt: skip
    with pytest.raises(SchemaError, match=r"venue \(str\) is removed.*higher version"):
        segment.find("t", declare(1, {"symbol": ipcsys.text[8], "price": ipcsys.f32,
                                      "size": ipcsys.u8}))  # fmt: skip
    with pytest.raises(SchemaError, match="Tick, version 1, is stored, not a Other"):
        segment.find("t", declare(1, {"symbol": str}, name="Other"))
    # The order of the fields and their defaults are nobody's business.
    assert segment.find("t", declare(1, {
        "venue": str, "size": ipcsys.u8, "price": (ipcsys.f32, 3.0), "symbol": ipcsys.text[8],
    })).size == 7  # fmt: skip


def test_a_record_in_a_file_is_upgraded_after_a_reboot(tmp_path):
    path = tmp_path / "desk.segment"
    with Segment("desk", path=path, size="1 MiB") as segment:
        make(segment, venue="a venue of its own cell").price = 2.5
        segment.flush()
    Segment.remove("desk")  # the live memory goes, the file stays
    with Segment("desk", path=path) as segment:
        new = segment.find("t", New)
        assert (new.symbol, new.last, new.bid) == ("X", 2.5, -1.0)
        new.size = 70
        segment.flush()
        new.close()
    Segment.remove("desk")
    with Segment("desk", path=path) as segment:
        old = segment.find("t", Old)
        assert (old.size, old.venue) == (70, "a venue of its own cell")
        assert segment.check() == []
        old.close()
    Segment.remove("desk")


# --- migrations


def migrating(calls):
    cls = declare(3, {"symbol": str, "cents": int, "note": (str, "none")})

    @cls.migration(from_version=1)
    def to_two(values):
        calls.append(1)
        return {**values, "dollars": values.pop("price") * 2}

    @cls.migration(from_version=2)
    def to_three(values):
        calls.append(2)
        values["cents"] = int(values.pop("dollars") * 100)

    return cls


def test_a_migration_runs_once_and_older_programs_are_told(segment):
    calls = []
    cls = migrating(calls)
    old = make(segment)
    new = segment.find("t", cls)
    assert new.asdict() == {"symbol": "X", "cents": 300, "note": "none"} and calls == [1, 2]
    assert segment.find("t", cls).cents == segment.find_or_construct(cls, "t").cents == 300
    assert calls == [1, 2]
    with pytest.raises(SchemaError, match="migrated to version 3.*version 1"):
        old.price  # noqa: B018
    with pytest.raises(SchemaError):
        old.price = 1.0
    with pytest.raises(SchemaError):
        segment.find("t", Old)
    assert new.cents == 300


def test_a_migration_that_fails_changes_nothing(segment):
    cls = declare(2, {"symbol": str, "price": str})
    old = make(segment)

    @cls.migration(from_version=1)
    def fails(values):
        values["price"] = 1 / (values["size"] - 7)

    with pytest.raises(ZeroDivisionError):
        segment.find("t", cls)
    assert old.price == 1.5
    old.size = 8
    with pytest.raises(TypeError, match="price"):  # not a str
        segment.find("t", cls)
    assert old.asdict()["size"] == 8 and segment["t"]._layout().version == 1


def test_a_migration_must_give_what_has_no_default(segment):
    cls = declare(2, {"symbol": str, "extra": int})
    cls.migration(from_version=1)(lambda values: None)
    make(segment)
    with pytest.raises(SchemaError, match="'extra'"):
        segment.find("t", cls)


def test_a_transaction_around_an_upgrade_undoes_it(segment):
    old = make(segment)
    with pytest.raises(KeyError), segment.transaction():
        new = segment.find("t", New)
        new.size = 99
        assert (new.size, old.size) == (99, 99)
        raise KeyError
    assert segment["t"]._layout().version == 1 and old.size == 7
    assert new.size == 7 and segment["t"]._layout().version == 2  # which looked again


def test_a_migration_leads_upwards_once():
    cls = declare(3, {"a": int})
    with pytest.raises(ValueError):
        cls.migration(from_version=3)
    with pytest.raises(ValueError):
        cls.migration(from_version=1, to_version=4)
    cls.migration(from_version=1, to_version=3)(len)
    with pytest.raises(ValueError, match="already"):
        cls.migration(from_version=1)(len)
    assert [to for to, _function in schema.steps(cls, 1)] == [3]


def test_threads_that_share_a_handle_are_not_confused_by_upgrades(segment):
    handle = segment.construct(declare(1, {"a": int, "s": str, "f": float}), "t", 1, "s" * 20, 0.5)
    stop, wrong = threading.Event(), []

    def use(number):
        while not stop.is_set():
            try:
                handle.a = number
                handle.update(s="s" * (20 + number), f=number + 0.5)
                found = (handle.a, handle.s, handle.f)
                whole = handle.asdict()
                if found[0] not in (1, 2, 3) or set(found[1]) != {"s"} or found[2] % 1 != 0.5:
                    wrong.append(found)
                if len(whole["s"]) != 20 + (0 if whole["f"] == 0.5 else int(whole["f"])):
                    wrong.append(whole)
            except Exception as error:
                wrong.append(error)
                return

    threads = [threading.Thread(target=use, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for version in range(2, 42):
        fields = {f"new{version}": (ipcsys.i8, 1), "f": float, "a": int, "s": str}
        segment.find("t", declare(version, fields))
    stop.set()
    for thread in threads:
        thread.join(20)
    assert wrong == []


def test_records_of_one_layout_share_it_and_the_last_one_takes_it_along(segment):
    make(segment)
    one = segment.stats().blocks
    for number in range(3):
        segment.construct(Old, f"more {number}", "X", 1.0)
    # Each has a name, a root, a body and a block of its venue, none a layout.
    assert segment.stats().blocks == one + 3 * 4
    segment.find("t", New)
    assert {segment[key]._layout().version for key in segment.keys()} == {1, 2}
    for key in segment.keys():
        segment.destroy(key)
    assert segment.check() == []


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_a_dump_holds_records_with_their_declarations(segment, format):
    import io

    from ipcsys import dumps

    old = make(segment, venue="kept")
    segment.find("t", New).tags = [1, 2]
    file = io.BytesIO()
    dumps.dump(segment, file, format)
    with Segment(None, size="1 MiB") as other:
        assert dumps.load(other, file.getvalue()) == 1
        loaded = other.find("t", New)
        assert loaded == segment.find("t", New) and loaded.tags == [1, 2]
        assert other.find("t", Old).price == old.price == 1.5
        assert other.check() == []
