# SPDX-License-Identifier: Apache-2.0
"""Damaged files: every kind is changed at random, then opened and used.

    python -m ipcsys.testing.hostility --tries 10000
    python -m ipcsys.testing.hostility --live --tries 1000

A namespace is built and its builder killed in the middle.  Each try copies
it, damages one file (bits, words, chunks; cut short; made longer) or goes on
scribbling into it, and lets a process use it.  That process may get right
answers or any of the package's exceptions.  It may not die of a signal, hang,
or raise anything else.  With --live, two processes work on the objects again
and again while somebody scribbles into their file all the time.
"""

import argparse
import contextlib
import json
import mmap
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import asdict, dataclass, field

import ipcsys
from ipcsys import _core
from ipcsys.testing.actors import die_with_parent

AT_WORK = 0.15  # seconds that each process works on what is scribbled into
LATE = 15.0  # seconds until a process counts as hung
LARGEST = 256 << 20  # bytes that any file may grow to
# What a damaged object may answer beside the package's own errors: the
# builtins that a wrong answer without any error would lead to as well.
ANSWERS = (ipcsys.Error, KeyError, IndexError)
_WORDS = [0, 1, 2, 7, 63, 255, 4095, 4096, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**47,
          2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1]  # fmt: skip


class Target:
    """One kind of file: how it is built, and how it is used."""

    name = ""
    file = ""  # under the namespace's folder

    def build(self):
        """Make objects with something in them; killed right after."""

    def open(self):
        """Open them."""

    def exercise(self, thing):
        """Use what open() gave, in a bounded time."""

    def leave(self, thing):
        """Close and remove it."""

    def use(self):
        thing = self.open()
        self.exercise(thing)
        self.leave(thing)

    def work(self):
        """The same, but again and again."""
        thing, limit = self.open(), time.monotonic() + AT_WORK
        while time.monotonic() < limit:
            with contextlib.suppress(*ANSWERS):
                self.exercise(thing)
        self.leave(thing)


class Members(Target):
    name = "members"
    file = ".members"

    def build(self):
        _core.owner()

    def exercise(self, thing):
        _core.owner()
        with contextlib.suppress(ipcsys.Error):
            _core.sweep()
        with contextlib.suppress(ipcsys.Error):
            _core.members()
        _core.check_members()
        lock = ipcsys.Lock()
        lock.acquire(timeout=0.05)


class Cells(Target):
    name = "cells"
    file = ".cells"

    def build(self):
        self.locks = [ipcsys.Lock() for _ in range(40)]
        del self.locks[::3]
        self.locks[0].acquire()

    def exercise(self, thing):
        with contextlib.suppress(ipcsys.Error):
            _core.check_cells()
        locks = []
        for _ in range(60):
            with contextlib.suppress(ipcsys.Error):
                locks.append(ipcsys.Lock())
                locks[-1].acquire(timeout=0)
        del locks[::2]
        with contextlib.suppress(ipcsys.Error):
            ipcsys.Event().set()
        _core.cells()


class Wide(Target):
    name = "wide cells"
    file = ".wide"

    def build(self):
        self.permits = [ipcsys.Semaphore(i) for i in range(20)]
        del self.permits[::3]
        self.permits[-1].acquire()

    def use(self):
        with contextlib.suppress(ipcsys.Error):
            _core.check_cells()
        permits = []
        for _ in range(30):
            with contextlib.suppress(ipcsys.Error):
                permits.append(ipcsys.Semaphore())
                permits[-1].acquire(timeout=0)
                permits[-1].release()
        del permits[::2]
        _core.cells()


class Semaphore(Target):
    name = "semaphore"
    file = "permits"

    def build(self):
        self.permits = ipcsys.Semaphore(2, name="permits")
        self.permits.acquire()
        self.permits.release(3)
        self.permits.acquire()

    def use(self):
        _core.objects()
        permits = ipcsys.Semaphore(name="permits")
        for act in (
            permits.check, lambda: permits.acquire(timeout=0.02), permits.release,
            lambda: permits.acquire(False), lambda: permits.release(2), permits.check,
        ):  # fmt: skip
            with contextlib.suppress(ipcsys.Error, ValueError):
                act()
        permits.value  # noqa: B018


