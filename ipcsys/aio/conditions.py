# SPDX-License-Identifier: Apache-2.0
"""Condition for asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ipcsys import _core
from ipcsys.aio.faces import Face, checked
from ipcsys.aio.locks import Lock, RLock
from ipcsys.aio.loops import NOT_YET, Thing, wait
from ipcsys.errors import NotHeld

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_ITS_LOCK = -1  # what one waits for, for _core.async_arm; else the number of a seat


class _OwnLock(RLock):
    """The lock that a condition has with it: an rlock in the same words."""

    _kind = None  # nobody makes one, and wrap() does not find it

    def _adopt(self, shared: Any) -> None:
        self.shared = shared
        self._turn = Thing(shared, _ITS_LOCK)


class Condition(Face):
    """ipcsys.Condition for asyncio: `async with condition:`, `await condition.wait()`.

    Takes the arguments of ipcsys.Condition; a lock given to it is a Lock or an RLock, of
    ipcsys or of ipcsys.aio.  Without one it has an RLock with it, held by tasks.  Threads,
    tasks and other processes may wait at the same time; a notification goes to the one
    that has waited longest."""

    _kind = _core.Condition
    shared: _core.Condition

    def __init__(self, lock: Any = None, **options: Any) -> None:
        shared = lock.shared if isinstance(lock, Face) else lock
        if shared is not None and not isinstance(shared, (_core.Lock, _core.RLock)):
            raise TypeError(f"lock must be a Lock or an RLock, not {type(lock).__name__}")
        super().__init__(shared, **options)

    def _adopt(self, shared: Any) -> None:
        lock = _core.async_condition_lock(shared)
        if lock is None:
            self._lock: Lock | RLock = _OwnLock.__new__(_OwnLock)
            self._lock._adopt(shared)
        elif isinstance(lock, _core.Lock):
            self._lock = Lock.of(lock)
        elif isinstance(lock, _core.RLock):
            self._lock = RLock.of(lock)
        else:
            raise TypeError(f"asyncio cannot wait for a lock of type {type(lock).__name__}")
        super()._adopt(shared)

    # -- its lock --------------------------------------------------------------------------

    async def acquire(self, timeout: float | None = None) -> bool:
        """Take the lock that goes with it; see the lock's own acquire()."""
        return await self._lock.acquire(timeout)

    def release(self) -> None:
        """Give the lock up."""
        self._lock.release()

    def locked(self) -> bool:
        """Whether somebody holds the lock."""
        return self._lock.locked()

    @property
    def abandoned(self) -> bool:
        """True while the lock is held by one who took it over from a dead holder."""
        return self._lock.abandoned

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    # -- waiting ---------------------------------------------------------------------------

    async def wait(self, timeout: float | None = None) -> bool:
        """Give up the lock, wait until notified, and take the lock again: True, or False
        where `timeout` seconds were not enough.

        NotHeld (a RuntimeError) where the lock is not held.  A task that is cancelled
        has the lock again when the cancellation is raised, and the notification it met goes
        to another waiter."""
        checked(timeout)
        self._must_hold("wait on")
        stay, index, ticket = _core.async_condition_enter(self.shared)
        depth = self._lock._let_go()
        failure: BaseException | None = None
        try:
            await wait(Thing(self.shared, index, single=False), None, timeout, ticket)
        except GeneratorExit:
            raise  # thrown away, without a loop to wait for the lock; the stay ends by itself
        except BaseException as error:
            failure = error
        notified = _core.async_condition_withdraw(stay)
        while True:
            try:
                await self._lock._have_again(depth)
                break
            except asyncio.CancelledError as error:
                failure = error
            except BaseException:
                _core.async_condition_leave(stay, False)
                raise
        _core.async_condition_leave(stay, failure is None)
        if failure is not None:
            try:
                raise failure
            finally:
                failure = None
        return notified

    async def wait_for(
        self, predicate: Callable[[], Any], timeout: float | None = None
    ) -> Any:
        """Wait until `predicate()` is true: what it returned last, false where `timeout`
        seconds were not enough.  It is called with the lock held."""
        checked(timeout)
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        while not (result := predicate()):
            left = None if end is None else end - loop.time()
            if left is not None and left <= 0:
                break
            await self.wait(left)
        return result

    # -- notifying -------------------------------------------------------------------------

    def notify(self, n: int = 1) -> None:
        """Notify the n that have waited longest, or as many as wait; NotHeld (a RuntimeError)
        where the lock is not held."""
        self._must_hold("notify on")
        if n > 0:
            _core.async_condition_notify(self.shared, n)

    def notify_all(self) -> None:
        """Notify all who wait."""
        self._must_hold("notify on")
        _core.async_condition_notify(self.shared, -1)

    def _must_hold(self, what: str) -> None:
        if not self._lock._is_mine():
            raise NotHeld(f"cannot {what} un-acquired lock")
