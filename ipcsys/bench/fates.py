# SPDX-License-Identifier: Apache-2.0
"""The same kills on multiprocessing and on ours, and what becomes of the others.

A stage of its own makes the object and forks who plays: the victim, until it
stands where it is to die; a survivor, with an operation of its own; a helper,
who does after the kill what the survivor waits for.  A round ends when the
survivor is through, or after a bounded wait with everybody killed.
"""

import contextlib
import multiprocessing
import os
import select
import signal
import struct
import threading
import time
from dataclasses import dataclass

from ipcsys.bench.contest import Idle
from ipcsys.bench.figures import LESS, Latency, Spread
from ipcsys.bench.pairs import Failed, Pair
from ipcsys.bench.report import OURS, Row, Table

STANDARD = "multiprocessing"
_LARGE = bytes(1 << 20)
_MOMENT = struct.Struct("<q")


def _ours():
    import ipcsys

    return ipcsys


_HOUSES = {OURS: _ours, STANDARD: lambda: multiprocessing.get_context("fork")}


@dataclass(frozen=True)
class Fate:
    """One kill: what each one does with the object; None: there is no such one."""

    title: str
    make: object  # house -> the object
    victim: object
    survivor: object
    helper: object = None  # begins after the kill
    parked: bool = True  # the victim dies asleep in its operation, else once it returned
    afterwards: bool = False  # the survivor begins after the kill, else it is parked before it


def _hold(lock):
    lock.acquire()


def _put_without_end(queue):
    while True:
        queue.put(_LARGE)


def _read_and_write(queue):
    """Take one of those that fill it, and send another in its place."""
    queue.get()
    queue.put(b"mine")


def _wait_on(condition):
    with condition:
        condition.wait()


def _notify_all(condition):
    with condition:
        condition.notify_all()


def _until_broken(barrier):
    with contextlib.suppress(threading.BrokenBarrierError):
        barrier.wait()
        raise RuntimeError("a barrier opened without all its parties")


FATES = (
    Fate("the holder of a lock: until another has it",
         lambda house: house.Lock(), _hold, _hold, parked=False),
    Fate("a reader of a queue: until another reads",
         lambda house: house.Queue(), lambda queue: queue.get(), lambda queue: queue.get(),
         lambda queue: queue.put(b"news")),
    Fate("a writer of a queue, of 1 MiB: until another reads and writes",
         lambda house: house.Queue(4), _put_without_end, _read_and_write, afterwards=True),
    Fate("a waiter of a condition: until a notify_all wakes another",
         lambda house: house.Condition(), _wait_on, _wait_on, _notify_all),
    Fate("a party of a barrier: until another is told",
         lambda house: house.Barrier(3), _until_broken, _until_broken),
)  # fmt: skip


# --- the stage --------------------------------------------------------------------


class _Player:
    """A forked process that plays one part, once told to, and tells when it is through."""

    def __init__(self, part, thing):
        self._from, to = os.pipe()
        told, self._to = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.read(told, 1)
                part(thing)
                os.write(to, _MOMENT.pack(time.perf_counter_ns()))
                while True:
                    signal.pause()
            finally:
                os._exit(1)
        os.close(to)
        os.close(told)

    def go(self):
        os.write(self._to, b"!")

    def through(self, seconds):
        """The moment when it was, None where that does not come, or it failed."""
        poll = select.poll()
        poll.register(self._from, select.POLLIN)
        if not poll.poll(max(0.0, seconds) * 1000):
            return None
        said = os.read(self._from, _MOMENT.size)
        if not said:
            raise RuntimeError("a survivor failed instead of waiting")
        return _MOMENT.unpack(said)[0]

    def until_parked(self, seconds=10.0):
        """Until all its threads sleep, seen some times in a row."""
        deadline, seen = time.monotonic() + seconds, 0
        while seen < 4:
            if time.monotonic() > deadline:
                raise TimeoutError("a player never went to sleep")
            time.sleep(0.002)
            seen = seen + 1 if self._sleeps() else 0

    def _sleeps(self):
        folder = f"/proc/{self.pid}/task"
        states = []
        for thread in os.listdir(folder):
            try:
                with open(f"{folder}/{thread}/stat") as text:
                    states.append(text.read().rpartition(")")[2].split()[0])
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                return False
        return set(states) == {"S"}

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def close(self):
        self.kill()
        os.close(self._from)
        os.close(self._to)


def play(fate, house, patience):
    """Nanoseconds from the kill until the survivor was through, None where it never was."""
    thing = fate.make(house)
    with contextlib.ExitStack() as stack:

        def enter(part):
            player = _Player(part, thing)
            stack.callback(player.close)
            return player

        victim, survivor = enter(fate.victim), enter(fate.survivor)
        helper = enter(fate.helper) if fate.helper is not None else None
        victim.go()
        if fate.parked:
            victim.until_parked()
        elif victim.through(10.0) is None:
            raise TimeoutError("the victim never got there")
        if not fate.afterwards:
            survivor.go()
            survivor.until_parked()
        killed = time.perf_counter_ns()
        os.kill(victim.pid, signal.SIGKILL)
        if helper is not None:
            helper.go()
        if fate.afterwards:
            survivor.go()
        moment = survivor.through(patience)
        return None if moment is None else moment - killed


class Stage:
    """The process in which rounds are played."""

    def open(self):
        pass

    def run(self, title, who, rounds, patience):
        fate = next(fate for fate in FATES if fate.title == title)
        house = _HOUSES[who]()
        times = []
        for _ in range(rounds):
            times.append(play(fate, house, patience))
            if times[-1] is None:
                break
        return times

    def close(self):
        pass


# --- the tables -------------------------------------------------------------------


def _row(who, times, patience):
    if None in times:
        lived = f" (after {len(times) - 1} rounds that went well)" if len(times) > 1 else ""
        return Row(who, note=f"never: gave up after {patience:g} s{lived}")
    spread = Spread.of([sample * 1e-9 for sample in times])
    return Row(who, spread, Latency.of_nanoseconds(times))


def fate_table(fate, rounds, cpus, patience=1.0, rivals=True):
    rows = []
    for who in (OURS, STANDARD) if rivals else (OURS,):
        try:
            with Pair(Stage(), Idle(), cpus) as pair:
                limit = 30.0 + rounds * (patience + 1.0)
                times, _none = pair.run((fate.title, who, rounds, patience), (), limit)
            rows.append(_row(who, times, patience))
        except Failed as error:
            rows.append(Row(who, failed=str(error)))
    return Table(f"kill -9 of {fate.title}", "s", LESS, tuple(rows))


def tables(cpus, rounds, rivals, listener):
    """A table for each fate."""
    found = []
    for fate in FATES:
        listener.listen()
        found.append(fate_table(fate, min(rounds, 20), cpus, rivals=rivals))
    return found