class RWLock(Target):
    name = "rwlock"
    file = "shared-door"

    def build(self):
        self.lock = ipcsys.RWLock(name="shared-door")
        self.lock.acquire_write()
        self.lock.downgrade()

    def open(self):
        return ipcsys.RWLock(name="shared-door")

    def exercise(self, lock):
        lock.check()
        if lock.acquire_read(timeout=0.02):
            with contextlib.suppress(ipcsys.Error):
                lock.upgrade(timeout=0.02)
                lock.downgrade()
            lock.release_read()
        if lock.acquire_write(timeout=0.02):
            lock.release_write()
        lock.readers, lock.writer, lock.abandoned  # noqa: B018

    def leave(self, lock):
        lock.close()
        ipcsys.RWLock.remove("shared-door")


class Barrier(Target):
    name = "barrier"
    file = "gate"

    def build(self):
        self.barrier = ipcsys.Barrier(2, name="gate")
        threading.Thread(target=self.barrier.wait, daemon=True).start()
        while self.barrier.n_waiting == 0:
            time.sleep(0.001)

    def open(self):
        return ipcsys.Barrier(name="gate", create=False)

    def exercise(self, barrier):
        barrier.check()
        for _ in range(2):
            with contextlib.suppress(ipcsys.Error):
                barrier.wait(0.02)
            barrier.reset()
        barrier.abort()
        barrier.parties, barrier.n_waiting, barrier.broken  # noqa: B018

    def leave(self, barrier):
        barrier.close()
        ipcsys.Barrier.remove("gate")


class Condition(Target):
    """Its own lock is a recursive one, so this is RLock's target too."""

    name = "condition"
    file = "turnstile"

    def build(self):
        self.condition = ipcsys.Condition(name="turnstile")
        for seconds in (30, 0.01, 30):
            threading.Thread(target=self._wait, args=(seconds,), daemon=True).start()
        time.sleep(0.02)
        with self.condition:
            self.condition.notify()
            self.condition.acquire()

    def _wait(self, seconds):
        with self.condition:
            self.condition.wait(seconds)

    def open(self):
        return ipcsys.Condition(name="turnstile")

    def exercise(self, condition):
        condition.check()
        repr(condition)
        if condition.acquire(timeout=0.02):
            with contextlib.suppress(ipcsys.Error):
                condition.notify()
                condition.wait(0.002)
                condition.notify(3)
                condition.notify_all()
                condition.wait_for(lambda: False, 0.002)
            condition.release()
        condition.locked(), condition.abandoned  # noqa: B018

    def leave(self, condition):
        condition.close()
        ipcsys.Condition.remove("turnstile")


class Lock(Target):
    name = "lock"
    file = "door"

    def build(self):
        self.lock = ipcsys.Lock(name="door")
        self.lock.acquire()

    def open(self):
        _core.objects()
        return ipcsys.Lock(name="door")

    def exercise(self, lock):
        if lock.acquire(timeout=0.05):
            lock.abandoned  # noqa: B018
            lock.release()
        lock.locked()

    def leave(self, lock):
        lock.close()
        ipcsys.Lock.remove("door")


class Event(Target):
    name = "event"
    file = "bell"

    def build(self):
        ipcsys.Event(name="bell").set()

    def open(self):
        return ipcsys.Event(name="bell")

    def exercise(self, event):
        event.wait(0.02)
        event.clear()
        event.wait(0.02)
        event.set()

    def leave(self, event):
        event.close()
        ipcsys.Event.remove("bell")


