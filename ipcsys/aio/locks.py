# SPDX-License-Identifier: Apache-2.0
"""Lock, RLock and Event for asyncio."""

from __future__ import annotations

import asyncio
import itertools
from asyncio import current_task
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ipcsys import _core
from ipcsys.aio.faces import Face, checked
from ipcsys.aio.loops import NOT_YET, Thing, is_waited_for, wait

from ipcsys.errors import NotHeld

if TYPE_CHECKING:
    from types import TracebackType

# Tasks as holders of rlocks, where threads stand otherwise: numbers that no thread has,
# a new one for each task, and in its low half the one that ipcsys.sync tells of.
_numbers = itertools.count(1 << 63, 1 << 32)
_tasks: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()


def _this_task() -> int:
    task = current_task()
    if task is None:
        raise RuntimeError("an RLock is held by a task, and this is none")
    number = _tasks.get(task)
    if number is None:
        number = _tasks[task] = next(_numbers) | _core.async_task(task)
    return number


class _Holdable(Face):
    """What one holder has at a time."""

    def _adopt(self, shared: Any) -> None:
        super()._adopt(shared)
        self._turn = Thing(shared)

    async def acquire(self, timeout: float | None = None) -> bool:
        raise NotImplementedError

    def release(self) -> None:
        raise NotImplementedError

    def _is_mine(self) -> bool:
        raise NotImplementedError

    def _let_go(self) -> int:
        """Give it up whatever its depth, which is returned."""
        raise NotImplementedError

    async def _have_again(self, depth: int) -> None:
        raise NotImplementedError

    def locked(self) -> bool:
        """Whether somebody holds the lock."""
        return self.shared.locked()

    @property
    def abandoned(self) -> bool:
        """True from the moment the lock is taken over from a dead holder until it is released."""
        return self.shared.abandoned

    @property
    def owner(self) -> int | None:
        """The pid of the process that holds it, or None."""
        return self.shared.owner

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class Lock(_Holdable):
    """ipcsys.Lock for asyncio: `async with lock:`.

    Takes the arguments of ipcsys.Lock.  The holder is the process: any task of
    it may release the lock.  Where the process that holds it dies, the next
    one gets it and finds `abandoned` true: at once where the kernel can tell
    the event loop, else within a tenth of a second.
    """

    _kind = _core.Lock
    shared: _core.Lock

    async def acquire(self, timeout: float | None = None) -> bool:
        """Take the lock: True, or False when `timeout` seconds were not enough.

        Tasks of one event loop get it in the order in which they asked.  A task
        that is cancelled meanwhile has not taken it."""
        checked(timeout)
        if not is_waited_for(self._turn) and _core.async_lock_take(self.shared, current_task()):
            return True
        if timeout == 0:
            return False
        return await wait(self._turn, self._try, timeout) is not NOT_YET

    def _try(self) -> Any:
        return _core.async_lock_take(self.shared, current_task()) or NOT_YET

    def release(self) -> None:
        """Give the lock up; NotHeld (a RuntimeError) where nobody holds it."""
        self.shared.release()

    def _is_mine(self) -> bool:
        return self.shared.locked()  # as threading asks a Lock

    def _let_go(self) -> int:
        self.shared.release()
        return 1

    async def _have_again(self, depth: int) -> None:
        await self.acquire()


class RLock(_Holdable):
    """ipcsys.RLock for asyncio: a lock that the task which holds it may take again.

    Takes the arguments of ipcsys.RLock.  Only the task that took it may release
    it.  The death of its process is noticed as with Lock."""

    _kind = _core.RLock
    shared: _core.RLock

    async def acquire(self, timeout: float | None = None) -> bool:
        """Take the lock, again where this task holds it: True, or False when `timeout`
        seconds were not enough."""
        checked(timeout)
        task = _this_task()
        if not is_waited_for(self._turn) or _core.async_rlock_is_mine(self.shared, task):
            if _core.async_rlock_take(self.shared, task):
                return True
        if timeout == 0:
            return False

        def attempt() -> Any:
            return _core.async_rlock_take(self.shared, task) or NOT_YET

        return await wait(self._turn, attempt, timeout) is not NOT_YET

    def release(self) -> None:
        """Give up one taking; NotHeld (a RuntimeError) where this task has none."""
        if not _core.async_rlock_release(self.shared, _this_task()):
            raise NotHeld("cannot release un-acquired lock")

    def _is_mine(self) -> bool:
        return _core.async_rlock_is_mine(self.shared, _this_task())

    def _let_go(self) -> int:
        return _core.async_rlock_save(self.shared, _this_task())

    async def _have_again(self, depth: int) -> None:
        task = _this_task()

        def attempt() -> Any:
            return _core.async_rlock_take(self.shared, task, depth) or NOT_YET

        if is_waited_for(self._turn) or attempt() is NOT_YET:
            await wait(self._turn, attempt)


class Event(Face):
    """ipcsys.Event for asyncio: `await event.wait()`.

    Takes the arguments of ipcsys.Event."""

    _kind = _core.Event
    shared: _core.Event

    def _adopt(self, shared: Any) -> None:
        super()._adopt(shared)
        self._change = Thing(shared, single=False)

    def is_set(self) -> bool:
        """Whether the event is set."""
        return self.shared.is_set()

    def set(self) -> None:
        """Set the event: whoever waits for it goes on."""
        self.shared.set()

    def clear(self) -> None:
        """Clear the event: wait() waits again."""
        self.shared.clear()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until the event is set: True, also where it was cleared again at once;
        False where `timeout` seconds were not enough."""
        checked(timeout)
        if self.shared.is_set():
            return True
        if timeout == 0:
            return False
        return await wait(self._change, None, timeout) is not NOT_YET
