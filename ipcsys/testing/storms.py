# SPDX-License-Identifier: Apache-2.0
"""Many processes at one object, killed, stopped and restarted at random.

    python -m ipcsys.testing.storms --seconds 60

Each storm keeps a sum that only a lost or doubled operation can change.  The
workers keep their own books in a plain shared page, one line each, so that
what a killed worker had been told is known: an operation is at most one ahead
of its line.
"""

import argparse
import contextlib
import json
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field

import ipcsys
from ipcsys import _core
from ipcsys.testing.scenes.common import sound, users
from ipcsys.testing.storming import LATE, LINE, Book, Storm
from ipcsys.testing.storms_segment import Accounts, Transfers
from ipcsys.testing.actors import die_with_parent

FEW = 5  # kills or operations: no storm yet


@dataclass
class Weather:
    name: str
    seconds: float = 0.0
    kills: int = 0
    stops: int = 0
    operations: int = 0
    failures: list = field(default_factory=list)

    def line(self):
        found = "; ".join(self.failures) if self.failures else "ok"
        return (
            f"{self.name}: {self.kills} killed, {self.stops} stopped, "
            f"{self.operations} operations, {self.seconds:.1f} s: {found}"
        )


class _Referee:
    def __init__(self, storm, seed):
        self.storm, self.dice = storm, random.Random(seed)
        self.pages = mmap.mmap(-1, max(4096, storm.workers * LINE))
        self.books = [Book(self.pages, line) for line in range(storm.workers)]
        self.pids = [0] * storm.workers

    def start(self, role):
        pid = os.fork()
        if pid:
            self.pids[role] = pid
            return
        try:
            die_with_parent()
            self.storm.attach(role)
            while True:
                self.storm.work(role, self.books[role])
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)

    def reap(self, role):
        """Kill the worker; a complaint if it had ended otherwise."""
        pid = self.pids[role]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            return f"worker {role} ended with wait status {status}"
        return None

    def operations(self):
        return sum(book[0] for book in self.books)


def blow(storm, seconds, seed, pause=0.004):
    """One storm; the weather."""
    weather, referee = Weather(storm.name), _Referee(storm, seed)
    storm.create()
    for role in range(storm.workers):
        referee.start(role)
    started = moved = time.monotonic()
    seen = 0
    while not (weather.failures or _is_over(weather, referee, seconds, started)):
        time.sleep(referee.dice.random() * 2 * pause)
        role = referee.dice.randrange(storm.workers)
        if referee.dice.random() < 0.2:
            _stop_for_a_while(referee, role)
            weather.stops += 1
        else:
            complaint = referee.reap(role)
            weather.kills += 1
            if complaint:
                weather.failures.append(complaint)
            referee.start(role)
        now = referee.operations()
        if now != seen:
            seen, moved = now, time.monotonic()
        elif time.monotonic() - moved > LATE:
            weather.failures.append(f"nobody got on for {LATE:g} s")
    for role in range(storm.workers):
        complaint = referee.reap(role)
        if complaint:
            weather.failures.append(complaint)
    _settle(storm, referee, weather)
    weather.seconds, weather.operations = time.monotonic() - started, referee.operations()
    return weather


def _is_over(weather, referee, seconds, started):
    """After `seconds`; on a busy machine later, once it was a storm at all."""
    passed = time.monotonic() - started
    few = weather.kills <= FEW or referee.operations() <= FEW
    return passed >= seconds and (not few or passed >= seconds + 3 * LATE)


def _stop_for_a_while(referee, role):
    os.kill(referee.pids[role], signal.SIGSTOP)
    time.sleep(referee.dice.random() * 0.01)
    os.kill(referee.pids[role], signal.SIGCONT)


def _settle(storm, referee, weather):
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(int(LATE))
    try:
        sound()
        storm.settle(referee.books, weather.kills + storm.workers)
        storm.remove()
        sound()
    except Exception as error:
        weather.failures.append(f"{type(error).__name__}: {error}")
    finally:
        signal.alarm(0)


def _too_late(_signal, _frame):
    raise AssertionError("settling got stuck")


