# SPDX-License-Identifier: Apache-2.0
"""From `kill -9` of a lock's holder to a waiting survivor that owns the lock.

The executioner forks a victim, which takes the lock and sleeps; the survivor
waits for the lock until it is parked in the kernel; then the victim is killed.
Beside it stands the kernel's own time, until a pidfd says that the victim has
ended: a large or a niced victim ends late, whoever waits for it.
"""

import contextlib
import mmap
import os
import resource
import select
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass

from ipcsys.bench import locks
from ipcsys.bench.figures import LESS, Latency, Spread
from ipcsys.bench.pairs import Failed, Pair, context
from ipcsys.bench.report import OURS, Row, Table

_PAGE = mmap.PAGESIZE
_MIB = 1 << 20


@dataclass(frozen=True)
class Scene:
    """The circumstances of a death."""

    title: str
    rounds: int
    memory: int = 0  # bytes that the victim has touched
    nice: int = 0
    busy: bool = False  # a process that never rests on each CPU
    dump: bool = False  # dies by a signal that writes a core file


def scenes(rounds, memory):
    """What may slow a death down, fewer rounds where each takes long."""
    return (
        Scene("a small victim", rounds),
        Scene(f"a victim that holds {memory // _MIB} MiB", min(rounds, 10), memory=memory),
        Scene("a victim at nice 19", min(rounds, 40), nice=19),
        Scene("all CPUs busy", min(rounds, 40), busy=True),
        Scene("a core dump", min(rounds, 10), memory=64 * _MIB, dump=True),
    )


def affordable_memory(wanted):
    """What a victim may touch without hurting the machine: a quarter of what is free."""
    with open("/proc/meminfo") as lines:
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    return min(wanted, free // 4) // _PAGE * _PAGE


def _touched(size):
    memory = mmap.mmap(-1, size)
    for offset in range(0, size, _PAGE):
        memory[offset] = 1
    return memory


def _state_of(pid):
    with open(f"/proc/{pid}/stat") as text:
        return text.read().rpartition(")")[2].split()[0]


def _wait_until_parked(pid, seconds=5.0):
    """Until the process sleeps in the kernel, seen twice in a row."""
    deadline = time.monotonic() + seconds
    seen = 0
    while seen < 2:
        if time.monotonic() > deadline:
            raise TimeoutError("the survivor never parked")
        time.sleep(0.002)
        seen = seen + 1 if _state_of(pid) == "S" else 0


class Executioner:
    """Forks and kills; gives the moments of the kill and of the kernel's notice."""

    def __init__(self, source, line, cpu_of_victims):
        self._source, self._line, self._cpu = source, line, cpu_of_victims

    def open(self):
        self._lock = self._source.get()
        self._survivor = self._line.recv()

    def run(self, scene):
        with contextlib.ExitStack() as stack:
            if scene.busy:
                stack.callback(_end, [_busy(cpu) for cpu in os.sched_getaffinity(1)])
            if scene.dump:
                stack.enter_context(_folder_for_core_files())
            victim = self._victim(scene)
            stack.callback(_end, [victim])
            self._line.send("go")
            self._line.recv()
            _wait_until_parked(self._survivor)
            return _kill(victim, signal.SIGABRT if scene.dump else signal.SIGKILL)

    def _victim(self, scene):
        """A process that holds the lock."""
        holds, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.sched_setaffinity(0, {self._cpu})
                os.nice(scene.nice)
                keep = _touched(scene.memory) if scene.memory else None
                self._lock.acquire()
                os.write(tell, b"!")
                while keep is not self:
                    signal.pause()
            finally:
                os._exit(1)
        os.close(tell)
        with open(holds, "rb") as end:
            if end.read(1) != b"!":
                raise RuntimeError("the victim did not get the lock")
        return pid

    def close(self):
        pass


def _busy(cpu):
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {cpu})
        limit = time.monotonic() + 60.0
        while time.monotonic() < limit:
            pass
        os._exit(0)
    return pid


