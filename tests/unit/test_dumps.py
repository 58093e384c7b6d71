# SPDX-License-Identifier: Apache-2.0
"""Dumps of segments: what comes back is what was there, or an error that names the object."""

import datetime
import io
import json
import subprocess
import sys

import pytest

import ipcsys
from ipcsys import Segment, dumps, errors

VALUE = {
    "text": "ü$", "number": 1 << 80, "list": [1, 2.5, None, True], "bytes": b"\x00\xff",
    "tuple": (1, (2,)), "set": {1, 2}, "keys": {1: "a", (1, "x"): b"b"}, "$odd": {"$": 1},
    "when": datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone.utc), "far": float("inf"),
}  # fmt: skip


def fill(segment):
    for kind, key, *arguments in (
        (ipcsys.SharedMap, "map", VALUE), (ipcsys.SharedVector, "vector", [1, "a", (2,)]),
        (ipcsys.SharedVector, "doubles", [1.5, 2.5], "d"), (ipcsys.SharedDeque, "deque", "ab", 5),
        (ipcsys.SharedString, "text", "word"), (ipcsys.SharedBytes, "bytes", b"\x01\x02"),
        (ipcsys.SharedCell, "cell", (1, "x")), (ipcsys.AtomicInt, "int", -5),
        (ipcsys.AtomicFloat, "float", 0.5), (ipcsys.AtomicBool, "bool", True),
    ):  # fmt: skip
        segment.construct(kind, key, *arguments).close()


def dumped(segment, format="json"):
    file = io.BytesIO()
    dumps.dump(segment, file, format)
    return file.getvalue()


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_what_is_loaded_is_what_was_dumped(format):
    with Segment() as first, Segment() as second:
        fill(first)
        data = dumped(first, format)
        assert dumps.load(second, data) == len(first) == 10
        assert list(first) == list(second)
        assert second["map"] == VALUE and list(second["map"]) == list(VALUE)
        assert list(second["vector"]) == [1, "a", (2,)]
        assert (list(second["doubles"]), second["doubles"].typecode) == ([1.5, 2.5], "d")
        assert (list(second["deque"]), second["deque"].maxlen) == (["a", "b"], 5)
        assert (str(second["text"]), bytes(second["bytes"])) == ("word", b"\x01\x02")
        assert second["cell"].value == (1, "x")
        assert [second[key].load() for key in ("int", "float", "bool")] == [-5, 0.5, True]
        assert dumped(second, format)[60:] == data[60:] or format == "msgpack"


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_containers_in_containers_come_back_as_what_they_were(format):
    with Segment() as first, Segment() as second:
        tree = first.construct(ipcsys.SharedMap, "tree", {"plain": (1,)})
        inner = tree.construct(ipcsys.SharedMap, (1, "x"), {1: "a"})
        inner.construct(ipcsys.SharedDeque, "queue", [1], 3).construct(ipcsys.SharedString, "text")
        inner.construct(ipcsys.SharedVector, "doubles", [1.5], "d")
        tree.construct(ipcsys.AtomicInt, "hits", 7)
        tree["last"] = {"a": 1}
        row = first.construct(ipcsys.SharedVector, "row", ["first"])
        row.construct(ipcsys.SharedCell, [1, 2])
        row.append("last")
        data = dumped(first, format)
        assert dumps.load(second, data) == 2 and second.check() == []
        assert second["tree"] == tree and list(second["tree"]) == list(tree)
        assert repr(second["tree"]) == repr(tree) and repr(second["row"]) == repr(row)
        assert second["tree"]["hits"].add(1) == 8
        assert second["tree"][1, "x"]["queue"].maxlen == 3
        assert second["tree"][1, "x"]["doubles"].typecode == "d"
        damaged = data.replace(b"SharedDeque", b"SharedShape")
        with Segment() as third:
            with pytest.raises(errors.DecodeError):
                dumps.load(third, damaged)
            assert len(third) == 0


def test_a_dump_is_lines_of_json():
    with Segment("named") as segment:
        segment.construct(ipcsys.SharedMap, "m", {"a": 1}).close()
        head, line = (json.loads(line) for line in dumped(segment).splitlines())
    Segment.remove("named")
    assert head["segment"] == "named" and head["ipcsys"] == 1
    assert line == {"key": "m", "type": "SharedMap", "value": {"a": 1}}


def test_what_has_no_plain_value_is_refused_by_name():
    with Segment() as segment:
        segment.construct(ipcsys.Lock, "guard").close()
        with pytest.raises(errors.EncodeError, match="'guard' cannot be dumped: a Lock"):
            dumped(segment)
        segment.destroy("guard")
        segment.construct(ipcsys.SharedMap, "m", {"a": datetime.timedelta(1)}).close()
        with pytest.raises(errors.EncodeError, match="'m' cannot be dumped.*timedelta"):
            dumped(segment)


def test_a_load_is_all_or_nothing():
    with Segment() as first, Segment() as second:
        fill(first)
        second.construct(ipcsys.AtomicInt, "bool").close()
        with pytest.raises(errors.AlreadyExists):
            dumps.load(second, dumped(first))
        assert list(second) == ["bool"] and second.check() == []


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"\xff\xff", b"nonsense", b"{}", b'{"ipcsys": 1}\n{"key": "a"}',
        b'{"ipcsys": 1}\n{"key": "a", "type": "Nothing", "value": 1}',
        b'{"ipcsys": 1}\n{"key": "a", "type": "SharedDeque", "value": 1}',
        b'{"ipcsys": 1}\n{"key": "a", "type": "SharedCell", "value": {"$bytes": "?"}}',
        b'{"ipcsys": 1}\n{"key": "a", "type": "SharedCell", "value": {"$odd": 1}}',
    ],
)  # fmt: skip
def test_what_is_no_dump_is_refused(data):
    with Segment() as segment:
        with pytest.raises(errors.DecodeError):
            dumps.load(segment, data)
        assert list(segment) == []


def test_a_dump_of_another_version_is_refused():
    with Segment() as segment, pytest.raises(errors.FormatError, match="version 2"):
        dumps.load(segment, b'{"ipcsys": 2}')


def run(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "ipcsys", *words], capture_output=True, timeout=60, **options
    )


def test_the_commands(tmp_path):
    with Segment("orders") as segment:
        segment.construct(ipcsys.SharedMap, "m", {"a": (1, 2)}).close()
        done = run("dump", "orders")
        assert done.returncode == 0, done.stderr
        again = run("load", "-", "--segment", "copy", "--json", input=done.stdout)
        assert json.loads(again.stdout) == {"segment": "copy", "path": None, "objects": 1}
        with Segment("copy", create=False) as copy:
            assert copy["m"] == {"a": (1, 2)}
        packed, path = tmp_path / "dump", tmp_path / "file"
        assert run("dump", "orders", "--format", "msgpack", "-o", packed).returncode == 0
        done = run("load", packed, "--path", path)
        assert done.returncode == 0, done.stderr
        with Segment(path=path, create=False) as loaded:
            assert loaded["m"] == {"a": (1, 2)}
        assert run("dump", str(path)).returncode == 0
        done = run("dump", "nothing")
        assert done.returncode == 1 and b"nothing" in done.stderr
    Segment.remove("orders")
    Segment.remove("copy")
    Segment.remove(path=path)
