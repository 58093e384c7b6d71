# SPDX-License-Identifier: Apache-2.0
"""The primitives beside their namesakes: undisturbed, fought over, handed to and fro."""

import functools
import os
import statistics
import threading
import time
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawValue

from ipcsys.bench import loops
from ipcsys.bench.contest import Idle, OnSource, Timed
from ipcsys.bench.messages import token
from ipcsys.bench.pairs import Failed, context
from ipcsys.bench.report import OURS

LATE = 60.0  # seconds that any one turn may take


class OurSource:
    """One of our primitives, by name in whichever process asks."""

    def __init__(self, kind, args):
        self._kind, self._args, self._name = kind, args, token()

    def get(self):
        import ipcsys

        return getattr(ipcsys, self._kind)(*self._args, name=self._name)


class StandardSource:
    """One of multiprocessing's, pickled to the children it spawns."""

    def __init__(self, kind, args):
        self._thing = getattr(context(), kind)(*args)

    def get(self):
        return self._thing


class ThreadSource:
    """One of threading's: no use between processes, but what one has inside one."""

    def __init__(self, kind, args):
        self._kind, self._args = kind, args

    def get(self):
        return getattr(threading, self._kind)(*self._args)


@dataclass(frozen=True)
class Maker:
    """What a contest makes its source from."""

    who: str
    make: type
    kind: str
    args: tuple = ()
    reference: bool = False

    def __call__(self):
        return self.make(self.kind, self.args)


def between_processes(kind, *args):
    return (
        Maker(OURS, OurSource, kind, args),
        Maker(f"multiprocessing.{kind}", StandardSource, kind, args),
    )


def namesakes(kind, *args):
    return (
        *between_processes(kind, *args),
        Maker(f"threading.{kind}", ThreadSource, kind, args),
    )


class Worker:
    """A process with the primitive, which runs one of the works below on it."""

    def __init__(self, source, shared=None):
        self._source, self._shared = source, shared

    def open(self):
        self._thing = self._source.get()

    def run(self, work, *arguments):
        return work(self._thing, self._shared, *arguments)

    def close(self):
        pass


# --- undisturbed ------------------------------------------------------------------


def time_statement(thing, _shared, statement, names, count):
    """Nanoseconds for the statement; `names` are what it calls of the thing ("" is itself)."""
    scope = {name: getattr(thing, what) if what else thing for name, what in names.items()}
    return loops.typical(scope, statement, count)


class Undisturbed(OnSource):
    """Seconds for a statement with nobody else there."""

    def __init__(self, maker, statement, names, count, cpus):
        super().__init__(maker, cpus)
        self._arguments = time_statement, statement, names
        self._count = count

    def open(self):
        self._start(lambda source: (Worker(source), Idle()))
        self._time(1000)

    def measure(self):
        return self._time(self._count) * 1e-9

    def _time(self, count):
        return self._pair.run((*self._arguments, count), (), LATE)[0]


PAIR = "acquire(); release()", {"acquire": "acquire", "release": "release"}
WITH = "with thing: pass", {"thing": ""}
READ = "enter(); leave()", {"enter": "acquire_read", "leave": "release_read"}
LOOK = "is_set()", {"is_set": "is_set"}


# --- fought over ------------------------------------------------------------------


def increment(lock, counter, until):
    """Increments done before the moment `until`."""
    acquire, release, now = lock.acquire, lock.release, time.perf_counter_ns
    done = 0
    while now() < until:
        for _ in range(50):
            acquire()
            counter.value += 1
            release()
        done += 50
    return done


def time_waits(lock, counter, until):
    """The same, and how long each acquire took."""
    acquire, release, now = lock.acquire, lock.release, time.perf_counter_ns
    waits = []
    note, begun = waits.append, now()
    while begun < until:
        begun = now()
        acquire()
        note(now() - begun)
        counter.value += 1
        release()
    return waits


class _Fought(OnSource):
    def __init__(self, maker, seconds, cpus):
        super().__init__(maker, cpus)
        self._seconds, self._total = seconds, 0

    def open(self):
        self._counter = RawValue("Q", 0)
        self._start(lambda source: tuple(Worker(source, self._counter) for _ in range(2)))
        self._fight(increment, 0.02)

    def _fight(self, work, seconds):
        until = time.perf_counter_ns() + round(seconds * 1e9)
        before = self._counter.value
        found = self._pair.run((work, until), (work, until), LATE + seconds)
        self._check(before, found)
        return found

    def _check(self, before, found):
        done = sum(part if isinstance(part, int) else len(part) for part in found)
        if self._counter.value - before != done:
            raise Failed(f"of {done} increments {self._counter.value - before} are there")