def _end(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _kill(pid, signal_number):
    """(the moment before the kill, the moment when the kernel said it had ended)."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        killed = time.perf_counter_ns()
        os.kill(pid, signal_number)
        poll.poll(60_000)
        return killed, time.perf_counter_ns()
    finally:
        os.close(pidfd)


@contextlib.contextmanager
def _folder_for_core_files():
    """A working directory for the victim whose core file is thrown away."""
    folder, before = tempfile.mkdtemp(prefix="ipcsys-bench-core-"), os.getcwd()
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_CORE, (limits[1], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, limits)
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)


class Survivor:
    """Waits for the lock; gives the moment when it owned it, None if it gave up."""

    def __init__(self, source, line):
        self._source, self._line = source, line

    def open(self):
        self._lock = self._source.get()
        self._line.send(os.getpid())

    def run(self, patience):
        self._line.recv()
        self._line.send("going")
        if not self._lock.acquire(True, patience):
            return None
        moment = time.perf_counter_ns()
        self._lock.release()
        return moment

    def close(self):
        pass


class Deaths:
    """One pair of processes in which victims die."""

    def __init__(self, kind, cpus):
        self._source = kind()
        ends = context().Pipe()
        sides = (
            Executioner(self._source, ends[0], cpus[0]),
            Survivor(self._source, ends[1]),
        )  # fmt: skip
        # Victims have the first CPU to themselves; who watches them sleeps on the second.
        self._pair = Pair(*sides, (cpus[1], cpus[1]))

    def one(self, scene, patience):
        """(seconds in ns until the survivor owned the lock or None, until the kernel's notice)."""
        (killed, ended), owned = self._pair.run((scene,), (patience,), 120.0)
        return (None if owned is None else owned - killed), ended - killed

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self._pair.close()


def _row(who, samples, **facts):
    spread = Spread.of([sample * 1e-9 for sample in samples])
    return Row(who, spread, Latency.of_nanoseconds(samples), **facts)


def _above_the_kernel(owned, ended):
    above = Latency.of_nanoseconds([a - b for a, b in zip(owned, ended, strict=True)])
    when = "after" if above.p99 > 0 else "before"
    return f"p99 {abs(above.p99) * 1e3:.3f} ms {when} the kernel's own end"


def scene_table(deaths, scene, patience=10.0):
    """One scene played for all its rounds."""
    title = f"kill -9 of a lock's holder until a waiter owns it: {scene.title}"
    try:
        rounds = [deaths.one(scene, patience) for _ in range(scene.rounds)]
    except Failed as error:
        return Table(title, "s", LESS, (Row(OURS, failed=str(error)),))
    late = sum(owned is None for owned, _ended in rounds)
    if late:
        why = f"in {late} of {len(rounds)} rounds the lock did not come within {patience:g} s"
        return Table(title, "s", LESS, (Row(OURS, failed=why),))
    owned, ended = (list(times) for times in zip(*rounds, strict=True))
    ours = _row(OURS, owned, note=_above_the_kernel(owned, ended))
    kernel = _row("the kernel's own end of the victim", ended, reference=True)
    return Table(title, "s", LESS, (ours, kernel))


def standard_row(cpus, patience=1.0):
    """What becomes of a waiter on multiprocessing's lock."""
    with Deaths(locks.Standard, cpus) as deaths:
        owned, _ended = deaths.one(Scene("a small victim", 1), patience)
    if owned is None:
        return Row(locks.Standard.who, note=f"never: gave up after {patience:g} s")
    return _row(locks.Standard.who, [owned])


def tables(cpus, rounds, memory, rivals, listener):
    """A table for each scene; multiprocessing's fate beside the first."""
    played = []
    with Deaths(locks.Ours, cpus) as deaths:
        for scene in scenes(rounds, affordable_memory(memory)):
            listener.listen()
            played.append(scene_table(deaths, scene))
    listener.listen()
    if rivals:
        first = played[0]
        rows = (*first.rows, standard_row(cpus))
        played[0] = Table(first.work, first.unit, first.better, rows)
    return played
