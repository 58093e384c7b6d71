# SPDX-License-Identifier: Apache-2.0
"""RWLock for asyncio."""

from __future__ import annotations

from asyncio import current_task
from typing import TYPE_CHECKING, Any

from ipcsys import _core
from ipcsys.aio.faces import Face, checked
from ipcsys.aio.loops import NOT_YET, Thing, is_waited_for, wait
from ipcsys.errors import Timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

_READ, _WRITE = range(2)  # what one waits for, for _core.async_arm


class RWLock(Face):
    """ipcsys.RWLock for asyncio: `async with rwlock.read():`, `async with rwlock.write():`.

    Takes the arguments of ipcsys.RWLock.  While a task waits to write, no new reader gets
    in; before the next writer does, those that waited for the last one get their turn.  The
    process has the reads and the write of its tasks; its death gives them back."""

    _kind = _core.RWLock
    shared: _core.RWLock

    def _adopt(self, shared: Any) -> None:
        super()._adopt(shared)
        self._gate = Thing(shared, _READ)
        self._way_in = Thing(shared, _WRITE, looks_twice=True)

    # -- reading ---------------------------------------------------------------------------

    def read(self, timeout: float | None = None) -> Guard:
        """For `async with`: acquire_read() and release_read(); Timeout where `timeout`
        seconds were not enough."""
        return Guard(self, self.acquire_read, self.release_read, timeout)

    async def acquire_read(self, timeout: float | None = None) -> bool:
        """Take the lock for reading: True, or False when `timeout` seconds were not enough."""
        checked(timeout)
        if not is_waited_for(self._gate) and _core.async_rwlock_read(self.shared, current_task()):
            return True
        if timeout == 0:
            return False
        place = _core.async_rwlock_queue(self.shared)
        try:
            return await wait(self._gate, self._try_read, timeout) is not NOT_YET
        finally:
            if place is not None:
                _core.async_rwlock_leave_queue(place)

    def _try_read(self) -> Any:
        return _core.async_rwlock_read(self.shared, current_task()) or NOT_YET

    def release_read(self) -> None:
        """Give up a read; NotHeld (a RuntimeError) where this process has none."""
        self.shared.release_read()

    # -- writing ---------------------------------------------------------------------------

    def write(self, timeout: float | None = None) -> Guard:
        """For `async with`: acquire_write() and release_write(); Timeout where `timeout`
        seconds were not enough."""
        return Guard(self, self.acquire_write, self.release_write, timeout)

    async def acquire_write(self, timeout: float | None = None) -> bool:
        """Take the lock for writing: True, or False when `timeout` seconds were not enough.

        Where a writer died in the middle of writing, it is taken and `abandoned` is true."""
        return await self._intend(False, timeout)

    async def upgrade(self, timeout: float | None = None) -> bool:
        """Make a read held the write, which nobody gets in between: True, or False when
        `timeout` seconds were not enough, with the read still held.  As
        ipcsys.RWLock.upgrade() where another is upgrading already."""
        return await self._intend(True, timeout)

    async def _intend(self, upgrades: bool, timeout: float | None) -> bool:
        checked(timeout)
        stay = _core.async_rwlock_start(self.shared, upgrades, current_task())

        def attempt() -> Any:
            return _core.async_rwlock_intend(stay) or NOT_YET

        try:
            if upgrades or not is_waited_for(self._way_in):
                if attempt() is not NOT_YET:
                    return True
            if timeout == 0:
                return False
            way_in = self._way_in
            if upgrades:  # nobody stands before it, as they wait for its read to end
                way_in = Thing(self.shared, _WRITE, single=False, looks_twice=True)
                way_in.key = (*way_in.key, "upgrade")
            return await wait(way_in, attempt, timeout) is not NOT_YET
        finally:
            _core.async_rwlock_desist(stay)

    def release_write(self) -> None:
        """Give up the write; NotHeld (a RuntimeError) where this process has not got it."""
        self.shared.release_write()

    def downgrade(self) -> None:
        """Make the write held a read, with no writer in between."""
        self.shared.downgrade()

    # -- looking ---------------------------------------------------------------------------

    @property
    def abandoned(self) -> bool:
        """A writer died in the middle of writing, and no writer has left since."""
        return self.shared.abandoned

    @property
    def readers(self) -> int:
        """How many reads are held."""
        return self.shared.readers

    @property
    def writer(self) -> int | None:
        """The pid of the process that writes, or None."""
        return self.shared.writer


class Guard:
    """A read or a write, for `async with`."""

    def __init__(
        self,
        lock: RWLock,
        acquire: Callable[[float | None], Awaitable[bool]],
        release: Callable[[], None],
        timeout: float | None,
    ) -> None:
        self._lock = lock
        self._acquire = acquire
        self._release = release
        self._timeout = checked(timeout)

    async def __aenter__(self) -> RWLock:
        if not await self._acquire(self._timeout):
            raise Timeout(f"{self._lock!r} could not be had within {self._timeout} s")
        return self._lock

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._release()
