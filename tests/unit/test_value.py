# SPDX-License-Identifier: Apache-2.0
"""Values as bytes: which way each goes, and that it comes back as it was."""

import collections
import dataclasses
import datetime
import decimal
import enum
import math
import pickle
import subprocess
import sys
import threading
import tracemalloc
import zoneinfo

import msgpack
import numpy as np
import pytest

import ipcsys
from blocks import kept_by
from ipcsys._core import decode_value, encode_value

RAW, MSGPACK, PICKLE = 0, 1, 2
NO_PICKLE, NO_RAW = 1, 2

UTC = datetime.timezone.utc
ODD_ZONE = datetime.timezone(datetime.timedelta(hours=-3, minutes=-7, microseconds=5))


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Text(str):
    pass


class Colour(enum.IntEnum):
    RED = 1


Pair = collections.namedtuple("Pair", "left right")


def there_and_back(value, flags=0):
    return decode_value(*encode_value(value, flags))


PLAIN = [
    None, True, False, 0, -1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**400,
    -(10**400), -(2**71), 2**71, 0.0, -0.0, 1.5, math.inf, -math.inf, "", "text", "ä€😀", "\0",
    "x" * 1000, "\ud800", "a\udfffb", "\ud83d\ude00", b"", b"bytes", bytearray(b"ba"), bytearray(),
    [], [1, "a", None], (), (1,), (1, (2, [3, (4,)])), {}, {"a": 1}, {1: 2, None: 3, (1, "b"): [4]},
    set(), {1, "a"}, frozenset(), frozenset({1, (2, 3)}), {frozenset({1}): {2}}, [[], {}, ((),)],
    {2.5: "float", b"b": "bytes"}, list(range(70000)), {str(i): i for i in range(70)},
    tuple(range(300)), [bytearray(300), "ä" * 70000],
]  # fmt: skip

TIMES = [
    datetime.datetime(2024, 2, 29, 23, 59, 58, 999999), datetime.datetime.min, datetime.datetime.max,
    datetime.datetime(2024, 2, 29, tzinfo=UTC), datetime.datetime(1970, 1, 1, tzinfo=UTC),
    datetime.datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    datetime.datetime.min.replace(tzinfo=UTC), datetime.datetime.max.replace(tzinfo=UTC),
    datetime.datetime(2500, 3, 1, 1, 2, 3, 4, tzinfo=UTC),
    datetime.datetime(2024, 10, 27, 2, 30, fold=1), datetime.datetime(2024, 10, 27, fold=1, tzinfo=UTC),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=ODD_ZONE),
    datetime.date.min, datetime.date.max, datetime.date(2000, 2, 29),
    datetime.time(1, 2, 3, 4), datetime.time(23, fold=1), datetime.time(1, tzinfo=ODD_ZONE),
    datetime.time(0, tzinfo=UTC), datetime.timedelta(), datetime.timedelta.min,
    datetime.timedelta.max, datetime.timedelta(days=-1, microseconds=1),
]  # fmt: skip


def same(got, value):
    """Equal, of the same types all through; NaN and -0.0 told apart by repr()."""
    return type(got) is type(value) and repr(got) == repr(value) and got == value


def label(value):
    """A test's id that every process writes alike: a set's repr follows the hash seed."""
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__} of {len(value)}"
    return repr(value)[:40]


@pytest.mark.parametrize("value", PLAIN + TIMES, ids=label)
def test_plain_values_come_back_without_pickle(value):
    kind, data = encode_value(value, NO_PICKLE)
    assert kind == (RAW if type(value) is bytes else MSGPACK)
    got = decode_value(kind, data)
    if isinstance(value, (set, frozenset)):
        assert type(got) is type(value) and got == value
    else:
        assert same(got, value)
    assert decode_value(kind, bytearray(data)) == value
    assert same(there_and_back([value])[0], value) or isinstance(value, (set, frozenset))


def test_nan_comes_back():
    assert math.isnan(there_and_back(math.nan))
    kind, data = encode_value({math.nan: math.nan})
    assert kind == MSGPACK
    ((key, value),) = decode_value(kind, data).items()
    assert math.isnan(key) and math.isnan(value)