class Counting(_Fought):
    """Increments a second of two processes that do nothing else."""

    def measure(self):
        return sum(self._fight(increment, self._seconds)) / self._seconds


class Waits(Timed, _Fought):
    """Nanoseconds that each acquire of two such processes took."""

    def measure(self):
        first, second = self._fight(time_waits, self._seconds)
        return first + second


# --- handed to and fro ------------------------------------------------------------


def take_turns(condition, turn, me, rounds):
    """Nanoseconds for each round in which both had their turn."""
    start = time.perf_counter_ns()
    for _ in range(rounds):
        with condition:
            while turn.value != me:
                condition.wait()
            turn.value = 1 - me
            condition.notify()
    return (time.perf_counter_ns() - start) / rounds


class Turns(OnSource):
    """Seconds for a round of two processes that wake each other."""

    def __init__(self, maker, rounds, cpus):
        super().__init__(maker, cpus)
        self._rounds = rounds

    def open(self):
        turn = RawValue("Q", 0)
        self._start(lambda source: tuple(Worker(source, turn) for _ in range(2)))
        self._take(100)

    def measure(self):
        return self._take(self._rounds) * 1e-9

    def _take(self, rounds):
        return self._pair.run((take_turns, 0, rounds), (take_turns, 1, rounds), LATE)[0]


def notify_all(condition, waiting, waiters, rounds):
    """Nanoseconds that one notify_all, and the release after it, take the notifier."""
    took, now, end = [], time.perf_counter_ns, time.monotonic() + LATE
    while len(took) < rounds:
        condition.acquire()
        if waiting.value < waiters:
            condition.release()
            if time.monotonic() > end:
                raise RuntimeError(f"only {waiting.value} of {waiters} came to wait")
            time.sleep(0.0005)
            continue
        waiting.value = 0
        start = now()
        condition.notify_all()
        condition.release()
        took.append(now() - start)
    return statistics.median(took)


def be_notified(condition, waiting, waiters, rounds):
    """So many threads that wait, again and again."""

    def run():
        for _ in range(rounds):
            with condition:
                waiting.value += 1
                condition.wait()

    threads = [threading.Thread(target=run) for _ in range(waiters)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LATE)
    return sum(thread.is_alive() for thread in threads)


class Notifying(OnSource):
    """Seconds that a notify_all costs the notifier, with so many that wait."""

    def __init__(self, maker, waiters, rounds, cpus):
        super().__init__(maker, cpus)
        self._waiters, self._rounds = waiters, rounds

    def open(self):
        self._waiting = RawValue("Q", 0)
        self._start(lambda source: tuple(Worker(source, self._waiting) for _ in range(2)))
        self._notify(2)

    def measure(self):
        return self._notify(self._rounds) * 1e-9

    def _notify(self, rounds):
        self._waiting.value = 0
        took, stuck = self._pair.run(
            (notify_all, self._waiters, rounds), (be_notified, self._waiters, rounds), LATE
        )
        if stuck:
            raise Failed(f"{stuck} of {self._waiters} were not woken")
        return took


def meet(barrier, _shared, others, rounds):
    """Nanoseconds for a round of the barrier; `others` more processes come from here."""
    pids = [_fork(functools.partial(_meet_and_leave, barrier, rounds)) for _ in range(others)]
    took = _meet(barrier, rounds)
    for pid in pids:
        if os.waitpid(pid, 0)[1] != 0:
            raise RuntimeError("one of the parties failed")
    return took


def _meet(barrier, rounds):
    barrier.wait(LATE)  # until all are there
    start = time.perf_counter_ns()
    for _ in range(rounds):
        barrier.wait(LATE)
    return (time.perf_counter_ns() - start) / rounds


def _meet_and_leave(barrier, rounds):
    _meet(barrier, rounds)
    if hasattr(barrier, "close"):  # ours breaks for the rest when one that waited just dies
        barrier.close()


def _fork(work):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


class Meetings(OnSource):
    """Seconds for a round in which all parties come to a barrier."""

    def __init__(self, maker, parties, rounds, cpus):
        super().__init__(maker, cpus)
        self._others, self._rounds = parties // 2 - 1, rounds

    def open(self):
        self._start(lambda source: (Worker(source), Worker(source)))
        self._meet(20)

    def measure(self):
        return self._meet(self._rounds) * 1e-9

    def _meet(self, rounds):
        arguments = meet, self._others, rounds
        return self._pair.run(arguments, arguments, LATE)[0]
