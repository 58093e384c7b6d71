# SPDX-License-Identifier: Apache-2.0
"""Who holds what, who waits for it, and who waits for each other.

    who_holds   the holder of one named primitive
    locks       every primitive of a namespace that one can wait for
    cycles      threads that wait for each other, so that none ever goes on

    Observer    the same again and again: since when it has been seen so

All of it is news: read while others go on, taken from nobody, and a moment old
when it arrives.  A wait is known once its thread has parked, some ten
microseconds after it began, or its task went to sleep; of a process only the
first 32 of them are told of, and at most 16 tasks.  The command `ipcsys locks`
prints the same.

Who takes what is free does not look at the clock: that costs as much as half
of the taking.  So how long somebody has had a thing is known where somebody
waits for it; an Observer tells for how long it has seen it so.
"""

import time
from dataclasses import dataclass, replace

from ipcsys import _core
from ipcsys.errors import NotFound

__all__ = ["Cycle", "Holder", "LockFacts", "Observer", "Waiter", "cycles", "locks", "who_holds"]

_SECOND_LOOK = 0.03  # seconds: what still stands then was no moment between two steps


@dataclass(frozen=True)
class Holder:
    """A process that has a primitive, or a part of it.

    `thread` is the kernel's number of the thread that took it (as in `ps -T`),
    and `ident` what threading.get_ident() said there; either is None where it
    is not known.  Where a task of an event loop took it (ipcsys.aio), both are
    None and `task` is its number, as in a Waiter.  Of one that has several
    permits or readings, `count` of them, they name a thread that has some.

    `pid` is None where the holder is dead: then the next one to ask gets what
    it left.  `seconds` is how long it is known to have had it, None where
    nobody waits, as only those who wait look at the clock.  `seen` is for how
    long an Observer has found it so, None where none did.
    """

    owner: int
    pid: int | None
    program: str
    thread: int | None = None
    ident: int | None = None
    seconds: float | None = None
    count: int = 1
    task: int | None = None
    seen: float | None = None

    @property
    def alive(self):
        """False where the holder is dead."""
        return self.pid is not None


@dataclass(frozen=True)
class Waiter:
    """A thread that is parked: for `seconds` already, and for `left` more at
    most (None: for ever).

    Where `task` is not None it is the number of a task that waits with
    ipcsys.aio, and the thread is that of its event loop, which goes on.
    """

    owner: int
    pid: int | None
    program: str
    thread: int
    ident: int
    seconds: float
    left: float | None
    task: int | None = None


@dataclass(frozen=True)
class LockFacts:
    """One primitive: a named one, the one under the key `name` of the segment
    `segment`, or the unnamed one with this index.  Of a segment itself (also of
    a container that has a name of its own) it is the writers' lock, which a
    transaction holds.

    `state` says in a word how it stands.  `abandoned`: its last holder died
    with it; either nobody took it since, or the present holder knows.
    """

    name: str | None
    index: int | None
    kind: str
    state: str
    abandoned: bool
    holders: tuple[Holder, ...] = ()
    waiters: tuple[Waiter, ...] = ()
    segment: str | None = None

    @property
    def label(self):
        """The name (in a segment: its name, a slash, the key), or the kind and
        number of one that has none."""
        if self.segment is not None:
            return f"{self.segment}/{self.name}"
        return self.name if self.name is not None else f"{self.kind} #{self.index}"

    @property
    def idle(self):
        """True where nobody has it and nobody waits for it."""
        return not self.holders and not self.waiters


@dataclass(frozen=True)
class Cycle:
    """Threads or tasks of which each waits for what the next one holds, and the
    last for what the first holds: (waiter, what it waits for) of each.

    `certain` is false where it is not known which thread of a process is the
    holder, where somebody outside the cycle has a part of the same thing, and
    where a Semaphore is part of it, which anybody may release.
    """

    steps: tuple[tuple[Waiter, LockFacts], ...]
    certain: bool

    @property
    def for_ever(self):
        """True where no wait of it has a timeout."""
        return all(waiter.left is None for waiter, _lock in self.steps)

    def __str__(self):
        lines = []
        for number, (waiter, lock) in enumerate(self.steps):
            following = self.steps[(number + 1) % len(self.steps)][0]
            who = f"{waiter.program} (pid {waiter.pid}, {waiter_place(waiter)})"
            whose = (
                "it holds itself"
                if len(self.steps) == 1
                else f"pid {following.pid}, {waiter_place(following)} holds"
            )
            lines.append(f"{who} waits for {lock.label}, which {whose}")
        return "; ".join(lines)


