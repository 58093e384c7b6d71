# SPDX-License-Identifier: Apache-2.0
"""How tasks wait for a change in shared memory.

Each event loop with waiting tasks has a hub.  It watches this process's FIFO
in each namespace concerned; when a byte comes, it looks at what its tasks wait
for, and has the hubs of other loops do so.  Whoever was killed before it wrote
the byte is made up for by a timer: every wait is looked at again after BOUND
seconds at most, and then with proof of the holder's death.

A hub keeps one line for each thing waited for.  Where only one can have it, the
first in line is woken, tries, and on its way out passes the turn to the next:
also when it is cancelled, so no wake-up is lost.  A task takes something
only by itself and just before it returns: there is no moment at which a
cancellation could come between the taking and the taker.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING, Any

from ipcsys import _core
from ipcsys.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable

BOUND = 0.1  # seconds until a wait is looked at again by itself
FIRST_BOUND = 0.01
VAIN_TRIES = 4  # of something that looked free, before other tasks have a turn

NOT_YET: Any = object()  # what a try returns that came to nothing

_READY = -1
_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


class Waiter:
    """One task's wait."""

    __slots__ = ("announced", "expired", "future", "shown", "since", "timeout")

    def __init__(self, since: int, timeout: float | None) -> None:
        self.future: asyncio.Future[None] | None = None  # what it sleeps on
        self.since = since
        self.timeout = timeout
        self.shown: Any = None  # what lets `ipcsys locks` tell of it
        self.announced = False
        self.expired = False

    def wake(self) -> None:
        if self.future is not None and not self.future.done():
            self.future.set_result(None)

    def expire(self) -> None:
        self.expired = True
        self.wake()


class Thing:
    """What can be waited for: a shared object, and which of its changes."""

    __slots__ = ("holder", "key", "lives", "looks_twice", "shared", "single", "space", "what")

    def __init__(
        self, shared: Any, what: int = 0, *, single: bool = True, looks_twice: bool = False
    ) -> None:
        self.holder = 0  # a member whose death ends the wait, where the core knows of none
        self.lives: Callable[[], bool] | None = None  # the proof of it
        address, self.space = _core.async_place(shared)
        self.key: tuple[Any, ...] = (address, what)
        self.shared = shared
        self.what = what
        self.single = single  # only one can have it: they stand in line
        self.looks_twice = looks_twice  # only a try tells whether it is there


class Line:
    """Those of one loop who wait for one thing, in the order in which they came."""

    __slots__ = ("hub", "thing", "waiters")

    def __init__(self, hub: Hub, thing: Thing) -> None:
        self.hub = hub
        self.thing = thing
        self.waiters: deque[Waiter] = deque()

    def arm(self, waiter: Waiter, thorough: bool = False) -> bool:
        """Announce it; True where it should try now."""
        thing = self.thing
        since = _core.async_arm(thing.shared, thing.what, waiter.since, thorough)
        if since == _READY:
            return True
        waiter.since = since
        return False

    def look(self, thorough: bool = False) -> None:
        """Wake those who should try; the others are announced again."""
        waiters = self.waiters
        for waiter in (waiters[0],) if self.thing.single else tuple(waiters):
            if waiter.future is None or waiter.future.done():
                continue  # awake: it looks by itself
            try:
                twice = self.thing.looks_twice
                ready = (thorough or not twice) and self.arm(waiter, thorough) or twice
            except Error:
                ready = True  # closed, or worse: its own try will raise it
            if ready:
                waiter.wake()

    def leave(self, waiter: Waiter) -> None:
        """It has what it wanted, or gives up: the turn goes to the next."""
        waiters = self.waiters
        was_first = waiters[0] is waiter
        waiters.remove(waiter)
        if not waiters:
            self.hub.close_line(self)
        elif was_first and self.thing.single:
            self.look()

    def look_for_death(self) -> None:
        """Its holder's process ended, or nothing would tell of that."""
        lives = self.thing.lives
        self.look(thorough=lives is None)
        if lives is not None and not lives():
            for waiter in self.waiters:
                waiter.wake()


