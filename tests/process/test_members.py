# SPDX-License-Identifier: Apache-2.0
"""The living are never robbed, the dead are always found."""

import ctypes
import os
import signal
import subprocess
import sys
import time

import pytest
import victims

import ipcsys
from ipcsys import _core

PATIENCE = 0.4  # s: several bounds of a park
PTRACE_ATTACH, PTRACE_DETACH = 16, 17


@pytest.fixture
def prize():
    lock = ipcsys.Lock(name=victims.LOCK)
    yield lock
    lock.close()


def found_dead(lock, within=5.0):
    started = time.monotonic()
    assert lock.acquire(timeout=within)
    assert lock.abandoned
    lock.release()
    return time.monotonic() - started


@pytest.mark.parametrize(
    "fate", ["without_main_thread", "relay", "drop_record_locks", "close_everything", "be_nice"]
)
def test_a_living_holder_keeps_its_lock_and_loses_it_when_killed(prize, fate):
    with victims.holder(fate) as victim:
        assert not prize.acquire(timeout=PATIENCE)
        victim.kill()
        assert found_dead(prize) < 1.0


def test_a_stopped_holder_keeps_its_lock(prize):
    with victims.holder("sleep") as victim:
        victim.send_signal(signal.SIGSTOP)
        assert not prize.acquire(timeout=PATIENCE)
        victim.send_signal(signal.SIGCONT)
        assert not prize.acquire(timeout=0.05)


def test_a_traced_holder_keeps_its_lock(prize):
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    with victims.holder("sleep") as victim:
        assert ptrace(PTRACE_ATTACH, victim.pid, 0, 0) == 0, os.strerror(ctypes.get_errno())
        assert not prize.acquire(timeout=PATIENCE)
        ptrace(PTRACE_DETACH, victim.pid, 0, 0)


def test_a_program_replaced_by_exec_holds_nothing(prize):
    with victims.holder("replace_by_exec"):
        found_dead(prize)


def test_a_core_dump_is_a_death_before_it_is_written(prize):
    with victims.holder("dump_core") as victim:
        victim.send_signal(signal.SIGABRT)
        assert found_dead(prize) < 2.0


def test_a_victim_with_a_gigabyte_is_found_before_it_is_freed(prize):
    with victims.holder("hold_much_memory") as victim:
        victim.kill()
        assert found_dead(prize) < 1.0


WAITER = f"""
import ipcsys
lock = ipcsys.Lock(name={victims.LOCK!r})
print("waiting", flush=True)
lock.acquire()
"""


def test_holder_and_first_waiter_killed_together_leave_the_lock_to_the_next(prize):
    with victims.holder("sleep") as victim:
        waiter = subprocess.Popen([sys.executable, "-c", WAITER], stdout=subprocess.PIPE)
        with waiter:
            waiter.stdout.readline()
            time.sleep(0.05)  # parked by now, or about to be: both must do
            victim.kill()
            waiter.kill()
            assert found_dead(prize) < 1.0


THOUSAND = """
import os
from ipcsys import _core
go, ready = os.pipe(), os.pipe()
children = []
for _ in range(1000):
    pid = os.fork()
    if pid == 0:
        os.close(go[1])
        _core.owner(None)
        os.write(ready[1], b".")
        os.read(go[0], 1)
        os._exit(0)
    children.append(pid)
for _ in children:
    assert os.read(ready[0], 1) == b"."
members = _core.members(None)
os.close(go[1])
for pid in children:
    os.waitpid(pid, 0)
print(len(members), len({member["slot"] for member in members}), len(_core.members(None)))
"""


def test_a_thousand_members_share_one_namespace(namespace):
    """Forked children that join, all alive at once; then all are gone.  A small process
    forks them: a copy of the tests' own, a thousand times, takes a minute."""
    done = subprocess.run(
        [sys.executable, "-c", THOUSAND], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    alive, slots, left = map(int, done.stdout.split())
    assert alive == slots >= 1000
    assert left == 1


LITTER = """
import os, pickle, signal, ipcsys
keep = [ipcsys.Lock() for _ in range(100)], ipcsys.Queue(), ipcsys.Segment(), ipcsys.SharedMap({"a": 1})
named = ipcsys.Lock(name="kept"), ipcsys.Queue(name="goes with its last user", cleanup="last")
keep[1].put(b"x" * 1_000_000)
tickets = pickle.dumps(keep)
if os.fork() == 0:
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_all_were_killed_and_one_joined_only_named_objects_are_left(namespace_folder):
    killed = subprocess.run([sys.executable, "-c", LITTER], timeout=30)
    assert killed.returncode == -signal.SIGKILL
    tidy = "import ipcsys._core as c; c.sweep(None); print(c.check_members(None))"
    done = subprocess.run([sys.executable, "-c", tidy], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "[]", done.stderr
    visible = [name for name in os.listdir(namespace_folder) if not name.startswith(".")]
    assert visible == ["kept"]
    assert os.listdir(os.path.join(namespace_folder, ".m")) == []
