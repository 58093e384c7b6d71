# SPDX-License-Identifier: Apache-2.0
"""A Barrier between processes: a party that dies breaks it, one that leaves does not."""

import subprocess
import sys
import threading
import time

import pytest
from child import Child, until

import ipcsys
from ipcsys import Barrier

GO = """
barrier = ipcsys.Barrier(int(sys.argv[1]), name="gate")
say("here")
for order in iter(hear, "end"):
    try:
        say(getattr(barrier, order)())
    except ipcsys.BrokenBarrierError:
        say("broken")
"""
SOON = 0.25  # the promise is about 1 ms; this machine may be busy


def broken_by(act, barrier):
    """Seconds from act() until a wait that had begun before it broke."""
    began = []

    def later():
        time.sleep(0.1)
        began.append(time.monotonic())
        act()

    thread = threading.Thread(target=later)
    thread.start()
    with pytest.raises(ipcsys.BrokenBarrierError):
        barrier.wait(20)
    taken = time.monotonic() - began[0]
    thread.join()
    assert barrier.broken
    return taken


def test_processes_meet_round_by_round():
    barrier = Barrier(3, name="gate")
    with Child(GO, 3) as one, Child(GO, 3) as two:
        for child in (one, two):
            child.expect("here")
        for _ in range(20):
            for child in (one, two):
                child.say("wait")
            indices = [barrier.wait(20), int(one.hear()), int(two.hear())]
            assert sorted(indices) == [0, 1, 2]
        for child in (one, two):
            child.say("end")
            child.finish()
    assert not barrier.broken and barrier.check() == []


def test_a_party_that_dies_waiting_breaks_it_for_the_rest_at_once():
    barrier, times = Barrier(4, name="gate"), []
    for _ in range(4):
        barrier.reset()
        with Child(GO, 4) as victim, Child(GO, 4) as other:
            for number, child in enumerate((victim, other)):
                child.expect("here")
                child.say("wait")
                until(lambda number=number: barrier.n_waiting == number + 1)
            times.append(broken_by(victim.process.kill, barrier))
            other.expect("broken")
    assert min(times) < SOON, times


def test_it_breaks_for_one_who_comes_after_the_death():
    barrier = Barrier(2, name="gate")
    with Child(GO, 2) as victim:
        victim.expect("here")
        victim.say("wait")
        until(lambda: barrier.n_waiting == 1)
        victim.kill()
        with pytest.raises(ipcsys.BrokenBarrierError):
            barrier.wait(20)
        barrier.reset()
        assert not barrier.broken and barrier.n_waiting == 0


def test_one_that_waited_in_an_earlier_round_breaks_it_by_its_death():
    barrier, times = Barrier(2, name="gate"), []
    for _ in range(4):
        with Child(GO, 2) as victim:
            victim.expect("here")
            victim.say("wait")
            barrier.wait(20)
            victim.hear()
            times.append(broken_by(victim.process.kill, barrier))
            barrier.reset()
    assert min(times) < SOON, times


@pytest.mark.parametrize("leaving", ["close", "end"])
def test_one_that_closes_or_comes_to_its_end_only_leaves(leaving):
    barrier = Barrier(2, name="gate")
    with Child(GO, 2) as first, Child(GO, 2) as second:
        for child in (first, second):
            child.expect("here")
        first.say("wait")
        assert barrier.wait(20) in (0, 1)
        first.hear()
        first.say(leaving)
        if leaving == "close":
            first.expect("None")
            first.kill()
        else:
            first.finish()
        second.say("wait")
        assert barrier.wait(20) in (0, 1)
    assert not barrier.broken


def test_one_that_never_waited_may_die():
    barrier = Barrier(2, name="gate")
    with Child(GO, 2) as bystander, Child(GO, 2) as party:
        bystander.expect("here")
        party.expect("here")
        bystander.kill()
        party.say("wait")
        assert barrier.wait(20) in (0, 1)


def test_a_stopped_party_is_waited_for():
    barrier = Barrier(2, name="gate")
    with Child(GO, 2) as party:
        party.expect("here")
        party.say("wait")
        barrier.wait(20)
        party.hear()
        party.stop()
        party.say("wait")
        got = []
        waits = threading.Thread(target=lambda: got.append(barrier.wait(20)))
        waits.start()
        time.sleep(0.6)
        assert barrier.n_waiting == 1 and not barrier.broken
        party.go_on()
        waits.join(20)
        assert len(got) == 1 and not barrier.broken


def test_abort_and_reset_of_one_process_end_the_waits_of_others():
    barrier = Barrier(3, name="gate")
    with Child(GO, 3) as one, Child(GO, 3) as two:
        for child in (one, two):
            child.expect("here")
        for act, broken in ((barrier.abort, True), (barrier.reset, False)):
            barrier.reset()
            for child in (one, two):
                child.say("wait")
            until(lambda: barrier.n_waiting == 2)
            act()
            for child in (one, two):
                child.expect("broken")
            assert barrier.broken is broken


WORKER = """
import multiprocessing as mp, sys
import ipcsys

def act():
    print("acted", flush=True)

def work(barrier, rounds):
    for _ in range(rounds):
        barrier.wait(20)

if __name__ == "__main__":
    context = mp.get_context(sys.argv[1])
    barrier = ipcsys.Barrier(3, act)
    # Three generations: children that have come to their end break nothing.
    for _ in range(3):
        children = [context.Process(target=work, args=(barrier, 2)) for _ in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0, 0, 0]
    assert not barrier.broken
    print("ok")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_it_travels_to_child_processes_which_may_end_when_they_are_done(method, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    result = subprocess.run(
        [sys.executable, str(script), method], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.split() == ["acted"] * 6 + ["ok"], result.stderr


def test_a_forked_child_is_a_party_of_its_own():
    code = """
import os
barrier = ipcsys.Barrier(2)
pid = os.fork()
if pid == 0:
    barrier.wait(20)
    os.kill(os.getpid(), 9)
barrier.wait(20)
os.waitpid(pid, 0)
try:
    barrier.wait(20)
except ipcsys.BrokenBarrierError:
    barrier.reset()
    say("broken", barrier.broken)
"""
    with Child(code) as parent:
        parent.expect("broken False")
        parent.finish()


def test_a_daemon_thread_that_waits_at_the_end_breaks_it():
    code = """
import threading
barrier = ipcsys.Barrier(2, name="gate")
threading.Thread(target=barrier.wait, daemon=True).start()
while barrier.n_waiting == 0:
    time.sleep(0.01)
"""
    barrier = Barrier(2, name="gate")
    with Child(code) as child:
        child.finish()
    with pytest.raises(ipcsys.BrokenBarrierError):
        barrier.wait(20)