class Segment(Target):
    """Its builder dies inside a transaction."""

    name = "segment"
    file = "shop"

    def build(self):
        self.segment = ipcsys.Segment("shop", "128 KiB", "1 MiB")
        self.map = self.segment.construct(ipcsys.SharedMap, "stock")
        for number in range(40):
            self.map[number] = "v" * number * 7
        self.deque = self.segment.construct(ipcsys.SharedDeque, "log", range(30))
        self.segment.construct(ipcsys.AtomicInt, "count", 5)
        self.segment.construct(ipcsys.SharedArray, "pixels", (4, 5), "u2")
        self.transaction = self.segment.transaction()
        self.transaction.__enter__()
        self.map[3] = "w" * 600
        del self.map[5]
        self.deque.append("x")

    def open(self):
        return ipcsys.Segment("shop", create=False)

    def exercise(self, segment):
        for act in (
            segment.check,
            # A damaged type number may make another kind of object of it.
            lambda: exercise_map(of_kind(ipcsys.SharedMap, segment["stock"])),
            lambda: exercise_deque(of_kind(ipcsys.SharedDeque, segment["log"])),
            lambda: of_kind(ipcsys.AtomicInt, segment["count"]).add(3),
            lambda: segment.construct(ipcsys.SharedMap, "more", {1: "y" * 5000}),
            lambda: memoryview(of_kind(ipcsys.SharedArray, segment["pixels"])).tobytes(),
            lambda: segment.destroy("pixels"),
            lambda: segment.destroy("log"),
            lambda: [segment.find(key) for key in segment],
            segment.stats,
            lambda: grow(segment),
            segment.check,
        ):
            with contextlib.suppress(*ANSWERS):
                act()

    def leave(self, segment):
        segment.close()


def of_kind(kind, found):
    if not isinstance(found, kind):
        raise KeyError(f"a {type(found).__name__}, not a {kind.__name__}")
    return found


def grow(segment):
    with segment.transaction(timeout=1):
        segment.construct(ipcsys.SharedMap, "large", {1: "z" * 300_000})


def exercise_map(shared):
    for act in (
        lambda: shared.copy(),
        lambda: len(shared),
        lambda: look_up(shared, list(shared)),
        lambda: shared.update({number: b"u" * 90 for number in range(30, 60)}),
        lambda: [shared.pop(number) for number in range(0, 40, 3)],
        lambda: shared.check(),
        lambda: shared.clear(),
    ):
        with contextlib.suppress(*ANSWERS):
            act()


def look_up(shared, keys):
    for key in keys:
        with contextlib.suppress(TypeError):  # damaged bytes may read as a list
            shared[key]


def exercise_deque(shared):
    for act in (
        lambda: list(shared),
        lambda: shared.extend(range(40)),
        lambda: [shared.popleft() for _ in range(10)],
        lambda: shared[3],
        lambda: shared.appendleft("l" * 4000),
        lambda: [shared.pop() for _ in range(10)],
        lambda: shared.check(),
        lambda: shared.clear(),
    ):
        with contextlib.suppress(*ANSWERS):
            act()


class Map(Target):
    name = "map"
    file = "stock"

    def build(self):
        self.map = ipcsys.SharedMap({n: "v" * n * 9 for n in range(30)}, name="stock")

    def open(self):
        return ipcsys.SharedMap(name="stock", create=False)

    def exercise(self, shared):
        exercise_map(shared)

    def leave(self, shared):
        shared.close()
        ipcsys.SharedMap.remove("stock")


class Nested(Map):
    """A map with containers in it, three deep."""

    name = "nested"
    file = "tree"

    def build(self):
        self.map = ipcsys.SharedMap({n: "v" * n for n in range(5)}, name="tree")
        self.map.construct(ipcsys.SharedVector, "row", ["x" * 100] * 10)
        inner = self.map.construct(ipcsys.SharedMap, "map", {1: 1})
        inner.construct(ipcsys.SharedDeque, "queue", range(20))
        inner.construct(ipcsys.SharedMap, "deeper").construct(ipcsys.SharedVector, 0, [1.5], "d")

    def open(self):
        return ipcsys.SharedMap(name="tree", create=False)

    def exercise(self, shared):
        for work in (
            lambda: [exercise_nested(value) for value in shared.values()],
            lambda: repr(shared),
            shared.copy,
            shared.check,
            lambda: exercise_nested(shared["row"]),
            lambda: shared["map"].pop("deeper"),
            lambda: shared.construct(ipcsys.SharedMap, "new", {1: 2}),
            lambda: exercise_map(shared),
            lambda: shared.pop("map"),
            shared.clear,
            lambda: shared.construct(ipcsys.SharedVector, "again", [1]),
        ):
            with contextlib.suppress(*ANSWERS):
                work()

    def leave(self, shared):
        shared.close()
        ipcsys.SharedMap.remove("tree")