def waiter_place(waiter):
    """Where in its process a Waiter is, as text."""
    place = f"thread {waiter.thread}"
    return place if waiter.task is None else f"task {waiter.task:#x} of {place}"


_TASK = 1 << 63  # from here on a trace of the core is a task's number


class _Look:
    """One look at a namespace."""

    def __init__(self, namespace):
        self._waits = _core.waits(namespace)
        found = _core.locks(namespace)
        # Members after the rest: whoever is named above and missing here is dead.
        self._members = {member["owner"]: member for member in _core.members(namespace)}
        self._tids = {(wait["owner"], wait["ident"]): wait["thread"] for wait in self._waits}
        self._by_owner = {}
        for wait in self._waits:
            self._by_owner.setdefault(wait["owner"], []).append(wait)
        for owner, member in self._members.items():
            if member["main_ident"]:
                self._tids[owner, member["main_ident"]] = member["pid"]
        at = {}
        for wait in self._waits:
            at.setdefault((wait["file"], wait["place"]), []).append(wait)
        self.locks = [self._facts(facts, at) for facts in found]
        self._by_place = {
            (facts["file"], facts["place"]): lock
            for facts, lock in zip(found, self.locks, strict=True)
        }

    def _who(self, owner):
        member = self._members.get(owner)
        return (member["pid"], member["program"]) if member else (None, "")

    def _holder(self, waits, held_seconds, owner, trace, count):
        pid, program = self._who(owner)
        known = [wait["holder_seconds"] for wait in waits if wait["holder"] == owner]
        is_task = trace >= _TASK
        return Holder(
            owner=owner, pid=pid, program=program, count=count,
            thread=None if is_task else self._tids.get((owner, trace)),
            ident=None if is_task else trace or None,
            task=trace & 0xFFFFFFFF if is_task else None,
            seconds=max(known, default=held_seconds),
        )  # fmt: skip

    def waiter(self, wait):
        pid, program = self._who(wait["owner"])
        return Waiter(
            owner=wait["owner"], pid=pid, program=program, thread=wait["thread"],
            ident=wait["ident"], seconds=wait["seconds"], left=wait["left"],
            task=wait["task"] or None,
        )  # fmt: skip

    def _facts(self, facts, at):
        waits = at.get((facts["file"], facts["place"]), [])
        seconds = facts.get("seconds")
        holders = tuple(self._holder(waits, seconds, *share) for share in facts["holders"])
        state, dead = facts["state"], False
        if state in ("held", "written"):
            dead = any(not holder.alive for holder in holders)
            state = "left by the dead" if dead else state
        else:  # a dead one's share is nobody's
            holders = tuple(holder for holder in holders if holder.alive)
            state = "free" if state == "read" and not holders else state
        return LockFacts(
            name=facts["name"], index=facts["index"], kind=facts["kind"],
            state=state,
            abandoned=facts["abandoned"] or dead,
            holders=holders,
            waiters=tuple(map(self.waiter, sorted(waits, key=lambda wait: wait["since"]))),
            segment=facts.get("segment"),
        )  # fmt: skip

    # --- who waits for whom ---------------------------------------------------

    def _next(self, wait):
        """The waits of those who hold what this one waits for, and of each
        whether it is sure to be in the way."""
        lock = self._by_place.get((wait["file"], wait["place"]))
        holders = lock.holders if lock else ()
        for holder in holders:
            # Who waits for a notification waits for no lock, anybody may release a
            # Semaphore, and who needs a share may get it from any of those who have one.
            sure = len(holders) == 1 and holder.count == 1 and not _is_loose(lock)
            for other in self._by_owner.get(holder.owner, ()):
                known = _is_holder(holder, other)
                # In its own process one thread waits for another all day long.
                if known or (known is None and other["owner"] != wait["owner"]):
                    yield other, sure and bool(known)

    def cycles(self):
        """{key: Cycle}; a key names the waits and is the same in every look."""
        found, done = {}, set()
        for first in self._waits:
            # The way to where we are: (wait, was it sure, what is still to follow).
            path, places = [], {}
            if _key(first) not in done:
                path.append((first, True, self._next(first)))
                places[_key(first)] = 0
            while path:
                following, sure = next(path[-1][2], (None, True))
                if following is None:
                    key = _key(path.pop()[0])
                    done.add(key)
                    del places[key]
                    continue
                key = _key(following)
                if key in places:
                    ring = path[places[key] :]
                    certain = sure and all(step[1] for step in ring[1:])
                    if not self._is_trade(ring):
                        keys = frozenset(_key(wait) for wait, _sure, _rest in ring)
                        found.setdefault(keys, self._cycle(ring, certain))
                elif key not in done:
                    places[key] = len(path)
                    path.append((following, sure, self._next(following)))
        return found

    def _is_trade(self, ring):
        """Do all of them wait for one Semaphore?  So do those who take what others
        release, as with a counter of jobs."""
        places = {(wait["file"], wait["place"]) for wait, _sure, _rest in ring}
        return len(places) == 1 and "Semaphore" in self._by_place[places.pop()].kind

    def _cycle(self, ring, certain):
        return Cycle(
            tuple(
                (self.waiter(wait), self._by_place[wait["file"], wait["place"]])
                for wait, _sure, _rest in ring
            ),
            certain,
        )