def test_bytes_travel_as_they_are():
    value = b"x" * 100
    kind, data = encode_value(value)
    assert kind == RAW and data is value and decode_value(kind, data) is value
    kind, data = encode_value(value, NO_RAW)
    assert kind == MSGPACK and data == msgpack.packb(value) and decode_value(kind, data) == value


@pytest.mark.parametrize(
    "value",
    [Text("x"), Colour.RED, Pair(1, 2), Point(1, 2), decimal.Decimal("1.5"), 1j, range(3), int,
     collections.OrderedDict(a=1), collections.defaultdict(list, a=[1]), collections.Counter("aab"),
     datetime.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")),
     datetime.time(1, tzinfo=datetime.timezone(datetime.timedelta(0), "GMT")),
     np.zeros(2, dtype=[("a", int)]), np.array([None, "x"], dtype=object), np.str_("x"),
     np.ma.masked_array([1, 2], [0, 1])],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_other_types_go_whole_by_pickle(value):
    for whole in (value, {"deep": [value]}):
        kind, data = encode_value(whole)
        assert kind == PICKLE
        assert repr(decode_value(kind, data)) == repr(whole)
        with pytest.raises(ipcsys.EncodeError, match=r"needs pickle, which is not allowed here; make"):
            encode_value(whole, NO_PICKLE)


def test_the_refusal_names_the_type():
    with pytest.raises(ipcsys.EncodeError, match="a value of type decimal.Decimal needs"):
        encode_value([decimal.Decimal(1)], NO_PICKLE)
    with pytest.raises(TypeError):
        encode_value(object(), NO_PICKLE)


class Unreducible:
    def __reduce__(self):
        raise ZeroDivisionError("not today")


class Interrupted:
    def __reduce__(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("value", "cause"),
    [(threading.Lock(), TypeError), (lambda: 1, Exception), (Unreducible(), ZeroDivisionError),
     ([memoryview(b"x")], TypeError)],
    ids=["lock", "lambda", "own", "memoryview"],
)  # fmt: skip
def test_what_cannot_be_pickled_raises_with_its_cause(value, cause):
    with pytest.raises(ipcsys.EncodeError, match="pickling a .* failed") as caught:
        encode_value(value)
    assert isinstance(caught.value.__cause__, cause)
    assert type(caught.value.__cause__).__name__ in str(caught.value)


def test_an_interrupt_in_pickle_stays_an_interrupt():
    with pytest.raises(KeyboardInterrupt):
        encode_value(Interrupted())


def nested(depth, make):
    value = None
    for _ in range(depth):
        value = make(value)
    return value


@pytest.mark.parametrize(
    ("make", "levels"),
    [(lambda v: [v], 1), (lambda v: (v,), 1), (lambda v: {"k": v}, 1),
     (lambda v: (1, frozenset({v})), 2), (lambda v: [{"k": (v, {2})}], 3)],
    ids=["list", "tuple", "dict", "keys", "mixed"],
)  # fmt: skip
def test_depth_beyond_the_bound_goes_by_pickle(make, levels):
    for depth in (1, 33, 34, 50, 51, 99, 100, 101, 120):
        value = nested(depth, make)
        kind, data = encode_value(value)
        assert kind == (MSGPACK if depth * levels <= 100 else PICKLE)
        assert decode_value(kind, data) == value
    with pytest.raises(ipcsys.EncodeError, match="nested deeper than 100"):
        encode_value(nested(101, make), NO_PICKLE)


def test_values_that_contain_themselves_come_back_so():
    value = [1]
    value.append(value)
    got = there_and_back(value)
    assert got[0] == 1 and got[1] is got
    value = {}
    value["me"] = [value]
    got = there_and_back(value)
    assert got["me"][0] is got
    with pytest.raises(ipcsys.EncodeError):
        encode_value(value, NO_PICKLE)


def test_too_deep_even_for_pickle_is_an_encode_error():
    with pytest.raises(ipcsys.EncodeError) as caught:
        encode_value(nested(100_000, lambda v: [v]))
    assert isinstance(caught.value.__cause__, RecursionError)


def test_parts_shared_many_times_over_do_not_explode():
    value = []
    for _ in range(60):
        value = [value, value]
    kind, data = encode_value(value)
    assert kind == PICKLE and len(data) < 10_000


# numpy ------------------------------------------------------------------------

ARRAYS = [
    np.arange(24).reshape(2, 3, 4), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(20)[::3], np.arange(24).reshape(4, 6)[1:3, 2:5], np.array(5), np.zeros((0, 3)),
    np.array(["a", "bcd", ""]), np.array([b"x", b"yz\0"]), np.array(["2020-01-01", "NaT"], "M8[D]"),
    np.array([1, 2], "m8[25us]"), np.array([[1, 2], [3, 4]], "M8[ns]", order="F"),
    np.array([1, 2], ">i4"), np.array([True, False]), np.array([1j]), np.ones(3, np.float16),
    np.ones(2, np.longdouble), np.zeros(100_000, np.uint8),
]  # fmt: skip


@pytest.mark.parametrize("value", ARRAYS, ids=lambda a: f"{a.dtype.str}{list(a.shape)}")
def test_arrays_come_back_with_type_shape_order_and_bytes(value):
    kind, data = encode_value(value, NO_PICKLE)
    assert kind == MSGPACK
    got = decode_value(kind, data)
    assert type(got) is np.ndarray and got.dtype == value.dtype and got.shape == value.shape
    assert got.tobytes() == value.tobytes()
    assert got.flags.f_contiguous == (value.flags.f_contiguous or got.ndim < 2)
    assert got.flags.writeable
    inside = there_and_back([value, {"k": value}], NO_PICKLE)
    assert inside[1]["k"].tobytes() == value.tobytes()


@pytest.mark.parametrize(
    "value",
    [np.float64(1.5), np.float32(0.1), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True),
     np.complex64(1j), np.datetime64("2020-01-01", "D"), np.timedelta64(5, "s"), np.float16(1),
     np.longdouble(1) / 3],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_scalars_come_back_as_scalars(value):
    kind, data = encode_value(value, NO_PICKLE)
    got = decode_value(kind, data)
    assert kind == MSGPACK and type(got) is type(value) and got == value and got.dtype == value.dtype
    assert same(there_and_back({value: 1}), {value: 1})


def output_of(code):
    """The words that a fresh interpreter prints."""
    start = f"import sys; sys.path[:0] = {sys.path!r}\n"
    done = subprocess.run(
        [sys.executable, "-S", "-c", start + code],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.split()


def test_neither_numpy_nor_datetime_is_imported_for_writing_or_plain_reading():
    out = output_of(
        "from ipcsys._core import *; v = {'a': [1, 2.5, (None, b'x')], 's': {1}, 'big': 1 << 90}\n"
        "assert decode_value(*encode_value(v)) == v\n"
        "print(*{'numpy', 'datetime', 'pickle', 'enum'} & set(sys.modules))"
    )
    assert out == []


def test_an_array_is_refused_where_numpy_is_missing():
    data = encode_value(np.arange(3))[1]
    out = output_of(
        "sys.modules['numpy'] = None; import ipcsys; from ipcsys._core import *\n"
        f"try: decode_value(1, {data!r})\n"
        "except ipcsys.DecodeError as e: print(type(e.__cause__).__name__, len(e.data))"
    )
    assert out == ["ModuleNotFoundError", str(len(data))]


def ext(code, payload):
    return msgpack.packb(msgpack.ExtType(code, payload))


def packed_array(dtype, shape, order="C", data=b""):
    return ext(11, msgpack.packb([dtype, shape, order, data]))


BAD = {
    "empty": b"",
    "never used": b"\xc1",
    "two values": b"\x01\x02",
    "four billion items": b"\xdd\xff\xff\xff\xff",
    "four billion pairs": b"\xdf\xff\xff\xff\xff",
    "four gigabytes": b"\xc6\xff\xff\xff\xff",
    "not utf-8": b"\xa2\xff\xfe",
    "key not utf-8": b"\x81\xa2\xff\xfe\x01",
    "list as key": b"\x81\x90\x01",
    "unknown extension": ext(99, b"x"),
    "negative extension": msgpack.packb(msgpack.ExtType(99, b"xy")).replace(b"\x63", b"\xf0"),
    "too deep": b"\x91" * 5000 + b"\xc0",
    "tuple of nothing": ext(2, b""),
    "tuple that is a map": ext(2, b"\x80"),
    "tuple and more": ext(2, b"\x90\x00"),
    "tuple beyond its end": ext(2, b"\x92\x00"),
    "tuple of four billion": ext(2, b"\xdd\xff\xff\xff\xff"),
    "set of lists": ext(3, b"\x91\x90"),
    "surrogates not utf-8": ext(6, b"\xff"),
    "month 13": ext(7, msgpack.packb([2024, 13, 1])),
    "date of two": ext(7, msgpack.packb([2024, 1])),
    "date of text": ext(7, msgpack.packb(["a", 1, 1])),
    "huge year": ext(7, msgpack.packb([2**40, 1, 1])),
    "fold 2": ext(8, msgpack.packb([1, 2, 3, 4, 2])),
    "offset of a day": ext(9, msgpack.packb([2024, 1, 1, 0, 0, 0, 0, 0, 86400 * 10**6])),
    "offset beyond all": ext(9, msgpack.packb([2024, 1, 1, 0, 0, 0, 0, 0, -(2**63)])),
    "huge delta": ext(10, msgpack.packb([2**31 - 1, 0, 0])),
    "year 10000": msgpack.packb(msgpack.Timestamp(253402300800)),
    "year 0": msgpack.packb(msgpack.Timestamp(-62135596801)),
    "end of time": msgpack.packb(msgpack.Timestamp(2**63 - 1)),
    "timestamp of 5 bytes": b"\xc7\x05\xff" + b"\0" * 5,
    "fraction over a second": b"\xd7\xff" + b"\xff" * 8,
    "objects": packed_array("|O8", [1], data=b"\0" * 8),
    "structure": packed_array("|V8", [1], data=b"\0" * 8),
    "size nought": packed_array("<U0", [2**40]),
    "huge element": packed_array("<U99999999999999999999999", [1], data=b"x"),
    "bad unit": packed_array("<M8[fortnights]", [1], data=b"\0" * 8),
    "shape too large": packed_array("<i8", [2], data=b"\0" * 8),
    "shape too small": packed_array("<i8", [1], data=b"\0" * 16),
    "shape overflows": packed_array("<i8", [2**33, 2**33], data=b"\0" * 8),
    "negative shape": packed_array("<i8", [-1], data=b"\0" * 8),
    "shape of floats": packed_array("<i8", [1.0], data=b"\0" * 8),
    "huge shape": packed_array("<i8", [2**64 - 1], data=b"\0" * 8),
    "100 dimensions": packed_array("<i8", [1] * 100, data=b"\0" * 8),
    "odd order": packed_array("<i8", [1], "A", data=b"\0" * 8),
    "array of three": ext(11, msgpack.packb(["<i8", [1], b"\0" * 8])),
    "dtype of NUL": packed_array("\0i8", [1], data=b"\0" * 8),
    "kind of NUL": packed_array("<\x008", [1], data=b"\0" * 8),
    "scalar of two": ext(12, msgpack.packb(["<i8", b"\0" * 16])),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bytes_raise_decode_error_with_the_bytes(name):
    data = BAD[name]
    for given in (data, bytearray(data)):
        with pytest.raises(ipcsys.DecodeError, match="^the bytes cannot be decoded: .") as caught:
            decode_value(MSGPACK, given)
        assert caught.value.data == data and type(caught.value.data) is bytes
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("data", "cause"),
    [(b"\xa2\xff\xfe", UnicodeDecodeError), (b"\x81\x90\x01", TypeError),
     (BAD["month 13"], ValueError), (BAD["shape too large"], TypeError)],
    ids=["utf-8", "unhashable", "month", "shape"],
)  # fmt: skip
def test_what_python_found_wrong_is_the_cause(data, cause):
    with pytest.raises(ipcsys.DecodeError) as caught:
        decode_value(MSGPACK, data)
    assert type(caught.value.__cause__) is cause
    assert cause.__name__ in str(caught.value)


class Bomb:
    """Reads fine, and raises what it is told when it is read."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        return explode, (self.error,)


def explode(error):
    raise error


@pytest.mark.parametrize(
    "data",
    [b"", b"junk", pickle.dumps([1, 2])[:-1], b"\x80\x05cnowhere\nnothing\n.", b"\x80\x63.",
     pickle.dumps(Bomb(ValueError("x"))), pickle.dumps(Bomb(MemoryError())),
     pickle.dumps(Bomb(ipcsys.DecodeError("not ours")))],
)  # fmt: skip
def test_bad_pickles_raise_decode_error_with_the_bytes_and_the_cause(data):
    for given in (data, bytearray(data)):
        with pytest.raises(ipcsys.DecodeError, match="unpickling failed") as caught:
            decode_value(PICKLE, given)
        assert caught.value.data == data
        assert isinstance(caught.value.__cause__, Exception)


def test_an_interrupt_while_unpickling_stays_an_interrupt():
    with pytest.raises(KeyboardInterrupt):
        decode_value(PICKLE, pickle.dumps(Bomb(KeyboardInterrupt())))


@pytest.mark.parametrize("kind", [3, 77, 255])
def test_an_unknown_kind_raises_decode_error(kind):
    with pytest.raises(ipcsys.DecodeError, match=f"{kind} is no kind") as caught:
        decode_value(kind, b"data")
    assert caught.value.data == b"data"


@pytest.mark.parametrize(
    "call",
    [lambda: encode_value(), lambda: encode_value(1, 2, 3), lambda: decode_value(1),
     lambda: decode_value(1, "text"), lambda: decode_value("x", b""), lambda: encode_value(1, "x")],
)  # fmt: skip
def test_wrong_arguments_raise_type_error(call):
    with pytest.raises(TypeError):
        call()


@pytest.mark.parametrize("kind", [-1, 256])
def test_a_kind_is_a_byte(kind):
    with pytest.raises(ValueError, match="no kind of value"):
        decode_value(kind, b"")


@pytest.mark.parametrize("name", ["four billion items", "four billion pairs", "four gigabytes",
                                  "tuple of four billion", "too deep"])  # fmt: skip
def test_promises_that_the_bytes_do_not_keep_cost_no_memory(name):
    tracemalloc.start()
    try:
        with pytest.raises(ipcsys.DecodeError):
            decode_value(MSGPACK, BAD[name])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_nested_promises_cost_memory_in_proportion_to_the_bytes():
    # Each level promises as many items as bytes are left.
    size = 100_000
    data = b"".join(b"\xdd" + (size - 5 * i - 5).to_bytes(4, "big") for i in range(100))
    data += b"\xc0" * (size - len(data))
    tracemalloc.start()
    try:
        with pytest.raises(ipcsys.DecodeError):
            decode_value(MSGPACK, data)
        assert tracemalloc.get_traced_memory()[1] < 12 * size
    finally:
        tracemalloc.stop()


def test_nanoseconds_of_others_are_cut_to_microseconds():
    data = msgpack.packb(msgpack.Timestamp(10, 1_999))
    assert decode_value(MSGPACK, data) == datetime.datetime(1970, 1, 1, 0, 0, 10, 1, tzinfo=UTC)


def test_short_floats_and_long_integers_of_others_are_read():
    assert decode_value(MSGPACK, b"\xca\x3f\xc0\0\0") == 1.5
    assert decode_value(MSGPACK, b"\xd3" + b"\xff" * 8) == -1
    assert decode_value(MSGPACK, b"\xcf" + b"\0" * 7 + b"\5") == 5


def test_dict_keys_are_shared_between_values():
    data = encode_value({"a-short-key": 1})[1]
    (first,), (second,) = decode_value(MSGPACK, data), decode_value(MSGPACK, data)
    assert first is second
    # More keys than the table holds push each other out and stay right.
    for i in range(3000):
        assert there_and_back({f"key{i}": i, f"schlüssel{i}": i}) == {f"key{i}": i, f"schlüssel{i}": i}


def test_nothing_leaks():
    good = [encode_value(value) for value in [*PLAIN, *TIMES, Point(1, 2), ARRAYS[0]]]
    bad = [(MSGPACK, data) for data in BAD.values()] + [(PICKLE, b"junk"), (9, b"x")]

    def once():
        for value in [*PLAIN[:-4], *TIMES, Point(1, 2), ARRAYS[0]]:
            encode_value(value)
        for kind, data in good:
            decode_value(kind, data)
        for kind, data in bad:
            with pytest.raises(ipcsys.DecodeError):
                decode_value(kind, data)
        for value in (threading.Lock(), nested(200, lambda v: [v])):
            with pytest.raises(ipcsys.EncodeError):
                encode_value(value, NO_PICKLE)

    assert kept_by(once, times=5) < 100