def exercise_nested(value):
    if isinstance(value, ipcsys.SharedMap):
        exercise_map(value)
    elif isinstance(value, ipcsys.SharedDeque):
        exercise_deque(value)
    elif isinstance(value, ipcsys.SharedVector):
        value.append(1)
        value.copy()


class Deque(Target):
    name = "deque"
    file = "log"

    def build(self):
        self.deque = ipcsys.SharedDeque(range(30), name="log")

    def open(self):
        return ipcsys.SharedDeque(name="log", create=False)

    def exercise(self, shared):
        exercise_deque(shared)

    def leave(self, shared):
        shared.close()
        ipcsys.SharedDeque.remove("log")


class Vector(Target):
    name = "vector"
    file = "row"
    typecode, long = None, "y" * 60

    def build(self):
        self.vector = ipcsys.SharedVector(range(30), self.typecode, name="row")

    def use(self):
        shared = ipcsys.SharedVector(name="row", create=False)
        for work in (
            lambda: shared[3:9:2],
            lambda: shared.append(1),
            lambda: shared.insert(2, self.long),
            shared.reverse,
            shared.check,
            lambda: shared.sort(key=repr),
            lambda: shared.__delitem__(slice(None, None, 2)),
        ):
            with contextlib.suppress(*ANSWERS):
                work()
        shared.close()
        ipcsys.SharedVector.remove("row")


class TypedVector(Vector):
    name = "typed vector"
    typecode, long = "h", 3000


class Text(Target):
    name = "string"
    file = "note"

    def build(self):
        self.text = ipcsys.SharedString("note", "some text " * 9)

    def open(self):
        return ipcsys.SharedString("note", create=False)

    def exercise(self, shared):
        for act in (
            lambda: str(shared),
            lambda: shared[3],
            lambda: shared[2:40:3],
            lambda: shared.append("t" * 50),
            lambda: shared.__setitem__(slice(3, 9), "longer than it was"),
            lambda: shared.check(),
            lambda: shared.set("n" * 4000),
            lambda: shared.clear(),
        ):
            with contextlib.suppress(*ANSWERS):
                act()

    def leave(self, shared):
        shared.close()
        ipcsys.SharedString.remove("note")


class Cell(Target):
    name = "value cell"
    file = "state"

    def build(self):
        self.cell = ipcsys.SharedCell({"state": "idle", "jobs": [1, 2]}, name="state")

    def open(self):
        return ipcsys.SharedCell(name="state", create=False)

    def exercise(self, shared):
        for act in (
            lambda: shared.load(),
            lambda: shared.wait(0, 0.01),
            lambda: shared.compare_exchange(1, 2),
            lambda: shared.store("x" * 900),
            lambda: shared.notify(),
            lambda: shared.check(),
            lambda: shared.exchange(None),
        ):
            with contextlib.suppress(*ANSWERS):
                act()

    def leave(self, shared):
        shared.close()
        ipcsys.SharedCell.remove("state")


class Tick(ipcsys.Record):
    symbol: str
    price: float
    size: int = 0
    label: ipcsys.text[12] = "label"
    flags: ipcsys.u8[5] = (1, 2, 3, 4, 5)
    extra: object = None


class NewerTick(ipcsys.Record, version=2, name="Tick"):
    symbol: str | None
    last: float = ipcsys.field(renamed_from="price")
    size: int = 0
    label: str
    added: str = "added, with a block of its own"


def there(segment, key, kind):
    """Damage may have taken the name away."""
    found = segment.find(key, kind)
    if found is None:
        raise KeyError(key)
    return found