class Hub:
    """The waiting of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lines: dict[tuple[Any, ...], Line] = {}
        self._boxes: dict[int, tuple[int, int, int]] = {}  # by namespace
        self._watched: dict[int, int] = {}  # descriptors of holders' processes
        self._pause = FIRST_BOUND
        self._timer: asyncio.TimerHandle | None = None

    # -- lines -------------------------------------------------------------------------

    def line(self, thing: Thing) -> Line:
        line = self.lines.get(thing.key)
        if line is None:
            if thing.space not in self._boxes:
                self._open_box(thing)
            line = self.lines[thing.key] = Line(self, thing)
            if self._timer is None:
                self._pause = FIRST_BOUND
                self._timer = self.loop.call_later(self._pause, self._tick)
        return line

    def close_line(self, line: Line) -> None:
        del self.lines[line.thing.key]
        if not self.lines and self._watched:
            self._watch_only(set())

    def look(self, space: int | None) -> None:
        """At all that is waited for in a namespace; None: everywhere."""
        for line in tuple(self.lines.values()):
            if line.thing.space == space or space is None:
                if line.waiters:
                    line.look()

    # -- bytes ---------------------------------------------------------------------------

    def _open_box(self, thing: Thing) -> None:
        try:
            box = _core.async_open(thing.shared)
        except Error:
            return  # its folder was removed, or memory is full: the bound must do
        self._boxes[thing.space] = box
        self.loop.add_reader(box[0], self._on_byte, thing.space)

    def _on_byte(self, space: int) -> None:
        box = self._boxes[space]
        if not _core.async_drain(*box):  # somebody closed our descriptor
            del self._boxes[space]
            self.loop.remove_reader(box[0])
        for hub in tuple(_hubs.values()):
            if hub is self:
                hub.look(space)
            else:
                hub.look_soon(space)

    def look_soon(self, space: int | None) -> None:
        """For another thread."""
        try:
            self.loop.call_soon_threadsafe(self.look, space)
        except RuntimeError:
            pass  # the loop is closed

    # -- the bound, and deaths --------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = None
        if not self.lines:
            self.retire()
            return
        asked = set()  # of holders or, where there is none, objects: once a tick is enough
        for line in tuple(self.lines.values()):
            if not line.waiters:
                continue
            holders = self._holders_of(line)
            # More of them than are watched, or none: then the object is what is asked of.
            subjects = {holder or line.thing.key[0] for holder in holders or (0,)}
            if subjects <= self._watched.keys() | asked:
                line.look()
            else:
                line.look_for_death()
                self._watch(line.thing.shared, holders)
            asked |= subjects
        self._watch_only(asked)
        self._pause = min(2 * self._pause, BOUND)
        self._timer = self.loop.call_later(self._pause, self._tick)

    def _holders_of(self, line: Line) -> tuple[int, ...]:
        if line.thing.holder:
            return (line.thing.holder,)
        try:
            return _core.async_holders(line.thing.shared)
        except Error:
            return ()

    def _watch(self, shared: Any, holders: tuple[int, ...]) -> None:
        for holder in holders:
            if not holder or holder in self._watched:
                continue
            try:
                descriptor = _core.async_watch(shared, holder)
            except Error:
                return  # closed: its waiters are awake by now
            if descriptor is not None:
                self._watched[holder] = descriptor
                self.loop.add_reader(descriptor, self._on_death, holder)

    def _watch_only(self, holders: set[int]) -> None:
        for holder in self._watched.keys() - holders:
            self._unwatch(holder)

    def _unwatch(self, holder: int) -> None:
        descriptor = self._watched.pop(holder)
        if not self.loop.is_closed():
            self.loop.remove_reader(descriptor)
        os.close(descriptor)

    def _on_death(self, holder: int) -> None:
        self._unwatch(holder)
        for line in tuple(self.lines.values()):
            if line.waiters and holder in self._holders_of(line):
                line.look_for_death()

    def retire(self) -> None:
        """Nobody has waited for a while, or the loop is closed."""
        self._watch_only(set())
        if self._timer is not None:
            self._timer.cancel()
        _hubs.pop(self.loop, None)
        if not self.loop.is_closed():
            for box in self._boxes.values():
                self.loop.remove_reader(box[0])
        self._boxes.clear()


def hub_of(loop: asyncio.AbstractEventLoop) -> Hub:
    hub = _hubs.get(loop)
    if hub is None:
        for other in tuple(_hubs.values()):
            if other.loop.is_closed():
                other.retire()
        hub = _hubs[loop] = Hub(loop)
    return hub


def look_everywhere() -> None:
    """A handle was closed: whoever waits behind it shall notice."""
    for hub in tuple(_hubs.values()):
        hub.look_soon(None)


def is_waited_for(thing: Thing) -> bool:
    """Does a task of this loop wait for it?  Then a newcomer must not overtake it."""
    hub = _hubs.get(asyncio.get_running_loop())
    return hub is not None and thing.key in hub.lines


async def wait(
    thing: Thing,
    attempt: Callable[[], Any] | None = None,
    timeout: float | None = None,
    since: int = -1,
) -> Any:
    """Wait in line until attempt() returns something else than NOT_YET, which is
    returned; without an attempt, until the thing is ready, which is True.
    NOT_YET where `timeout` seconds were not enough.  `since` is what the core is told
    at first."""
    loop = asyncio.get_running_loop()
    line = hub_of(loop).line(thing)
    waiter = Waiter(since, None if timeout is None else max(0.0, timeout))
    line.waiters.append(waiter)
    timer = None if waiter.timeout is None else loop.call_later(waiter.timeout, waiter.expire)
    try:
        return await _wait_in(line, waiter, attempt)
    finally:
        if timer is not None:
            timer.cancel()
        waiter.shown = None
        line.leave(waiter)


async def _wait_in(line: Line, waiter: Waiter, attempt: Callable[[], Any] | None) -> Any:
    tries = 0
    while True:
        again = False
        if not line.thing.single or line.waiters[0] is waiter:
            result = NOT_YET if attempt is None else attempt()
            if result is not NOT_YET:
                return result
            again = line.arm(waiter)
            if again and attempt is None:
                return True
            if line.thing.looks_twice and not waiter.announced:
                waiter.announced = again = True
        if waiter.expired:
            return NOT_YET
        tries += 1
        if not again:
            waiter.shown = _core.async_show(
                line.thing.shared, asyncio.current_task(), waiter.timeout, waiter.shown
            )
            waiter.future = line.hub.loop.create_future()
            try:
                await waiter.future
            finally:
                waiter.future = None
            waiter.announced = False
            tries = 0
        elif tries % VAIN_TRIES == 0:
            await asyncio.sleep(0)


def may_leave() -> bool:
    """Before this process leaves a namespace: no loop waits in any from now on, or False."""
    for hub in tuple(_hubs.values()):
        if hub.loop.is_closed() or not (hub.lines or hub.loop.is_running()):
            hub.retire()
    return not _hubs


# In a forked child none of these loops runs, and the FIFO is not its own.
os.register_at_fork(after_in_child=_hubs.clear)
