# SPDX-License-Identifier: Apache-2.0
"""Which works a command runs, and the report they make."""

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec

from ipcsys.bench import (
    calls,
    death,
    fates,
    inside,
    locks,
    machine,
    mapped,
    maps,
    messages,
    noise,
    primitives,
    records,
    roundtrips,
    sequences,
    shared,
)
from ipcsys.bench.carriers import BATCH, LookAlike, Pipe, PosixPipe, StandardQueue
from ipcsys.bench.contest import compete
from ipcsys.bench.figures import LESS, MORE
from ipcsys.bench.report import OURS, Report, Table
from ipcsys.bench.rivals import NOT_INSTALLED, contenders

SMALL = 64  # bytes of a message in works whose size nobody chose
TIMED = 10_000  # messages that are timed one by one, at most: more tell nothing and take minutes
IDLE = 0.001  # seconds of idleness before a round trip between sleepers


@dataclass(frozen=True)
class Settings:
    """What the caller may choose."""

    messages: int = 10_000
    size: int = 1024
    repeats: int = 5
    rivals: bool = False
    interval: float = 50e-6  # seconds between the messages whose latency is measured
    rounds: int = 100  # deaths
    memory: int = 1 << 30  # bytes that a large victim holds, or a large array
    grown: int = 1_000_000  # keys that a map grows to


class Run:
    """One command's run: CPUs, listener and the tables so far."""

    def __init__(self, settings):
        self.settings = settings
        self.cpus = machine.pair_of_cpus()
        self.listener = noise.Listener(self.cpus)
        self.missing = []
        self.tables = []

    @cached_property
    def carriers(self):
        """Those of messages that can run."""
        chosen, missing = contenders(self.settings.rivals)
        self.missing += missing
        return chosen

    def contest(self, work, unit, better, entrants, **facts):
        rows = compete(list(entrants), self.settings.repeats, self.listener)
        self.tables.append(Table(work, unit, better, rows, **facts))

    def beside(self, makers):
        """All of them with the rivals, else ours."""
        return [maker for maker in makers if self.settings.rivals or maker.who == OURS]

    def available(self, kinds):
        """Ours, the standard library's and what stands for reference, the other
        packages' with the rivals; one that is not installed is named as missing."""
        chosen = []
        for kind in kinds:
            needs = getattr(kind, "needs", None)
            if needs is None:
                chosen.append(kind)
            elif self.settings.rivals and find_spec(needs) is not None:
                chosen.append(kind)
            elif self.settings.rivals:
                self._miss(kind.who, needs)
        return chosen

    def _miss(self, who, needs):
        absence = (who, NOT_INSTALLED.format(needs))
        if absence not in self.missing:
            self.missing.append(absence)

    def report(self):
        self.listener.listen()
        return Report(
            machine=machine.facts(self.cpus),
            noise=self.listener.judge(),
            tables=tuple(self.tables),
            missing=tuple(self.missing),
            settings=vars(self.settings),
        )


def throughput(run):
    """One way, one by one; in batches and as dicts too beside the rivals."""
    count, size = run.settings.messages, run.settings.size
    one_way = f"one producer to one consumer, {count} messages of {size} bytes"
    entrants = (messages.OneWay(c, "single", count, size, run.cpus) for c in run.carriers)
    run.contest(f"throughput, {one_way}", "messages/s", MORE, entrants, size=size)
    if run.settings.rivals:
        _batches(run, count, size)
        _values(run, count)


def _batches(run, count, size):
    entrants = (
        messages.OneWay(c, "batch", count, size, run.cpus) for c in run.carriers if c.put_batch
    )
    work = f"throughput in batches of {BATCH}, messages of {size} bytes"
    note = "rivals without batches of their own send a pickled list"
    run.contest(work, "messages/s", MORE, entrants, size=size, note=note)


def _values(run, count):
    entrants = (
        messages.OneWay(c, "value", count, SMALL, run.cpus) for c in run.carriers if c.put_value
    )
    run.contest("throughput of small dicts", "messages/s", MORE, entrants)


def latency(run):
    """One way, one message every so often."""
    settings = run.settings
    count = min(settings.messages, TIMED)
    entrants = (
        messages.Delay(c, count, settings.size, settings.interval, run.cpus) for c in run.carriers
    )
    every = f"{count} messages of {settings.size} bytes, one every {settings.interval * 1e6:g} µs"
    run.contest(f"latency from put to get, {every}", "s", LESS, entrants)