class Record(Target):
    """Its builder dies in the middle of an update."""

    name = "record"
    file = "desk"

    def build(self):
        self.segment = ipcsys.Segment("desk", "128 KiB", "1 MiB")
        for number in range(4):
            self.segment.construct(
                Tick, f"t{number}", "s" * number * 9, 1.5, 10 ** (number * 9), extra=[number] * 9
            )
        self.segment.find("t0", NewerTick)
        self.transaction = self.segment.transaction()
        self.transaction.__enter__()
        self.segment.find("t1", Tick).update(symbol="w" * 600, size=3)
        self.segment.find("t2", NewerTick).label = "l" * 90

    def open(self):
        return ipcsys.Segment("desk", create=False)

    def exercise(self, segment):
        for act in (
            segment.check,
            lambda: segment["t1"].asdict(),
            lambda: there(segment, "t1", Tick).update(price=2.5, symbol="x" * 200, extra={"a": 1}),
            lambda: setattr(there(segment, "t3", Tick), "price", 3.5),
            lambda: setattr(there(segment, "t3", Tick), "flags", (9,) * 5),
            lambda: there(segment, "t3", NewerTick).asdict(),
            lambda: there(segment, "t0", Tick).asdict(),
            lambda: setattr(there(segment, "t0", Tick), "symbol", "y" * 30),
            lambda: segment.construct(Tick, "new", "n" * 50, 1.0),
            lambda: segment.destroy("new"),
            lambda: segment.destroy("t0"),
            lambda: segment.construct(Tick, "t0", "again", 1.0),
            segment.check,
        ):
            with contextlib.suppress(*ANSWERS):
                act()

    def leave(self, segment):
        segment.close()
        ipcsys.Segment.remove("desk")


class Array(Target):
    name = "array"
    file = "grid"

    def build(self):
        self.array = ipcsys.SharedArray("grid", (3, 4), "i")

    def use(self):
        with ipcsys.SharedArray("grid", create=False) as array:
            with contextlib.suppress(BufferError, ValueError), memoryview(array) as view:
                bytes(view)  # damage may name another dtype, or one without a format
            with contextlib.suppress(*ANSWERS):
                array.lock.acquire(timeout=0.01)
        ipcsys.SharedArray.remove("grid")


class Queue(Target):
    """Small and large messages; its builder dies having got some of them."""

    name = "queue"
    file = "jobs"

    def build(self):
        self.queue = ipcsys.Queue(name="jobs", max_bytes="4 MiB")
        self.queue.put_many([{"n": n, "fill": "f" * n * 40} for n in range(40)])
        self.queue.put(b"L" * 100_000)
        self.queue.put({"part": bytearray(60_000), "parts": [b"P" * 40_000]})
        self.queue.put_many(range(200))
        self.queue.get_many(15)

    def open(self):
        return ipcsys.Queue(name="jobs", create=False)

    def exercise(self, queue):
        for act in (
            queue.check,
            queue.qsize,
            lambda: [queue.get_nowait() for _ in range(10)],
            lambda: queue.put("p" * 500, timeout=0.05),
            lambda: queue.put(b"M" * 150_000, timeout=0.05),
            lambda: queue.put_many(list(range(100)), timeout=0.05),
            lambda: queue.get_many(20, timeout=0.05),
            lambda: queue.get_into(bytearray(1000), timeout=0.05),
            queue.drain,
            queue.full,
            lambda: queue.get(timeout=0.05),
            queue.task_done,
            queue.check,
        ):
            with contextlib.suppress(*ANSWERS, ValueError):
                act()

    def leave(self, queue):
        queue.close()
        ipcsys.Queue.remove("jobs")


@dataclass
class Findings:
    name: str
    tries: int = 0
    refused: int = 0  # ended with one of the package's errors
    seconds: float = 0.0
    failures: list = field(default_factory=list)  # [seed, what]

    def line(self):
        found = f"{len(self.failures)} FAILED" if self.failures else "ok"
        return f"{self.name}: {self.tries} tries, {self.refused} refused, {self.seconds:.1f} s: {found}"


def _fork(part):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        die_with_parent()
        code = part()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _extents(descriptor):
    """Where a file has data: (offset, length)."""
    end, at = os.fstat(descriptor).st_size, 0
    while at < end:
        try:
            first = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole
            return
        at = os.lseek(descriptor, first, os.SEEK_HOLE)
        yield first, at - first


def _memory_of(folder):
    return sum(
        os.lstat(os.path.join(place, name)).st_blocks * 512
        for place, _folders, files in os.walk(folder)
        for name in files
    )


def _copy_file(old, new):
    with open(old, "rb", buffering=0) as source, open(new, "xb", buffering=0) as target:
        os.fchmod(target.fileno(), 0o600)
        target.truncate(os.fstat(source.fileno()).st_size)
        for first, length in list(_extents(source.fileno())):
            os.pwrite(target.fileno(), os.pread(source.fileno(), length, first), first)