class Locked(Storm):
    """A counter in plain memory, two stores wide, changed under one lock: the
    halves differ only if the lock let two in, or its holder died between."""

    name = "lock"
    kind = ipcsys.Lock

    def create(self):
        self.lock = self.kind(name=self.tag)
        path = os.path.join(_core.folder(), f".{self.tag}-counter")
        self.file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        os.unlink(path)
        os.ftruncate(self.file, 4096)
        self.page = mmap.mmap(self.file, 4096)
        self.pair = Book(self.page, 0)

    def attach(self, role):
        self.lock = self.kind(name=self.tag)

    def work(self, role, book):
        assert self.lock.acquire(timeout=LATE), "the lock is stuck"
        self.count(book)
        self.lock.release()

    def count(self, book):
        first, second = self.pair[0], self.pair[1]
        if first != second:
            assert self.lock.abandoned, "two were in at once"
            assert first == second + 1
            self.pair[1] = first
        self.pair[0] = first + 1
        book[0] += 1
        self.pair[1] = first + 1

    def is_free(self):
        took = self.lock.acquire(timeout=1)
        if took:
            self.lock.release()
        return took

    def settle(self, books, lives):
        assert self.is_free(), "the lock is stuck"
        done, told = self.pair[0], sum(book[0] for book in books)
        # A worker may die between its store and its book, once in each life.
        assert told <= done <= told + lives, f"{told} were done, {done} are counted"
        assert done - self.pair[1] in (0, 1)

    def remove(self):
        os.close(self.file)
        self.pair.close()
        self.page.close()
        self.lock.close()
        self.kind.remove(self.tag)


class ReadAndWritten(Locked):
    """The same counter: some write it, one of them by upgrading, some read it and
    see both halves alike, or are told that a writer died."""

    name = "rwlock"
    kind = ipcsys.RWLock

    def work(self, role, book):
        lock = self.lock
        if role == 0:
            assert lock.acquire_write(timeout=LATE), "the lock is stuck"
            self.count(book)
            lock.release_write()
            return
        assert lock.acquire_read(timeout=LATE), "the lock is stuck"
        first, second = self.pair[0], self.pair[1]
        assert first == second or lock.abandoned, "it was written while it was read"
        if role == 1:
            assert lock.upgrade(timeout=LATE), "readers do not leave"
            assert first == self.pair[0], "another wrote before the upgrade"
            self.count(book)
            lock.downgrade()
        lock.release_read()

    def is_free(self):
        took = self.lock.acquire_write(timeout=1)
        if took:
            self.lock.release_write()
        return took and self.lock.readers == 0 and self.lock.check() == []


class Meeting(Storm):
    """Four meet at a barrier, which breaks when one dies; whoever is told mends it.
    In each round that ended well, every index was given to one."""

    name = "barrier"

    def create(self):
        self.barrier = ipcsys.Barrier(self.workers, name=self.tag)

    def attach(self, role):
        self.barrier = ipcsys.Barrier(self.workers, name=self.tag)

    def work(self, role, book):
        try:
            index = self.barrier.wait(LATE)
        except ipcsys.BrokenBarrierError:
            if self.barrier.broken:
                self.barrier.reset()
        else:
            book[1 + index] += 1
            book[0] += 1

    def settle(self, books, lives):
        assert self.barrier.check() == []
        given = [sum(book[1 + index] for book in books) for index in range(self.workers)]
        assert max(given) - min(given) <= lives, f"so often was each index given: {given}"

    def remove(self):
        self.barrier.close()
        ipcsys.Barrier.remove(self.tag)