def roundtrip(run):
    """There and back: spinning, back to back, after idleness."""

    def entrants(manner, count, pause=0.0):
        for carrier in run.carriers:
            if manner == roundtrips.WAIT or carrier.spin_get:
                yield roundtrips.RoundTrip(carrier, manner, count, SMALL, run.cpus, pause)

    count = min(run.settings.messages, TIMED)
    spinning = f"round trip of {SMALL} bytes, both sides spinning"
    run.contest(spinning, "s", LESS, entrants(roundtrips.SPIN, count))
    back_to_back = f"round trip of {SMALL} bytes, back to back, default waiting"
    run.contest(back_to_back, "s", LESS, entrants(roundtrips.WAIT, count))
    idle = f"round trip of {SMALL} bytes after {IDLE * 1e3:g} ms of idleness"
    run.contest(idle, "s", LESS, entrants(roundtrips.WAIT, _paused(count), IDLE))


def _paused(count):
    """Few enough round trips that the pauses stay under half a second."""
    return min(count, round(0.5 / IDLE))


def lock(run):
    """A pair of acquire and release."""
    count = 200_000
    for manner, work in ((locks.PAIRS, "acquire and release"), (locks.WITH, "`with lock:`")):
        entrants = (locks.Free(kind, manner, count, run.cpus) for kind in locks.KINDS[manner])
        run.contest(f"lock, free: {work}", "s", LESS, entrants)
    entrants = (locks.Fought(kind, 0.2, run.cpus) for kind in locks.BETWEEN_PROCESSES)
    run.contest("lock, two processes that do nothing else", "pairs/s", MORE, entrants)


def sync(run):
    """Every primitive, beside those of threading and multiprocessing."""
    _undisturbed(run)
    _fought(run)
    _handed(run)
    look_alikes(run)


def _undisturbed(run):
    count = 200_000
    works = [
        ("Lock, free: acquire and release", "Lock", primitives.PAIR),
        ("RLock, free: acquire and release", "RLock", primitives.PAIR),
        ("Lock, free: `with lock:`", "Lock", primitives.WITH),
        ("Semaphore, free: acquire and release", "Semaphore", primitives.PAIR),
        ("Event: is_set", "Event", primitives.LOOK),
    ]
    for work, kind, (statement, names) in works:
        entrants = [
            primitives.Undisturbed(maker, statement, names, count, run.cpus)
            for maker in run.beside(primitives.namesakes(kind))
        ]
        run.contest(work, "s", LESS, entrants)
    # Nobody else has one: beside it stands what others guard their readers with.
    ours, standard = primitives.Maker(OURS, primitives.OurSource, "RWLock"), (
        primitives.between_processes("Lock")[1]
    )
    entrants = [primitives.Undisturbed(ours, *primitives.READ, count, run.cpus)]
    if run.settings.rivals:
        entrants.append(primitives.Undisturbed(standard, *primitives.PAIR, count, run.cpus))
    run.contest("RWLock: a reader's entry and exit", "s", LESS, entrants)


def _fought(run):
    makers, seconds = run.beside(primitives.between_processes("Lock")), 0.2
    entrants = (primitives.Counting(maker, seconds, run.cpus) for maker in makers)
    run.contest("Lock, two processes that count", "increments/s", MORE, entrants)
    entrants = (primitives.Waits(maker, seconds, run.cpus) for maker in makers)
    run.contest("Lock, two processes that count: each wait", "s", LESS, entrants)


