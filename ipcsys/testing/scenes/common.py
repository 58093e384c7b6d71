# SPDX-License-Identifier: Apache-2.0
"""What the oracles of several kinds ask, and how scenes wait for each other."""

import os
import signal
import time

from ipcsys import _core
from ipcsys.testing import stepping


def sound():
    """The dead are cleared away, and nothing of the namespace is out of order."""
    _core.sweep()
    wrong = _core.check_members() + _core.check_cells()
    assert wrong == [], wrong


def no_ghosts():
    """Whoever the member table lists is a living process, and nobody else has a folder."""
    sound()
    members = _core.members()
    assert _core.owner() in [member["owner"] for member in members]
    for member in members:
        os.kill(member["pid"], 0)
    folders = os.listdir(os.path.join(_core.folder(), ".m"))
    assert len(folders) <= len(members), (folders, members)


def users(name):
    """How many living members hold the object of that name; None where there is none."""
    sound()
    found = [facts["users"] for facts in _core.objects() if facts["name"] == name]
    return found[0] if found else None


def state_of(pid):
    """R, S, Z, ... of the process; "" where it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def until_parked(pid, seconds=20.0):
    """Wait until a process sleeps (twice in a row, so not in passing) or is dead."""
    limit, seen = time.monotonic() + seconds, 0
    while time.monotonic() < limit and seen < 3:
        state = state_of(pid)
        if state in "ZX":
            return
        seen = seen + 1 if state == "S" else 0
        time.sleep(0.001)


def until_or_dead(condition, victim, seconds=20.0):
    """Wait until condition() is true or the victim is dead; whether it lives."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and not condition():
        if state_of(victim) in ("", "Z", "X"):
            return False
        time.sleep(0.001)
    return True


def heard_of(victim, wait):
    """wait(seconds), parked, until it answers or the victim was dead before
    the last wait began: long enough for the bound of a park."""
    while True:
        dead = state_of(victim) in ("", "Z", "X")
        answer = wait(0.25)
        if answer or dead:
            return answer


def die_at_event(event, callable, *args):
    """Fork a process that calls, and dies before the given event of the call
    (or at the call's end, if it comes first)."""
    pid = os.fork()
    if pid == 0:
        try:
            stepping.kill_at_event(event, callable, *args)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def die_holding(prepare):
    """Fork a process that prepares and is killed as it stands."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            os.write(done, b"1")
            signal.pause()
        finally:
            os._exit(1)
    os.close(done)
    assert os.read(ready, 1) == b"1", "the process that was to die never got there"
    os.close(ready)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
