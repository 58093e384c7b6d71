# SPDX-License-Identifier: Apache-2.0
"""The command line: what it prints, refuses and exits with."""

import contextlib
import json
import os
import subprocess
import sys
import threading

import pytest

import ipcsys
from ipcsys import _core
from ipcsys.cli import main
from ipcsys.cli.output import age_of, printable, quantity, size_of


def command(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "ipcsys", *words],
        capture_output=True, text=True, timeout=60, env={**os.environ, **environment},
    )  # fmt: skip


@contextlib.contextmanager
def holder(name):
    """Another process that holds a lock of that name open; gives its pid."""
    code = (
        "import ipcsys, sys; lock = ipcsys.Lock(name=sys.argv[1]); print('holds', flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"holds\n"
        try:
            yield process.pid
        finally:
            process.kill()


def failure(done):
    """The one JSON object on standard error."""
    (line,) = done.stderr.splitlines()
    return json.loads(line)


# -- ls --


def test_ls_lists_members_and_objects_as_tables():
    with holder("printer") as pid:
        done = command("ls")
    assert done.returncode == 0, done.stderr
    assert "Members: 1" in done.stdout and str(pid) in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if "printer" in line]
    assert line.split() == ["printer", "Lock", "4.0", "KiB", "1"]


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Event", "AtomicInt"])
def test_ls_says_what_each_small_object_is(kind):
    with getattr(ipcsys, kind)(name="thing"):
        (thing,) = json.loads(command("ls", "--json").stdout)["objects"]
    assert (thing["name"], thing["kind"]) == ("thing", kind)


def test_ls_tells_who_has_a_transaction_open_and_since_when():
    with ipcsys.Segment("bank", "64 KiB") as segment:
        with segment.transaction():
            (thing,) = json.loads(command("ls", "--json").stdout)["objects"]
            writer = thing["writer"]
            assert writer["pid"] == os.getpid() and writer["thread"] == threading.get_ident()
            assert 0 < writer["seconds"] < 60
            assert f" {os.getpid()} for " in command("ls").stdout
        (thing,) = json.loads(command("ls", "--json").stdout)["objects"]
        assert thing["writer"] is None


def test_ls_lists_members_and_objects_as_json(namespace_folder):
    with holder("printer") as pid:
        done = command("ls", "--json")
    found = json.loads(done.stdout)
    assert found["folder"] == namespace_folder
    (member,) = found["members"]
    assert member["pid"] == pid
    assert {"slot", "generation", "program", "joined", "bell"} <= set(member)
    (thing,) = found["objects"]
    assert thing == {
        "name": "printer", "kind": "Lock", "size": 4096, "max_size": 4096, "users": 1,
        "writer": None,
    }  # fmt: skip


def test_ls_of_an_empty_namespace_says_so():
    done = command("ls", "--namespace", "deserted")
    assert done.returncode == 0
    assert "Nobody is here" in done.stdout
    done = command("ls", "--namespace", "deserted", "--json")
    found = json.loads(done.stdout)
    assert (found["members"], found["objects"]) == ([], [])


def test_ls_shows_names_that_are_no_text_and_no_markup(namespace_folder):
    ipcsys.Lock(name="[red]x").close()
    with open(os.fsencode(namespace_folder) + b"/bad\xff\x1b[0mname", "w"):
        pass
    done = command("ls")
    assert done.returncode == 0, done.stderr
    assert "[red]x" in done.stdout
    assert "\x1b" not in done.stdout
    assert json.loads(command("ls", "--json").stdout)["objects"]


@pytest.mark.parametrize("words", [("ls",), ("check",), ("rm", "x")])
def test_a_bad_namespace_is_one_sentence(words):
    done = command(*words, "--namespace", "../up")
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("ipcsys: not a usable name")
    assert failure(command(*words, "--namespace", "../up", "--json"))["error"] == "InvalidName"


def test_a_place_where_no_namespace_can_be_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (str(tmp_path / "file" / "below"), "/proc/nowhere"):
        done = command("ls", IPCSYS_DIR=folder)
        assert done.returncode == 1, done.stdout
        (line,) = done.stderr.splitlines()
        assert line.startswith("ipcsys: ") and folder in line