class Passed(Storm):
    """Jobs go through a room for three of them, with two conditions on one
    lock: workers of even role bring them, the others take them.  A notification
    that is lost with a dead waiter, or given to one, stops everybody for good."""

    name = "condition"
    workers = 6
    room = 3

    def create(self):
        self.page = mmap.mmap(-1, 4096)
        self.counts = Book(self.page, 0)  # jobs brought, jobs taken
        self.attach(0)

    def attach(self, role):
        self.lock = ipcsys.Lock(name=f"{self.tag}-lock")
        self.some = ipcsys.Condition(self.lock, name=f"{self.tag}-some")
        self.free = ipcsys.Condition(self.lock, name=f"{self.tag}-free")

    def inside(self):
        inside = self.counts[0] - self.counts[1]
        assert 0 <= inside <= self.room, f"{inside} jobs are in a room for {self.room}"
        if self.lock.abandoned:  # its holder may have died before it told anybody
            self.some.notify_all()
            self.free.notify_all()
        return inside

    def work(self, role, book):
        with self.lock:
            if role % 2 == 0:
                assert self.free.wait_for(lambda: self.inside() < self.room, LATE)
                self.counts[0] += 1
                self.some.notify()
            else:
                assert self.some.wait_for(lambda: self.inside() > 0, LATE)
                self.counts[1] += 1
                self.free.notify()
            book[0] += 1

    def settle(self, books, lives):
        assert self.lock.acquire(timeout=1)
        told = sum(book[0] for book in books)
        assert told <= sum((self.counts[0], self.counts[1])) <= told + lives
        for condition in (self.some, self.free):
            assert condition.wait(0) is False and condition.check() == []
        self.lock.release()

    def remove(self):
        self.counts.close()
        self.page.close()
        for end, kind in [("some", self.some), ("free", self.free), ("lock", self.lock)]:
            kind.close()
            type(kind).remove(f"{self.tag}-{end}")


class Permits(Storm):
    """Permits of the killed come back, each of them once."""

    name = "semaphore"
    count = 2

    def create(self):
        self.permits = ipcsys.BoundedSemaphore(self.count, name=self.tag)

    def attach(self, role):
        self.permits = ipcsys.BoundedSemaphore(name=self.tag, create=False)

    def work(self, role, book):
        assert self.permits.acquire(timeout=LATE), "the permits are lost"
        if self.permits.acquire(False):
            self.permits.release(2)
        else:
            self.permits.release()
        book[0] += 1

    def settle(self, books, lives):
        for _ in range(self.count):
            assert self.permits.acquire(timeout=1), "a permit is lost"
        assert not self.permits.acquire(timeout=0.05), "a permit out of nothing"
        self.permits.release(self.count)
        assert self.permits.check() == []

    def remove(self):
        self.permits.close()
        ipcsys.BoundedSemaphore.remove(self.tag)


class Messages(Storm):
    """Two put numbered messages, two get them.  Each producer counts what put()
    returned from, each consumer what it got and the last number it saw: order
    holds, nothing comes twice, and a kill costs at most one message of its own."""

    name = "queue"
    producers = 2
    sizes = (8, 8, 8, 200, 3000, 40_000, 300_000)

    def create(self):
        self.queue = ipcsys.Queue(maxsize=5000, max_bytes="32 MiB", name=self.tag)

    def attach(self, role):
        self.queue = ipcsys.Queue(name=self.tag, create=False)
        self.dice = random.Random(os.getpid())

    def work(self, role, book):
        if role < self.producers:
            number = book[1] + 1
            filler = b"x" * self.dice.choice(self.sizes)
            book[1] = number  # tried; book[0] says what was told to be there
            self.queue.put((role, number, filler), timeout=LATE)
        else:
            who, number, filler = self.queue.get(timeout=LATE)
            assert filler.count(b"x") == len(filler), "the bytes of a message are spoilt"
            assert number > book[2 + who], f"{number} of {who} after {book[2 + who]}"
            book[2 + who] = number
        book[0] += 1

    def settle(self, books, lives):
        assert self.queue.check() == []
        left = self.queue.drain()
        told = sum(book[0] for book in books[: self.producers])
        tried = sum(book[1] for book in books[: self.producers])
        got = sum(book[0] for book in books[self.producers :]) + len(left)
        assert got <= tried, f"{got} messages of {tried}"
        assert told - lives <= got, f"{told} were told to be there, {got} came"
        for who in range(self.producers):
            numbers = [number for producer, number, _filler in left if producer == who]
            assert numbers == sorted(set(numbers)), "the order is lost"
            seen = max(book[2 + who] for book in books[self.producers :])
            assert not numbers or numbers[0] > seen or seen == 0, (numbers[:3], seen)

    def remove(self):
        self.queue.close()
        ipcsys.Queue.remove(self.tag)


