# SPDX-License-Identifier: Apache-2.0
"""RLock between processes: its holder is killed, stopped, or one of many."""

import os
import signal
import subprocess
import sys
import time

import pytest
from child import Child, until

from ipcsys import RLock

HOLD = """
lock = ipcsys.RLock(name="door")
for _ in range(5):
    lock.acquire()
say("held")
hear()
for _ in range(5):
    lock.release()
say("released")
hear()
"""


def test_the_next_owner_of_a_killed_holders_lock_begins_at_one():
    lock = RLock(name="door")
    with Child(HOLD) as holder:
        holder.expect("held")
        assert lock.locked() and lock.owner == holder.pid
        assert lock.acquire(False) is False and not lock._is_owned()
        with pytest.raises(RuntimeError):
            lock.release()
        holder.kill()
    assert lock.acquire(timeout=10)
    assert lock.abandoned and lock._recursion_count() == 1 and lock.owner == os.getpid()
    assert lock.acquire() and lock._recursion_count() == 2 and lock.abandoned
    lock.release()
    lock.release()
    assert not lock.abandoned and not lock.locked()


def test_a_try_without_waiting_finds_the_dead_too():
    lock = RLock(name="door")
    with Child(HOLD) as holder:
        holder.expect("held")
        holder.kill()
    until(lambda: lock.acquire(False), 2)
    assert lock.abandoned and lock._recursion_count() == 1


def test_acquire_restore_takes_over_from_the_dead():
    lock = RLock(name="door")
    lock.acquire()
    lock.acquire()
    saved = lock._release_save()
    with Child(HOLD) as holder:
        holder.expect("held")
        os.kill(holder.pid, signal.SIGKILL)
        lock._acquire_restore(saved)
    assert lock.abandoned and lock._recursion_count() == 2


def test_a_stopped_holder_is_never_robbed():
    lock = RLock(name="door")
    with Child(HOLD) as holder:
        holder.expect("held")
        holder.stop()
        assert lock.acquire(timeout=0.5) is False
        assert lock.owner == holder.pid and not lock.abandoned
        holder.go_on()
        holder.say()
        holder.expect("released")
        assert lock.acquire(timeout=5) and not lock.abandoned


def test_each_of_many_waiters_gets_its_turn_after_two_deaths_at_once():
    lock = RLock(name="door")
    turn = """
lock = ipcsys.RLock(name="door")
say("waiting")
assert lock.acquire(timeout=15) and lock.acquire()
say("mine", lock._recursion_count())
lock.release()
lock.release()
"""
    with Child(HOLD) as holder:
        holder.expect("held")
        waiters = [Child(turn) for _ in range(4)]
        try:
            for waiter in waiters:
                waiter.expect("waiting")
            time.sleep(0.1)
            os.kill(waiters[0].pid, signal.SIGKILL)
            holder.kill()
            for waiter in waiters[1:]:
                waiter.expect("mine 2")
                waiter.finish()
        finally:
            for waiter in waiters:
                waiter.__exit__()
    assert lock.acquire(timeout=5)


WORKER = """
import multiprocessing as mp, sys
import ipcsys

def work(lock, total, times):
    for _ in range(times):
        with lock:
            with lock:
                total.value += 1

if __name__ == "__main__":
    context = mp.get_context(sys.argv[1])
    lock, total = ipcsys.RLock(), context.Value("q", 0, lock=False)
    workers = [context.Process(target=work, args=(lock, total, 2000)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(total.value, lock.locked())
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_it_travels_to_child_processes_and_excludes_them(method, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    result = subprocess.run(
        [sys.executable, str(script), method], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip() == "6000 False", result.stderr