def test_a_full_shared_memory_is_one_sentence(tmp_path):
    script = (
        f"mount -t tmpfs -o size=4k none {tmp_path} && exec {sys.executable} -m ipcsys ls --json"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "IPCSYS_DIR": str(tmp_path)},
    )  # fmt: skip
    if "mount:" in done.stderr or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount a tmpfs")
    assert done.returncode == 1, done.stdout
    assert failure(done)["error"] == "NoSpace"


# -- rm --


def test_rm_removes_what_nobody_uses():
    ipcsys.Lock(name="one").close()
    ipcsys.Lock(name="two").close()
    done = command("rm", "one", "two")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert _core.objects() == []


def test_rm_refuses_what_a_living_member_uses_unless_forced():
    with holder("printer"):
        done = command("rm", "printer")
        assert done.returncode == 1
        assert "live members use it" in done.stderr and "--force" in done.stderr
        assert [facts["name"] for facts in _core.objects()] == ["printer"]
        assert command("rm", "printer", "--force").returncode == 0
        assert _core.objects() == []


def test_rm_goes_on_after_a_refusal_and_tells_all_of_it():
    ipcsys.Lock(name="free").close()
    with holder("used"):
        done = command("rm", "used", "missing", "free", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["removed"] == ["free"]
    assert [(entry["name"], entry["error"]) for entry in told["refused"]] == [
        ("used", "InUse"),
        ("missing", "NotFound"),
    ]
    assert all(entry["message"] for entry in told["refused"])


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".slots", "x" * 300, "new\nline"])
def test_rm_of_a_bad_name_is_one_sentence(name):
    done = command("rm", "--json", "--", name)
    assert done.returncode == 1
    (refused,) = json.loads(done.stdout)["refused"]
    assert refused["error"] in ("InvalidName", "NotFound")
    done = command("rm", "--", name)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1


def test_rm_without_a_name_is_wrong_usage():
    done = command("rm")
    assert done.returncode == 2
    assert done.stderr.startswith("ipcsys: Missing argument") and "--help" in done.stderr
    assert failure(command("rm", "--json"))["error"] == "MissingParameter"


# -- check --


def test_check_finds_a_sound_namespace_sound():
    with ipcsys.Lock(name="printer"):
        done = command("check")
        assert done.returncode == 0, done.stderr
        assert "printer" in done.stdout and "sound" in done.stdout
        told = json.loads(command("check", "--json").stdout)
    assert [facts["kind"] for facts in told["checked"]] == ["members", "unnamed objects", "Lock"]
    assert all(facts["problems"] == [] for facts in told["checked"])


def test_check_tells_of_a_file_that_is_not_ours(namespace_folder):
    ipcsys.Lock(name="printer").close()
    for name, mode in (("stray", 0o600), ("public", 0o644)):
        stray = os.open(os.path.join(namespace_folder, name), os.O_WRONLY | os.O_CREAT, mode)
        os.write(stray, b"\xff" * 8192)
        os.close(stray)
    done = command("check")
    assert done.returncode == 1
    assert done.stdout.count("not a file of ipcsys") == 2
    done = command("check", "stray", "--json")
    assert done.returncode == 1
    (checked,) = json.loads(done.stdout)["checked"]
    assert checked["name"] == "stray" and len(checked["problems"]) == 1
    assert command("check", "printer").returncode == 0


def make_segment():
    ipcsys.Segment("thing", size="1 MiB").close()


def make_queue():
    with ipcsys.Queue(name="thing") as queue:
        queue.put_many([b"one", b"two", {"three": 3}])


@pytest.mark.parametrize(
    ("make", "offsets"),
    [
        (make_segment, (12, 64, 192, 320, 384)),  # head, geometry, heap, bins
        (make_queue, (12, 64, 144, 264, 392)),  # head of the file, geometry, tail, head
    ],
)
def test_check_tells_of_damage_and_leaves_the_object_there(make, offsets, namespace_folder):
    make()
    file = os.path.join(namespace_folder, "thing")
    with open(file, "rb") as whole:
        sound = whole.read()
    assert command("check", "thing").returncode == 0
    for offset in offsets:
        with open(file, "r+b") as whole:
            whole.seek(offset)
            whole.write(b"\xff" * 64)
        done = command("check", "thing", "--json")
        assert (done.returncode, done.stderr) == (1, ""), offset
        (checked,) = json.loads(done.stdout)["checked"]
        assert checked["problems"]
        with open(file, "r+b") as whole:
            whole.write(sound)
    assert command("check").returncode == 0


