# SPDX-License-Identifier: Apache-2.0
"""The harness itself: it steps what it should, and catches what is planted."""

import ctypes
import mmap
import os
import shlex
import signal
import subprocess
import sysconfig
from pathlib import Path

import pytest

from ipcsys import _core
from ipcsys._stepper import step
from ipcsys.testing import stepping, sweeping

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """planted.c as a library."""
    library = tmp_path_factory.mktemp("planted") / "planted.so"
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
    subprocess.run(
        [compiler, "-std=c11", "-O2", "-shared", "-fPIC", HERE / "planted.c", "-o", library],
        check=True, timeout=60,
    )  # fmt: skip
    return library


def swept(name, planted, points="all"):
    return sweeping.sweep(f"planted_scenes:{name}", points,
                          environment={"PLANTED_LIBRARY": str(planted)})  # fmt: skip


def test_a_store_published_too_early_is_caught(planted):
    report = swept("Wrong", planted)
    assert report.failures
    assert all("published before its bytes" in what for _point, what in report.failures)


def test_the_same_ring_in_the_right_order_passes_at_each_instruction_and_in_each_state(planted):
    each = swept("Right", planted, "each")
    assert each.failures == []
    assert each.points == each.wanted == each.steps + 1 + each.states
    states = swept("Right", planted, "all")
    assert states.failures == [] and states.points == states.states == states.events + 1 > 3
    assert states.steps == states.covered == each.covered > states.points
    assert states.before and states.after and states.beyond == 1


def test_the_planted_fault_is_found_by_leaping_from_event_to_event(planted):
    report = swept("Wrong", planted, "events")
    assert report.failures and report.points == report.events + 1
    assert swept("Right", planted, "events").failures == []


def test_a_survivor_that_hangs_is_reported_with_its_stack(planted):
    report = swept("Hanging", planted, 2)
    assert len(report.failures) == report.points
    assert "no answer in 0.5 s" in report.failures[0][1] and "verify" in report.failures[0][1]


def test_a_survivor_that_crashes_is_reported(planted):
    report = swept("Stranding", planted, 2)
    assert len(report.failures) == report.points
    assert "Aborted" in report.failures[0][1]


def wait_status(function, *args):
    pid = os.fork()
    if pid == 0:
        try:
            function(*args)
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


LIBC = next(
    (path for *_, path in stepping._mappings() if "/libc.so" in path or "/ld-musl" in path), None
)


def test_a_call_is_counted_alike_each_time_and_dies_at_the_chosen_instruction():
    steps = stepping.count(os.getppid, library=LIBC)
    assert steps == stepping.count(os.getppid, library=LIBC) > 1
    assert wait_status(lambda: stepping.kill_at(steps, os.getppid, library=LIBC)) == signal.SIGKILL
    assert wait_status(lambda: stepping.kill_at(steps + 1, os.getppid, library=LIBC)) == 0
    assert stepping.trace(os.getppid, library=LIBC).events
    assert stepping.events(os.getppid) == 1
    assert wait_status(lambda: stepping.kill_at_event(1, os.getppid)) == signal.SIGKILL
    assert wait_status(lambda: stepping.kill_at_event(2, os.getppid)) == 0


def test_a_child_forked_in_a_stepped_call_is_not_stepped():
    def fork():
        pid = os.fork()
        if pid == 0:
            os._exit(sum(range(1000)) % 100)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert stepping.trace(fork, library=LIBC).result == sum(range(1000)) % 100
    assert stepping.events(fork) >= 2


@pytest.fixture
def ring(planted, tmp_path, monkeypatch):
    """The planted scene, with its ring made and mapped here."""
    import planted_scenes

    monkeypatch.setenv("PLANTED_LIBRARY", str(planted))
    scene = planted_scenes.Right()
    scene.folder = tmp_path
    scene.create()
    return scene


def test_stores_to_shared_mappings_are_seen_and_private_ones_are_not(planted, ring):
    callable, *args = ring.operation()
    trace = stepping.trace(callable, *args, library=str(planted))
    assert 2 <= len(trace.events) <= 6
    assert stepping.events(callable, *args) == len(trace.events)


def test_the_witness_sees_a_store_that_no_protection_caught(planted, ring):
    """Through a second mapping of the file, of which the stepper is not told."""
    with open(ring.path, "r+b") as file, mmap.mmap(file.fileno(), 4096) as other:
        known = [(ring.address, ring.address + 4096)]
        text = stepping.text_of(str(planted))
        callable, _address, *rest = ring.operation()
        here = ctypes.c_char.from_buffer(other)
        strange = ctypes.c_void_p(ctypes.addressof(here))
        honest = step(callable, (_address, *rest), text, known, 0, True)
        assert honest[2] and honest[5] == []
        ring.map[:64] = bytes(64)
        blind = step(callable, (strange, *rest), text, known, 0, True)
        assert blind[2] == [] and blind[5] == [blind[1] + 1]
        del here


def test_the_witness_follows_what_the_kernel_reads_at_a_death(namespace):
    """Joining hangs the bell into the robust list, which is private memory."""

    def join():
        assert len(stepping.trace(_core.owner).lists) >= 1
        assert stepping.trace(_core.owner).lists == []
        os._exit(7)

    assert os.waitstatus_to_exitcode(wait_status(join)) == 7


def test_stepping_survives_blocked_signals_and_leaves_the_mask_alone(planted, ring):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    trace = stepping.trace(ring.code.holding, ctypes.c_void_p(ring.address), library=str(planted))
    assert trace.result == 0 and len(trace.events) == 3
    assert stepping.events(ring.code.holding, ctypes.c_void_p(ring.address)) == 3
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_an_exception_of_the_stepped_call_comes_through():
    with pytest.raises(ZeroDivisionError):
        stepping.count(lambda: 1 // 0, library=LIBC)
    assert stepping.count(os.getppid, library=LIBC) > 1


def test_an_outcome_that_is_not_its_states_is_told():
    events = [3, 5]  # three states: up to instruction 3, up to 5, and after it
    outcomes = {"event": {1: False, 2: False, 3: True}, "step": {3: False, 5: False, 6: True}}
    assert sweeping._different(events, outcomes, 0) == []
    outcomes["step"][5] = True
    assert [where for where, _what in sweeping._different(events, outcomes, 0)] == ["step 5"]
    assert sweeping._different(events, outcomes, 1) == []  # counted from one less, that time