def _key(wait):
    return wait["owner"], wait["thread"], wait["task"], wait["since"]


def _is_loose(lock):
    return lock.kind == "Condition" or "Semaphore" in lock.kind


def _is_holder(holder, wait):
    """Is it the holder who waits there?  None where that is not known."""
    if holder.task is not None:
        return wait["task"] == holder.task
    if holder.ident is not None:
        return wait["task"] == 0 and wait["ident"] == holder.ident
    return None


def _look_for_cycles(look, namespace):
    """Cycles that stand in this look and in one a moment later."""
    first = look.cycles()
    if not first:
        return []
    time.sleep(_SECOND_LOOK)
    second = _Look(namespace).cycles()
    return [cycle for key, cycle in second.items() if key in first]


def locks(namespace=None):
    """Every primitive of a namespace that one can wait for, as LockFacts.

    The named ones first, then the named segments and what stands in them, then
    those without a name by index.  Raises InvalidName.
    """
    return _Look(namespace).locks


def cycles(namespace=None):
    """Threads that wait for each other, as a list of Cycle, empty as a rule.

    A thread that waits for a Lock it holds itself is a cycle of one.  Takes
    30 ms where something looks like a cycle: it is told only if it still
    stands then.
    """
    return _look_for_cycles(_Look(namespace), namespace)


class Observer:
    """Looks at a namespace again and again, and remembers since when it has seen
    what it sees: `seen` of the holders, in seconds.

    Between two looks a thing may have been given up and taken again by the same
    thread, which nobody notes: `seen` says that every look found it so.
    """

    def __init__(self, namespace=None):
        self._namespace = namespace
        self._first = {}  # moments, by what was seen

    def locks(self):
        """As ipcsys.sync.locks(), with `seen` of the holders."""
        return self._remember(_Look(self._namespace).locks)

    def survey(self):
        """locks() and cycles() of one look, for the command line."""
        look = _Look(self._namespace)
        return self._remember(look.locks), _look_for_cycles(look, self._namespace)

    def _remember(self, found):
        before, self._first = self._first, {}
        now = time.monotonic()
        return [
            replace(lock, holders=tuple(self._seen(lock, each, before, now) for each in lock.holders))
            for lock in found
        ]

    def _seen(self, lock, holder, before, now):
        key = lock.kind, lock.label, holder.owner, holder.ident, holder.task
        self._first[key] = before.get(key, now)
        return replace(holder, seen=now - self._first[key])


def who_holds(name, namespace=None):
    """The Holder of the primitive of that name, None where nobody has it; of
    one in a segment by "segment/key".  Of a segment it is who has a transaction
    open there, and `seconds` for how long, also where the thread that began it
    has ended: then nobody can end the transaction before the process does.

    What a dead process left counts as free: the next one to ask gets it.
    Where several have a part, as with a Semaphore, it is one of them; `locks`
    tells all.  Raises NotFound where no primitive has the name.
    """
    for lock in locks(namespace):
        if name == (lock.name if lock.segment is None else lock.label):
            return next((holder for holder in lock.holders if holder.alive), None)
    raise NotFound(f"there is no primitive {name!r} in {_core.folder(namespace)}")