def test_check_of_a_missing_name_is_one_sentence():
    done = command("check", "nothing", "--json")
    assert done.returncode == 1 and done.stdout == ""
    assert failure(done)["error"] == "NotFound"
    assert "there is no 'nothing'" in command("check", "nothing").stderr


# -- demo, version, usage --


class FakeDemo:
    def __init__(self):
        self.calls = []

    def run(self, **facts):
        self.calls.append(facts)
        return 1

    def server(self, words):
        self.calls.append(("server", words))
        return 0

    def data_manager(self, words):
        self.calls.append(("data-manager", words))
        return 0


def test_demo_passes_its_options_on_and_exits_with_the_verdict(monkeypatch):
    fake = FakeDemo()
    monkeypatch.setitem(sys.modules, "ipcsys.demo", fake)
    monkeypatch.setattr(ipcsys, "demo", fake, raising=False)
    assert main(["demo", "--json", "--seconds", "2", "--clients", "5"]) == 1
    assert main(["demo", "server", "here"]) == 0
    assert main(["demo", "data-manager"]) == 0
    assert fake.calls == [
        {"json": True, "seconds": 2.0, "clients": 5},
        ("server", ("here",)),
        ("data-manager", ()),
    ]


def test_the_demonstration_runs_from_the_command_line():
    done = command("demo", "--json", "--seconds", "0.5", "--clients", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert isinstance(json.loads(done.stdout), dict)


def test_version_says_what_is_installed():
    done = command("version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"ipcsys {ipcsys.__version__}, ")
    told = json.loads(command("version", "--json").stdout)
    assert told["ipcsys"] == ipcsys.__version__
    assert told["core"] == _core.__file__


def test_no_command_prints_the_help_and_is_wrong_usage():
    done = command()
    assert done.returncode == 2 and done.stdout == ""
    for name in ("bench", "check", "demo", "ls", "rm", "version"):
        assert f"  {name} " in done.stderr
    done = command("--help")
    assert done.returncode == 0 and "Commands:" in done.stdout


def test_an_unknown_command_or_option_is_wrong_usage():
    done = command("lss")
    assert done.returncode == 2 and done.stderr.startswith("ipcsys: No such command 'lss'.")
    assert failure(command("ls", "--json", "--bogus"))["error"] == "NoSuchOption"


def test_without_the_extra_the_command_says_how_to_get_it():
    code = (
        "import sys; sys.modules['click'] = None; import ipcsys.__main__ as m; sys.exit(m.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "ls"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == "the ipcsys command needs click: pip install 'ipcsys[cli]'\n"


def test_a_reader_that_leaves_early_is_no_failure_to_speak_of():
    for number in range(3):
        ipcsys.Lock(name=f"lock {number}").close()
    script = f"exec {sys.executable} -m ipcsys ls > /dev/full"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "No space left" in done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "ipcsys", "ls"], stdout=writer, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_units():
    assert quantity(1.25e-6, "s") == "1.25 µs"
    assert quantity(3.4e6, "messages/s") == "3.40 M messages/s"
    assert quantity(0, "s") == "0.00 s"
    assert quantity(999.96e-9, "s") == "1.00 µs"
    assert [size_of(n) for n in (0, 1023, 4096, 3 << 20, 5 << 30)] == [
        "0 B", "1023 B", "4.0 KiB", "3.0 MiB", "5.0 GiB",
    ]  # fmt: skip
    assert [age_of(n) for n in (-1, 59, 150, 7300, 200_000)] == [
        "0 s", "59 s", "2 min", "2 h", "2 d",
    ]  # fmt: skip
    assert printable("a\x1b[0m\udcff\tö") == "a\\x1b[0m\\udcff\\tö"