def _copy(source, target):
    """A tree with its hard links."""
    made = {}
    for folder, _names, files in os.walk(source):
        there = os.path.normpath(os.path.join(target, os.path.relpath(folder, source)))
        os.makedirs(there, mode=0o700, exist_ok=True)
        for name in files:
            old, new = os.path.join(folder, name), os.path.join(there, name)
            inode = os.lstat(old).st_ino
            if inode in made:
                os.link(made[inode], new)
            else:
                _copy_file(old, new)
                made[inode] = new


def _problem(status):
    """What is wrong with ending like that; None where nothing is."""
    if status is None:
        return f"still running after {LATE:g} s"
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    code = os.WEXITSTATUS(status)
    return None if code in (0, 2) else f"ended with exit status {code}"


class Range:
    """Where one target's tries take place."""

    def __init__(self, target, root):
        self.target, self.root = target, root
        self.pristine = os.path.join(root, f"{target.name}-pristine")
        self._build()
        self.path = os.path.join(self.pristine, target.file)
        self.written, self.words = [], []  # where, and what, words that are not 0
        with open(self.path, "rb", buffering=0) as file:
            self.size = os.fstat(file.fileno()).st_size
            self.extents = list(_extents(file.fileno()))
            for first, length in self.extents:
                words = memoryview(os.pread(file.fileno(), length // 8 * 8, first)).cast("Q")
                found = [(first + index * 8, word) for index, word in enumerate(words) if word]
                self.written += [at for at, _word in found]
                self.words += [word for _at, word in found]
        refused, problem = self.try_one(-4)
        assert not refused and not problem, f"{target.name} fails undamaged: {problem or 'refused'}"

    def _build(self):
        os.environ["IPCSYS_NAMESPACE"] = os.path.basename(self.pristine)
        ready, done = os.pipe()

        def part():
            self.target.build()
            os.write(done, b"1")
            signal.pause()

        pid = _fork(part)
        os.close(done)
        built = os.read(ready, 1)
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert built == b"1", f"{self.target.name} could not be built"

    def try_one(self, seed, at_work=False):
        """(refused, None or what went wrong).  A negative seed damages nothing."""
        dice = random.Random(f"{self.target.name} {seed} {at_work}")
        name = f"{self.target.name}-{seed}"
        folder = os.path.join(self.root, name)
        _copy(self.pristine, folder)
        os.environ["IPCSYS_NAMESPACE"] = name
        path = os.path.join(folder, self.target.file)
        live = at_work or seed % 4 == 3
        if not live and seed >= 0:
            self._damage(path, dice)
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            log = stack.enter_context(tempfile.TemporaryFile("w+b", buffering=0))
            page = None
            if live:
                file = stack.enter_context(open(path, "r+b"))
                page = stack.enter_context(mmap.mmap(file.fileno(), 0))
            play = self.target.work if at_work else self.target.use
            pids = [_fork(lambda: self._use(play, log)) for _ in range(2 if at_work else 1)]
            # Now and then, so that they work on; or all the time.
            pause = dice.choice((0.0002, 0.002, 0.01, 0.04)) if at_work else 0.0002
            ends = self._watch(pids, page, dice, pause)
            log.seek(0)
            said = log.read().decode(errors="replace")
            taken = _memory_of(folder)
        problems = [problem for problem in map(_problem, ends) if problem]
        if taken > LARGEST // 4:
            problems.append(f"it took {taken >> 20} MiB of shared memory")
        refused = any(status is not None and os.WEXITSTATUS(status) == 2 for status in ends)
        return refused, "\n".join([*problems, said]) if problems else None

    def _use(self, play, log):
        import faulthandler

        faulthandler.enable(log)
        # Damage must not fill the machine's memory; what tries it gets EFBIG.
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
        try:
            play()
        except ANSWERS:
            return 2
        except BaseException:
            log.write(traceback.format_exc().encode())
            return 3
        return 0

    def _watch(self, pids, page, dice, pause):
        """Wait for their ends, scribbling into the page meanwhile if there is one:
        wait statuses, None for one that had to be killed."""
        ends, limit = {}, time.monotonic() + LATE
        left = {os.pidfd_open(pid): pid for pid in pids}
        while left and time.monotonic() < limit:
            for descriptor in select.select([*left], [], [], pause if page else LATE)[0]:
                pid = left.pop(descriptor)
                os.close(descriptor)
                ends[pid] = os.waitpid(pid, 0)[1]
            if page:
                self._scribble(page, dice)
        for descriptor, pid in left.items():
            os.kill(pid, signal.SIGABRT)  # faulthandler writes where it stands
            time.sleep(0.2)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(descriptor)
        return [ends.get(pid) for pid in pids]

    def _spot(self, dice, size):
        """Where to hurt: mostly near what was written, at times anywhere."""
        if self.written and dice.random() < 0.85:
            at = dice.choice(self.written) + dice.choice((0, 0, 0, -8, 8, 4))
        elif self.extents and dice.random() < 0.9:
            first, length = dice.choice(self.extents)
            at = first + dice.randrange(length) & ~7
        else:
            at = dice.randrange(size) & ~7
        return max(0, min(size - 8, at))

    def _word(self, dice):
        choice = dice.random()
        if choice < 0.5:
            return dice.choice(_WORDS)
        if choice < 0.7 and self.words:
            return dice.choice(self.words)
        if choice < 0.85:
            return dice.randrange(self.size * 2)
        return dice.getrandbits(64)

    def _scribble(self, bytes_, dice):
        at = self._spot(dice, len(bytes_))
        choice = dice.random()
        if choice < 0.35:
            bytes_[at] ^= 1 << dice.randrange(8)
        elif choice < 0.85:
            width = dice.choice((8, 8, 4, 2))
            bytes_[at : at + width] = self._word(dice).to_bytes(8, "little")[:width]
        else:
            length = min(dice.choice((16, 64, 512, 4096)), len(bytes_) - at)
            source = min(self._spot(dice, len(bytes_)), len(bytes_) - length)
            bytes_[at : at + length] = (
                bytes(length) if dice.random() < 0.5 else bytes_[source : source + length]
            )

    def _damage(self, path, dice):
        with open(path, "r+b") as file:
            if dice.random() < 0.8:
                with mmap.mmap(file.fileno(), 0) as page:
                    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
                        self._scribble(page, dice)
            choice = dice.random()
            if choice < 0.15:
                places = (dice.randrange(self.size + 1), 0, 64, 128, 4096, *self.written)
                file.truncate(min(self.size, dice.choice(places)))
            elif choice < 0.25:
                file.seek(0, os.SEEK_END)
                file.write(dice.randbytes(dice.choice((1, 64, 4096, 100_000))))


def shoot(target, root, tries, first_seed=0, seconds=None, at_work=False):
    """So many tries at one target; the findings."""
    os.environ["IPCSYS_DIR"] = root
    findings, started = Findings(target.name), time.monotonic()
    place = Range(target, root)
    for seed in range(first_seed, first_seed + tries):
        refused, problem = place.try_one(seed, at_work)
        findings.tries += 1
        findings.refused += refused
        findings.seconds = time.monotonic() - started
        if problem:
            findings.failures.append([seed, problem])
        if len(findings.failures) >= 10 or (seconds and findings.seconds > seconds):
            break
    return findings


def every():
    """All targets by name."""
    kinds = (kind for kind in globals().values() if isinstance(kind, type))
    return {kind.name: kind for kind in kinds if issubclass(kind, Target) and kind.name}


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m ipcsys.testing.hostility", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--tries", type=int, default=1000, help="at each kind (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first try")
    parser.add_argument("--seconds", type=float, help="at most, for each kind")
    parser.add_argument("--op", default="", metavar="TEXT", help="only kinds so named")
    parser.add_argument("--live", action="store_true", help="damage them while they are used")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args(argv)
    die_with_parent()
    root = tempfile.mkdtemp(prefix="ipcsys-hostile-", dir="/dev/shm")
    failed = False
    try:
        for name, kind in every().items():
            if asked.op in name:
                findings = shoot(
                    kind(), root, asked.tries, asked.seed, asked.seconds, asked.live
                )
                failed = failed or bool(findings.failures)
                print(json.dumps(asdict(findings)) if asked.json else findings.line(), flush=True)
                for seed, what in [] if asked.json else findings.failures:
                    print(f"    {name} with seed {seed}: {what}", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
