# SPDX-License-Identifier: Apache-2.0
"""AtomicInt, AtomicFloat and AtomicBool between processes: waits, notifications, signals."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from ipcsys import AtomicBool, AtomicFloat, AtomicInt, Segment


def _play(turn, total, done, rounds):
    for number in range(rounds):
        turn.wait(2 * number, 30)
        total.add(0.5)
        turn.store(2 * number + 2)
        turn.notify_all()
    done.store(True)
    done.notify_all()


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("place", ["unnamed", "segment"])
def test_two_processes_take_turns(start, place):
    rounds = 50
    if place == "segment":
        segment = Segment(None)
        words = (segment.construct(AtomicInt, "turn"), segment.construct(AtomicFloat, "total"),
                 segment.construct(AtomicBool, "done"))  # fmt: skip
    else:
        words = AtomicInt(), AtomicFloat(), AtomicBool()
    turn, total, done = words
    process = multiprocessing.get_context(start).Process(target=_play, args=(*words, rounds))
    process.start()
    for number in range(rounds):
        turn.store(2 * number + 1)
        turn.notify()
        while turn.load() == 2 * number + 1:
            assert turn.wait(2 * number + 1, 30)
    assert done.wait(False, 30)
    process.join(30)
    assert process.exitcode == 0 and total == rounds / 2 and turn == 2 * rounds


def test_ctrl_c_ends_a_wait():
    program = (
        "import ipcsys\n"
        "word = ipcsys.AtomicInt()\n"
        "print('waiting', flush=True)\n"
        "try:\n"
        "    word.wait(0)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', word.load(), flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "waiting\n"
        time.sleep(0.1)
        os.kill(child.pid, signal.SIGINT)
        out, _ = child.communicate(timeout=30)
    finally:
        child.kill()
    assert out == "interrupted 0\n" and child.returncode == 0


def test_nobody_waits_no_system_call_is_made():
    """A million steps and notifications take less than one system call each would."""
    word = AtomicInt()
    before = os.times()
    for _ in range(100_000):
        word.add(1)
        word.notify()
    after = os.times()
    assert word == 100_000
    assert after.system - before.system < 0.05, "notify() goes to the kernel"
