# SPDX-License-Identifier: Apache-2.0
"""Generated values come back as they were; mutated bytes are read or refused."""

import datetime
import math

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import ipcsys
from ipcsys._core import decode_value, encode_value
from ipcsys.testing import values as values_command

MSGPACK = 1
NO_PICKLE, NO_RAW = 1, 2

ordinary = settings(
    deadline=None, max_examples=60, database=None, suppress_health_check=[HealthCheck.too_slow]
)
often = settings(ordinary, max_examples=200)

integers = st.one_of(
    st.integers(-300, 300), st.integers(-(2**64), 2**64), st.integers(),
    st.builds(lambda bits, near: (1 << bits) + near, st.integers(0, 130), st.integers(-2, 2)),
)  # fmt: skip
text = st.one_of(st.text(max_size=40), st.text(st.characters(), max_size=5))  # surrogates too
offsets = st.builds(
    lambda us: datetime.timezone(datetime.timedelta(microseconds=us)),
    st.integers(-86_399_999_999, 86_399_999_999),
)
zones = st.one_of(st.none(), st.just(datetime.timezone.utc), offsets)
times = st.one_of(
    st.datetimes(timezones=zones), st.dates(), st.timedeltas(),
    st.times(timezones=zones), st.builds(lambda d: d.replace(fold=1), st.datetimes(timezones=zones)),
)  # fmt: skip
leaves = st.one_of(
    st.none(), st.booleans(), integers, st.floats(), text, st.binary(max_size=300), times
)
hashable = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner), st.tuples(inner, inner), st.frozensets(inner, max_size=3)
    ),
    max_leaves=5,
)
values = st.recursive(
    st.one_of(hashable, st.builds(bytearray, st.binary(max_size=20))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=20), st.builds(tuple, st.lists(inner, max_size=5)),
        st.dictionaries(hashable, inner, max_size=5), st.sets(hashable, max_size=5),
    ),
    max_leaves=30,
)  # fmt: skip


def same(got, value):
    """Equal and of the same exact types, all through; NaN is NaN."""
    if type(got) is not type(value):
        return False
    if isinstance(value, float):
        return (math.isnan(got) and math.isnan(value)) or (
            got == value and math.copysign(1, got) == math.copysign(1, value)
        )
    if isinstance(value, (list, tuple)):
        return len(got) == len(value) and all(map(same, got, value))
    if isinstance(value, dict):
        return same(list(got), list(value)) and same(list(got.values()), list(value.values()))
    if isinstance(value, (set, frozenset)):
        # NaN in a set equals nothing; the representations tell.
        return len(got) == len(value) and sorted(map(unordered, got)) == sorted(map(unordered, value))
    if isinstance(value, (datetime.datetime, datetime.time)):
        return repr(got) == repr(value)
    return got == value