def _handed(run):
    rounds = 2000
    entrants = [
        primitives.Turns(maker, rounds, run.cpus)
        for maker in run.beside(primitives.between_processes("Condition"))
    ]
    pipes = roundtrips.RoundTrip(PosixPipe, roundtrips.WAIT, rounds, SMALL, run.cpus)
    run.contest("Condition, two processes in turns", "s", LESS, (*entrants, pipes))
    entrants = [
        primitives.Notifying(maker, 64, 20, run.cpus)
        for maker in run.beside(primitives.between_processes("Condition"))
    ]
    run.contest("Condition: notify_all with 64 that wait, for the notifier", "s", LESS, entrants)
    for parties in (2, 8):
        entrants = [
            primitives.Meetings(maker, parties, rounds // parties, run.cpus)
            for maker in run.beside(primitives.between_processes("Barrier", parties))
        ]
        run.contest(f"Barrier of {parties}, one round", "s", LESS, entrants)


def look_alikes(run):
    """Queues in place of multiprocessing's."""
    queues = (LookAlike, StandardQueue) if run.settings.rivals else (LookAlike,)
    count = min(run.settings.messages, TIMED)
    entrants = [messages.OneWay(queue, "value", count, SMALL, run.cpus) for queue in queues]
    run.contest("mp.Queue, small dicts", "messages/s", MORE, entrants)
    if find_spec("numpy") is None:
        run.missing.append(("mp.Queue, arrays", "the module numpy is not installed"))
        return
    entrants = [messages.Arrays(queue, 20, 10_000_000, run.cpus) for queue in queues]
    run.contest("mp.Queue, numpy arrays of 10 MB", "arrays/s", MORE, entrants, size=10_000_000)


def data(run):
    """Containers, atomics, arrays and the memory they lie in."""
    _maps(run)
    _sequences(run)
    _records(run)
    adds = (shared.Adds(kind, 50_000, run.cpus) for kind in run.available(shared.ATOMICS))
    run.contest("atomic addition", "operations/s", MORE, adds)
    _arrays(run)
    _mapped(run)
    _allocations(run)


def _maps(run):
    keys = f"{maps.KEYS} keys of 16 characters, values of {len(maps.VALUE)} bytes"
    for work, what in (("get", maps.Gets), ("set, overwriting", maps.Sets)):
        entrants = (what(kind, maps.KEYS, run.cpus) for kind in run.available(maps.MAPS))
        run.contest(f"map, {work}: {keys}", "operations/s", MORE, entrants)
    entrants = (maps.Groups(kind, maps.KEYS, run.cpus) for kind in run.available(maps.GROUPED))
    run.contest(f"transaction of {maps.GROUP} changes of a map", "s", LESS, entrants)
    entrants = [
        maps.Growth(kind, run.settings.grown, run.cpus) for kind in run.available(maps.GROWING)
    ]
    work = f"map, {run.settings.grown} keys growing: the worst look-up of another process"
    run.contest(work, "s", LESS, entrants, note="while the kernel left both alone")


def _sequences(run):
    works = (
        ("SharedVector: append", sequences.APPEND, sequences.APPENDED),
        ("SharedVector: index", sequences.INDEX, sequences.INDEXED),
        ("SharedDeque: append and popleft", sequences.PASS, sequences.PASSED),
    )
    for work, statement, kinds in works:
        entrants = (
            sequences.Statement(kind, statement, 20_000, run.cpus) for kind in run.available(kinds)
        )
        run.contest(f"{work}, ints", "s", LESS, entrants)


def _records(run):
    for work, what in (("read a float", "read"), ("write a float", "write")):
        entrants = (
            records.Access(kind, what, 20_000, run.cpus) for kind in run.available(records.KINDS)
        )
        run.contest(f"Record: {work}", "s", LESS, entrants)


def _arrays(run):
    if find_spec("numpy") is None:
        run.missing.append(("numpy views", "the module numpy is not installed"))
        return
    size = run.settings.memory
    entrants = (shared.Views(kind, size, 20, run.cpus) for kind in run.available(shared.ARRAYS))
    work = f"numpy view of an array of {size >> 20} MiB that another process made"
    run.contest(work, "s", LESS, entrants)


def _mapped(run):
    size = run.settings.memory
    work = f"segment of {size >> 20} MiB in a file, opened after kill -9 inside a transaction"
    run.contest(work, "s", LESS, (mapped.Reopening(size, run.cpus),))


def call(run):
    """A node's answer beside pipes."""
    floor = (Pipe, PosixPipe)
    for pause, count, when in (
        (0.0, min(run.settings.messages, TIMED), "back to back"),
        (IDLE, _paused(run.settings.messages), f"after {IDLE * 1e3:g} ms of idleness"),
    ):
        ours = calls.Call(count, SMALL, run.cpus, pause)
        pipes = (
            roundtrips.RoundTrip(c, roundtrips.WAIT, count, SMALL, run.cpus, pause) for c in floor
        )
        run.contest(f"call of {SMALL} bytes, {when}", "s", LESS, (ours, *pipes))


def _allocations(run):
    entrants = (
        inside.Cost(kind, 200_000, run.cpus) for kind in (inside.PairAlone, inside.PairGrouped)
    )
    run.contest("allocate and free 64 bytes, inside C", "s", LESS, entrants)


def memory(run):
    """A segment's memory, timed inside C."""
    _allocations(run)
    finding = (inside.Cost(inside.Find, 200_000, run.cpus),)
    run.contest("find a name among 10 000, inside C", "s", LESS, finding)
    for changes in (100_000, 400_000):
        work = f"bytes taken for each byte asked for at most, {changes // 1000} 000 blocks later"
        run.contest(work, "", LESS, (inside.Wear(changes),))


def deaths(run):
    settings = run.settings
    run.tables += death.tables(
        run.cpus, settings.rounds, settings.memory, settings.rivals, run.listener
    )
    run.tables += fates.tables(run.cpus, settings.rounds, settings.rivals, run.listener)


SUITES = {
    "throughput": (throughput,),
    "latency": (latency,),
    "messages": (throughput, latency),
    "roundtrip": (roundtrip,),
    "lock": (lock,),
    "sync": (sync,),
    "mp": (look_alikes,),
    "data": (data,),
    "call": (call,),
    "memory": (memory,),
    "death": (deaths,),
    "all": (throughput, latency, roundtrip, sync, data, call, memory, deaths),
}


def run(name, settings):
    """The report of one suite."""
    with machine.scratch():
        this = Run(settings)
        for work in SUITES[name]:
            work(this)
        return this.report()