class Counter(Storm):
    """One number, added to by all."""

    name = "atomic"

    def create(self):
        self.number = ipcsys.AtomicInt(name=self.tag)

    def attach(self, role):
        self.number = ipcsys.AtomicInt(name=self.tag, create=False)

    def work(self, role, book):
        self.number.add(1)
        book[0] += 1

    def settle(self, books, lives):
        told, done = sum(book[0] for book in books), self.number.load()
        assert told <= done <= told + lives, f"{told} were told, {done} are counted"

    def remove(self):
        self.number.close()
        ipcsys.AtomicInt.remove(self.tag)


class Tokens(Storm):
    """A deque of tokens: each worker pops one and puts one back.  Killed with
    the token in hand, a worker loses it: at most one in each life."""

    name = "deque"
    tokens = 3000

    def create(self):
        self.deque = ipcsys.SharedDeque(range(self.tokens), name=self.tag)

    def attach(self, role):
        self.deque = ipcsys.SharedDeque(name=self.tag, create=False)
        self.end = role % 2

    def work(self, role, book):
        token = (self.deque.pop if self.end else self.deque.popleft)()
        (self.deque.appendleft if self.end else self.deque.append)(token)
        book[0] += 1

    def settle(self, books, lives):
        assert self.deque.check() == []
        left = list(self.deque)
        assert len(set(left)) == len(left), "a token is there twice"
        assert set(left) <= set(range(self.tokens))
        assert self.tokens - lives <= len(left) <= self.tokens

    def remove(self):
        self.deque.close()
        ipcsys.SharedDeque.remove(self.tag)


class Unnamed(Storm):
    """Locks without names come and go: no cell may leak."""

    name = "cells"

    def create(self):
        self.kept = ipcsys.Lock()
        self.used = _core.cells()["used"]

    def attach(self, role):
        self.mine = []

    def work(self, role, book):
        self.mine.append(ipcsys.Lock())
        assert self.mine[-1].acquire(timeout=LATE)
        if len(self.mine) > 20:
            del self.mine[::2]
        book[0] += 1

    def settle(self, books, lives):
        cells = _core.cells()
        assert cells["used"] == self.used, cells

    def remove(self):
        self.kept.close()


class Members(Storm):
    """Processes join, fork with what they hold, and die at once; the table
    stays sound and nothing they held is left."""

    name = "members"

    def create(self):
        self.door = ipcsys.Lock(name=self.tag)
        self.used = _core.cells()["used"]

    def attach(self, role):
        self.held = [ipcsys.Lock(name=self.tag), ipcsys.Lock(), ipcsys.Event()]

    def work(self, role, book):
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(ipcsys.Error):  # all may be over when it comes
                _core.owner()
            os._exit(0)
        _core.owner()
        os.waitpid(pid, 0)
        book[0] += 1

    def settle(self, books, lives):
        # A worker killed in fork() leaves a child that has yet to become a
        # member; until it has, what the worker held is kept for it.
        limit = time.monotonic() + LATE / 2
        left = self._left()
        while left != ([os.getpid()], self.used, 1) and time.monotonic() < limit:
            time.sleep(0.01)
            left = self._left()
        assert left == ([os.getpid()], self.used, 1), f"(members, cells, users): {left}"

    def _left(self):
        pids = [member["pid"] for member in _core.members()]
        return pids, _core.cells()["used"], users(self.tag)

    def remove(self):
        self.door.close()
        ipcsys.Lock.remove(self.tag)


def every():
    """All storms by name."""
    kinds = (kind for kind in globals().values() if isinstance(kind, type))
    return {kind.name: kind for kind in kinds if issubclass(kind, Storm) and kind.name}


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m ipcsys.testing.storms", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each storm (10)")
    parser.add_argument("--op", default="", metavar="TEXT", help="only storms so named")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args(argv)
    die_with_parent()
    folder = tempfile.mkdtemp(prefix="ipcsys-storm-", dir="/dev/shm")
    os.environ.update(IPCSYS_DIR=folder, IPCSYS_NAMESPACE="storm")
    failed = False
    try:
        for name, kind in every().items():
            if asked.op in name:
                weather = blow(kind(f"{name}-storm"), asked.seconds, asked.seed)
                failed = failed or bool(weather.failures)
                print(json.dumps(asdict(weather)) if asked.json else weather.line(), flush=True)
                if weather.failures:
                    print(f"seed {asked.seed}", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
