# SPDX-License-Identifier: Apache-2.0
"""An RWLock between processes: who dies is gone, who stands still keeps what it holds."""

import subprocess
import sys
import threading
import time

import pytest
from child import Child, until

from ipcsys import RWLock, _core

HOLD = """
lock = ipcsys.RWLock(name="door")
for step in sys.argv[1:]:
    getattr(lock, step)()
say("holds")
for step in iter(hear, ""):
    say(getattr(lock, step)())
"""
SOON = 0.25  # the promise is about 1 ms; this machine may be busy


def outlived(wait, *steps):
    """Seconds from a kill of one who did these steps until wait() returned."""
    times = []
    for _ in range(4):
        with Child(HOLD, *steps) as holder:
            holder.expect("holds")
            died = []

            def kill(holder=holder, died=died):
                time.sleep(0.05)
                died.append(time.monotonic())
                holder.process.kill()

            killer = threading.Thread(target=kill)
            killer.start()
            assert wait(timeout=10)
            times.append(time.monotonic() - died[0])
            killer.join()
            yield
    assert min(times) < SOON, times


def test_a_writer_does_not_wait_for_a_dead_reader():
    lock = RWLock(name="door")
    for _ in outlived(lock.acquire_write, "acquire_read", "acquire_read"):
        assert not lock.abandoned and lock.readers == 0
        lock.release_write()


def test_readers_and_writers_get_what_a_dead_writer_held_and_are_told():
    lock = RWLock(name="door")
    for _ in outlived(lock.acquire_read, "acquire_write"):
        assert lock.abandoned and lock.writer is None
        lock.release_read()
        assert lock.abandoned, "reading mends nothing"
        with lock.write():
            assert lock.abandoned
        assert not lock.abandoned
    for _ in outlived(lock.acquire_write, "acquire_write"):
        assert lock.abandoned
        lock.downgrade()
        assert not lock.abandoned
        lock.release_read()
    for _ in outlived(lock.acquire_read, "acquire_read", "upgrade"):
        assert lock.abandoned and lock.upgrade(timeout=5)
        lock.release_write()
        assert not lock.abandoned


def test_a_downgraded_writer_dies_as_a_reader():
    lock = RWLock(name="door")
    for _ in outlived(lock.acquire_write, "acquire_write", "downgrade"):
        assert not lock.abandoned
        lock.release_write()


def test_a_try_without_waiting_finds_the_dead_too():
    lock = RWLock(name="door")
    with Child(HOLD, "acquire_write") as holder:
        holder.expect("holds")
        assert not lock.try_read() and not lock.try_write() and lock.writer == holder.pid
        holder.kill()
        until(lock.try_read, 2)
        assert lock.abandoned and lock.writer is None
        lock.release_read()
    with Child(HOLD, "acquire_read") as holder:
        holder.expect("holds")
        assert not lock.try_write() and lock.readers == 1
        holder.kill()
        until(lock.try_write, 2)
        lock.release_write()


def test_who_is_stopped_is_never_robbed():
    lock = RWLock(name="door")
    with Child(HOLD, "acquire_read") as holder:
        holder.expect("holds")
        holder.stop()
        assert lock.acquire_write(timeout=0.7) is False and lock.readers == 1
        assert lock.acquire_read(timeout=5) is True
        lock.release_read()
        holder.go_on()
        holder.say("release_read")
        holder.expect("None")
        assert lock.acquire_write(timeout=5) is True
        lock.release_write()
    with Child(HOLD, "acquire_write") as holder:
        holder.expect("holds")
        holder.stop()
        assert lock.acquire_read(timeout=0.4) is False
        assert lock.acquire_write(timeout=0.4) is False
        assert lock.writer == holder.pid and not lock.abandoned
        holder.go_on()
        holder.say("release_write")
        holder.expect("None")
        assert lock.acquire_write(timeout=5) is True and not lock.abandoned
        lock.release_write()