def unordered(value):
    """A text that two equal values share, whatever the order within sets."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(unordered, value))})"
    if isinstance(value, tuple):
        return f"({[unordered(item) for item in value]})"
    return repr(value)


@ordinary
@given(values)
def test_a_value_comes_back_with_its_types(value):
    kind, data = encode_value(value, NO_PICKLE | NO_RAW)
    assert kind == MSGPACK
    assert same(decode_value(kind, data), value)


@ordinary
@given(values)
def test_a_value_comes_back_by_the_usual_way(value):
    assert same(decode_value(*encode_value(value)), value)


# What the format itself has, as msgpack spells it: no tuple, no set, no big int.
shared_leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=300),
    st.binary(max_size=300),
    st.datetimes(timezones=st.just(datetime.timezone.utc)).filter(lambda when: when.fold == 0),
)  # fmt: skip
shared = st.recursive(
    shared_leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=40),
        st.dictionaries(st.one_of(st.text(), st.integers(-5, 5), st.binary()), inner, max_size=20),
    ),
    max_leaves=60,
)


@ordinary
@given(shared)
@example(list(range(-40, 70_000, 7)))
@example({str(i): b"x" * i for i in range(300)})
@example("x" * 65_535)
@example(b"x" * 65_536)
def test_the_bytes_are_those_of_other_libraries(value):
    kind, data = encode_value(value, NO_PICKLE | NO_RAW)
    assert kind == MSGPACK
    assert data == msgpack.packb(value, datetime=True)


@ordinary
@given(shared)
def test_other_libraries_read_ours_and_we_read_theirs(value):
    data = encode_value(value, NO_RAW)[1]
    assert same(msgpack.unpackb(data, strict_map_key=False, timestamp=3), value)
    assert same(decode_value(MSGPACK, msgpack.packb(value, datetime=True)), value)


@ordinary
@given(st.lists(st.floats(width=32)))
def test_single_floats_of_others_are_read(value):
    assert same(decode_value(MSGPACK, msgpack.packb(value, use_single_float=True)), value)


def outcome(data):
    """What reading gives: a value, or the refusal; anything else fails the test."""
    try:
        return decode_value(MSGPACK, data)
    except ipcsys.DecodeError as error:
        assert error.data == data
        return error


@ordinary
@given(values, st.data())
def test_every_true_prefix_is_refused(value, data):
    packed = encode_value(value, NO_PICKLE | NO_RAW)[1]
    size = data.draw(st.integers(0, len(packed) - 1))
    assert isinstance(outcome(packed[:size]), ipcsys.DecodeError)
    assert isinstance(outcome(packed + b"\0"), ipcsys.DecodeError)


@often
@given(values, st.data())
def test_mutated_bytes_are_read_or_refused(value, data):
    packed = bytearray(encode_value(value, NO_PICKLE | NO_RAW)[1])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(packed) - 1))
        packed[at] = data.draw(st.integers(0, 255))
    got = outcome(bytes(packed))
    if not isinstance(got, ipcsys.DecodeError):  # what was read can be written
        encode_value(got)


@often
@given(st.binary(max_size=60))
def test_random_bytes_are_read_or_refused(data):
    outcome(data)


extension_payloads = st.one_of(
    st.binary(max_size=20),
    shared.map(lambda value: msgpack.packb(value, datetime=True)),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=10).map(msgpack.packb),
    st.tuples(
        st.sampled_from(["<i8", "|u1", "<U3", "|O8", "<M8[s]", "<f2", "|V4", "?"]),
        st.lists(st.integers(0, 4), max_size=3), st.sampled_from("CFA"), st.binary(max_size=64),
    ).map(msgpack.packb),
)  # fmt: skip


@often
@given(st.integers(0, 14), extension_payloads)
def test_extensions_with_any_content_are_read_or_refused(code, payload):
    outcome(msgpack.packb([msgpack.ExtType(code, payload)]))


dtypes = st.sampled_from(
    ["?", "<i1", "<i8", ">u4", "<f2", "<f4", ">f8", "<c8", "<M8[ms]", "<m8[D]", "|S3", "<U2"]
)


@ordinary
@given(dtypes, st.lists(st.integers(0, 4), max_size=4), st.binary(max_size=2048),
       st.sampled_from("CF"), st.booleans())  # fmt: skip
def test_arrays_come_back(dtype, shape, filling, order, reverse):
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    filling = (filling + bytes(size))[:size]
    if dtype.kind == "U":  # its bytes must be code points
        filling = b"\x41\0\0\0" * (size // 4)
    value = np.ndarray(shape, dtype, filling, order=order)
    value = value[::-1] if reverse and value.ndim else value
    got = decode_value(*encode_value(value, NO_PICKLE))
    assert got.dtype == value.dtype and got.shape == value.shape
    assert got.tobytes() == value.tobytes()


@ordinary
@given(st.lists(st.integers(), max_size=3), st.integers(0, 60))
def test_pickles_cut_short_are_refused(value, cut):
    kind, data = encode_value(["x", value, complex(1, 2)])
    assert kind == 2
    if 0 < cut <= len(data):
        with pytest.raises(ipcsys.DecodeError):
            decode_value(kind, data[:-cut])


# --- the long run's command -------------------------------------------------------


def test_the_long_comparison_covers_boundaries_and_generated_values(capsys):
    assert values_command.main(["--count", "6000"]) == 0
    assert "6000 values compared" in capsys.readouterr().out


class Wrong:
    """A library that writes one value differently, or reads one differently."""

    def __init__(self, packb, unpackb):
        self.packb, self.unpackb = packb, unpackb


def test_the_long_comparison_sees_a_difference():
    def spoilt(value, **options):
        return msgpack.packb(-1 if value == 128 else value, **options)

    with pytest.raises(values_command.Difference, match="^128: ours cc80, theirs ff"):
        values_command.run(10_000, 60, 0, Wrong(spoilt, msgpack.unpackb))

    def misread(data, **options):
        return "" if data == b"\xcc\x80" else msgpack.unpackb(data, **options)

    with pytest.raises(values_command.Difference, match="128 is read by the other library as ''"):
        values_command.run(10_000, 60, 0, Wrong(msgpack.packb, misread))
    with pytest.raises(values_command.Difference, match="cut short, reads as 1"):
        values_command.refuse(b"\x01", True)
