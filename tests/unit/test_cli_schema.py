# SPDX-License-Identifier: Apache-2.0
"""`ipcsys schema`: what it prints and exits with."""

import json
import subprocess
import sys

import pytest

import ipcsys
from ipcsys import Record, Segment
from ipcsys.cli import main

DECLARED = """
import ipcsys

class Same(ipcsys.Record, name="Tick"):
    symbol: str
    price: ipcsys.f32

class Newer(ipcsys.Record, version=2, name="Tick"):
    symbol: str
    last: float = ipcsys.field(renamed_from="price")
    size: int = 0

class Unfit(ipcsys.Record, version=2, name="Tick"):
    symbol: bytes
    price: float

class Migrating(Unfit, name="Tick"):
    pass

@Migrating.migration(from_version=1)
def never_run(values):
    raise AssertionError

class Nested:
    Same = Same
"""


class Tick(Record):
    symbol: str
    price: ipcsys.f32


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    (tmp_path / "declared.py").write_text(DECLARED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "declared", raising=False)

    def run(*words):
        status = main(["schema", *words])
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, status, said.out, said.err)

    with Segment("desk", size="1 MiB") as segment:
        segment.construct(Tick, "t", "X", 1.5)
        segment.construct(ipcsys.SharedMap, "map", {1: 2})
        yield run
        assert segment["t"]._layout().version == 1 and segment.check() == []


def test_show_prints_what_is_stored(command):
    done = command("show", "desk")
    assert done.returncode == 0, done.stderr
    assert "t: Tick, version 1" in done.stdout and "map" not in done.stdout
    assert ["price", "f32"] in [line.split() for line in done.stdout.splitlines()]
    (record,) = json.loads(command("show", "desk", "--key", "t", "--json").stdout)["records"]
    assert record["fields"][0] == {"name": "symbol", "type": "str", "former": [], "retired": False}
    assert (record["key"], record["version"], record["bytes"]) == ("t", 1, 24)


def test_diff_says_what_differs(command):
    assert command("diff", "desk", "declared:Same").returncode == 0
    done = command("diff", "desk", "declared:Newer")
    assert done.returncode == 1 and "last: was price, f32 is stored, float declared" in done.stdout
    assert "size (int) is added" in done.stdout
    (record,) = json.loads(command("diff", "desk", "declared:Unfit", "--json").stdout)["records"]
    assert {change["field"]: change["fatal"] for change in record["changes"]} == {
        "symbol": True, "price": False}  # fmt: skip


@pytest.mark.parametrize(
    ("cls", "status", "said"),
    [("Same", 0, "t: fits"), ("Nested.Same", 0, "t: fits"), ("Newer", 0, "would be upgraded"),
     ("Unfit", 1, "symbol: str is stored, bytes declared"), ("Migrating", 0, "would be migrated")],
)  # fmt: skip
def test_check_tells_whether_a_program_could_use_it(command, cls, status, said):
    done = command("check", "desk", f"declared:{cls}")
    assert (done.returncode, said in done.stdout) == (status, True), done.stdout + done.stderr
    found = json.loads(command("check", "desk", f"declared:{cls}", "--json").stdout)
    assert all(record["usable"] for record in found["records"]) == (status == 0)


def test_a_segment_s_file_is_looked_at_by_its_path(command, tmp_path):
    with Segment("filed", path=tmp_path / "f.segment", size="1 MiB") as segment:
        segment.construct(Tick, "f", "X", 1.5)
        segment.flush()
    Segment.remove("filed")
    assert "f: Tick, version 1" in command("show", str(tmp_path / "f.segment")).stdout
    assert command("check", str(tmp_path / "f.segment"), "declared:Unfit").returncode == 1


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [(("check", "desk", "declared"), 2, "module:Class"),
     (("check", "desk", "declared:Nothing"), 2, "cannot import"),
     (("check", "desk", "declared:ipcsys"), 2, "not a class derived from"),
     (("check", "nowhere", "declared:Same"), 1, "nowhere"),
     (("check", "desk", "declared:Same", "--key", "u"), 1, "'u'"),
     (("show", "desk", "--key", "map"), 1, "SharedMap")],
)  # fmt: skip
def test_what_cannot_be_answered_is_an_error(command, words, status, said):
    done = command(*words)
    assert done.returncode == status and said in done.stderr