def test_one_that_is_stopped_while_it_waits_keeps_nobody_out():
    lock = RWLock(name="door")
    lock.acquire_write()
    code = "lock = ipcsys.RWLock(name='door'); say('waits'); say(lock.acquire_read(timeout=20))"
    with Child(code) as reader:
        reader.expect("waits")
        time.sleep(0.1)
        reader.stop()
        lock.release_write()
        start = time.monotonic()
        for _ in range(20):
            assert lock.acquire_write(timeout=5)
            lock.release_write()
        assert time.monotonic() - start < 2
        reader.go_on()
        reader.expect("True")


def test_a_writer_that_dies_waiting_opens_the_way_for_readers():
    lock = RWLock(name="door")
    lock.acquire_read()
    with Child("lock = ipcsys.RWLock(name='door'); say('waits'); lock.acquire_write()") as writer:
        writer.expect("waits")
        read = []
        until(lambda: threading.Thread(target=lambda: read.append(lock.try_read())).start()
              or time.sleep(0.02) or False in read)  # fmt: skip
        for _ in range(read.count(True)):
            lock.release_read()
        reads = threading.Thread(target=lambda: lock.acquire_read(timeout=10))
        reads.start()
        time.sleep(0.05)
        writer.kill()
        reads.join(10)
        assert lock.readers == 2 and not lock.abandoned
    lock.release_read()
    lock.release_read()
    assert lock.try_write()
    lock.release_write()


def test_of_two_processes_that_upgrade_the_second_is_told():
    code = """
lock = ipcsys.RWLock(name="door")
lock.acquire_read()
say("reads")
hear()
try:
    lock.upgrade(timeout=10)
    say("upgraded")
except ipcsys.DeadlockError:
    say("deadlock")
    lock.release_read()
hear()
"""
    with Child(code) as one, Child(code) as two:
        for child in (one, two):
            child.expect("reads")
        for child in (one, two):
            child.say()
        assert sorted(child.hear() for child in (one, two)) == ["deadlock", "upgraded"]


def test_an_upgrader_that_dies_is_in_nobodys_way():
    lock = RWLock(name="door")
    lock.acquire_read()
    code = """
lock = ipcsys.RWLock(name="door")
lock.acquire_read()
say("reads")
lock.upgrade()
"""
    with Child(code) as child:
        child.expect("reads")
        time.sleep(0.1)
        child.kill()
        assert lock.upgrade(timeout=5) is True and not lock.abandoned
        lock.release_write()


WORKER = """
import multiprocessing as mp, sys
import ipcsys

def work(lock, event, done):
    with lock.read():
        event.set()
        assert lock.upgrade(timeout=10)
    done.set()

if __name__ == "__main__":
    context = mp.get_context(sys.argv[1])
    lock, event, done = ipcsys.RWLock(), ipcsys.Event(), ipcsys.Event()
    lock.acquire_read()
    process = context.Process(target=work, args=(lock, event, done))
    process.start()
    assert event.wait(20) and not done.wait(0.05)
    lock.release_read()
    assert done.wait(10)
    process.join()
    with lock.write():
        assert not lock.abandoned
    print("ok")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_it_travels_to_child_processes(method, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    result = subprocess.run(
        [sys.executable, str(script), method], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip() == "ok", result.stderr


def test_more_processes_read_than_the_first_page_has_lines():
    """70 members, so that the table has to grow; they die all at once."""
    code = """
import os, signal, sys
lock, total = ipcsys.RWLock(name="door"), 70
for _ in range(total):
    if os.fork() == 0:
        lock.acquire_read()
        signal.pause()
while lock.readers < total:
    time.sleep(0.01)
say("all")
hear()
os.killpg(0, signal.SIGKILL)
"""
    lock = RWLock(name="door")
    with Child("os.setpgid(0, 0)\n" + code, deadline=40) as child:
        child.expect("all")
        assert lock.readers == 70 and lock.try_read() and not lock.try_write()
        lock.release_read()
        child.say()
        assert lock.acquire_write(timeout=20)
        lock.release_write()
        child.process.wait(10)
    assert lock.check() == [] and _core.check_members() == []
