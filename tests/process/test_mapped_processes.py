# SPDX-License-Identifier: Apache-2.0
"""Segments in files between processes: everybody killed, flushers killed, a full disk."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from child import Child

from ipcsys import AtomicInt, Segment, SharedMap, errors


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.ipcsys"


def in_file(path):
    """The state that a reboot would find, by way of a copy."""
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    try:
        with Segment(path=copy, create=False) as segment:
            assert segment.check() == []
            with segment["values"] as values:
                return dict(values)
    finally:
        Segment.remove(path=copy)


def test_kill_minus_nine_of_everybody_loses_nothing(path):
    program = f"""
seg = ipcsys.Segment("all", path={str(path)!r})
values = seg.find_or_construct(ipcsys.SharedMap, "values")
values["committed"] = 1
say("done")
hear()
"""
    with Child(program) as child:
        child.expect("done")
        child.kill()
    with Segment(path=path, create=False) as segment:
        assert segment.name == "all"
        assert segment["values"] == {"committed": 1}
        assert segment.stats().members == 1
        assert segment.check() == []


FLUSH_FOR_EVER = """
seg = ipcsys.Segment(path=PATH, create=False)
say("ready")
values = seg["values"]
number = 0
while True:
    number += 1
    with seg.transaction():
        for key in ("a", "b", "c"):
            values[key] = number
        values["filling"] = bytes([number % 250 + 1]) * 100_000
    seg.flush()
"""


def test_killed_flushers_leave_the_old_state_or_the_new_one_whole(path):
    with Segment(path=path, size="1 MiB") as segment:
        segment.construct(SharedMap, "values", {"a": 0, "b": 0, "c": 0, "filling": b""})
        segment.flush()
        for round_ in range(8):
            with Child(FLUSH_FOR_EVER.replace("PATH", repr(str(path)))) as child:
                child.expect("ready")
                time.sleep(0.02 + 0.013 * round_)
                child.kill()
            found = in_file(path)
            assert found["a"] == found["b"] == found["c"]
            assert found["filling"] == bytes([found["a"] % 250 + 1]) * 100_000 or found["a"] == 0
            segment.flush(timeout=5)
            assert in_file(path) == dict(segment["values"])


def _open_and_tell(path, start, answers):
    start.wait()
    with Segment(path=path, create=False) as segment, segment["values"] as values:
        answers.put((segment.name, values["a"]))


def test_first_openers_at_once_share_one_live_memory(path):
    segment = Segment(path=path)
    segment.construct(SharedMap, "values", {"a": 7}).close()
    segment.flush()
    name = segment.name
    segment.close()
    Segment.remove(name)
    fork = multiprocessing.get_context("fork")
    start, answers = fork.Event(), fork.Queue()
    openers = [fork.Process(target=_open_and_tell, args=(path, start, answers)) for _ in range(5)]
    for opener in openers:
        opener.start()
    start.set()
    assert {answers.get(timeout=20) for _ in openers} == {(name, 7)}
    for opener in openers:
        opener.join(20)
        assert opener.exitcode == 0


def _flush_by_handle(segment, path):
    with segment["values"] as values:
        values["a"] = 2
    assert segment.path == str(path)
    assert segment.flush() > 0


def test_a_handle_that_travelled_flushes_too(path):
    with Segment(path=path) as segment:
        segment.construct(SharedMap, "values", {"a": 1}).close()
        spawn = multiprocessing.get_context("spawn")
        child = spawn.Process(target=_flush_by_handle, args=(segment, path))
        child.start()
        child.join(30)
        assert child.exitcode == 0
        assert in_file(path) == {"a": 2}


def test_the_next_member_goes_on_flushing_when_one_dies(path):
    program = f"""
seg = ipcsys.Segment(path={str(path)!r}, autoflush=0.05)
say("ready")
hear()
"""
    with Segment(path=path) as segment:
        values = segment.construct(SharedMap, "values", {"a": 0})
        segment.flush()
        with Child(program) as first, Child(program) as second:
            first.expect("ready")
            second.expect("ready")
            first.kill()
            values["a"] = 1
            deadline = time.monotonic() + 10
            while in_file(path) != {"a": 1} and time.monotonic() < deadline:
                time.sleep(0.02)
            assert in_file(path) == {"a": 1}
        values.close()


def test_a_forked_child_does_not_keep_the_files_lock(path):
    program = """
import threading
seg = ipcsys.Segment(path=PATH, create=False)
def flush():
    while True:
        seg["number"].add(1)
        seg.flush()
threading.Thread(target=flush, daemon=True).start()
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        time.sleep(30)
        os._exit(0)
    say(str(pid))
say("forked")
hear()
"""
    with Segment(path=path) as segment:
        segment.construct(AtomicInt, "number").close()
        with Child(program.replace("PATH", repr(str(path)))) as child:
            children = [int(child.hear()) for _ in range(20)]
            child.expect("forked")
            child.kill()
        try:
            segment.flush(timeout=5)
        finally:
            for pid in children:
                os.kill(pid, signal.SIGKILL)


FULL = """
import os
import ipcsys
path = "PATH/file"
segment = ipcsys.Segment(path=path, size="8 MiB")
values = segment.construct(ipcsys.SharedMap, "values", {"a": 1})
segment.flush()
size = os.path.getsize(path)
values["big"] = os.urandom(4_000_000)
for _ in range(2):
    try:
        segment.flush()
    except ipcsys.NoSpace as error:
        assert "stays as it was last flushed" in str(error) and path in str(error), error
    else:
        raise AssertionError("there was room")
    assert os.path.getsize(path) == size, "what was written in vain is given back"
try:
    segment.snapshot("PATH/second")
except ipcsys.NoSpace:
    pass
else:
    raise AssertionError("there was room")
assert os.listdir("PATH") == ["file"]
del values["big"]
values["a"] = 2
segment.flush()
values.close()
name = segment.name
segment.close()
ipcsys.Segment.remove(name)
with ipcsys.Segment(path=path) as segment:
    assert segment["values"] == {"a": 2}
ipcsys.Segment.remove(path=path)
"""


def test_a_full_disk_leaves_the_last_image_and_says_so(tmp_path):
    program = FULL.replace("PATH", str(tmp_path))
    script = f'mount -t tmpfs -o size=1m none {tmp_path} && exec {sys.executable} -c "$PROGRAM"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PROGRAM": program},
    )  # fmt: skip
    if "mount:" in done.stderr or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount a tmpfs")
    assert done.returncode == 0, done.stderr


def test_a_stopped_flusher_is_waited_for_and_named_by_its_file(path):
    with Segment(path=path) as segment:
        segment.construct(SharedMap, "values", {"a": 0, "b": 0, "c": 0, "filling": b""})
        with Child(FLUSH_FOR_EVER.replace("PATH", repr(str(path)))) as child:
            child.expect("ready")
            for _ in range(50):
                child.stop()
                try:
                    segment.flush(timeout=0.05)
                except errors.Timeout as error:
                    said = str(error)
                    break
                child.go_on()
                time.sleep(0.005)
            else:
                pytest.fail("it was never stopped in the middle of a flush")
            assert "state.ipcsys" in said or "timed out" in said
            child.kill()
        segment.flush(timeout=5)
