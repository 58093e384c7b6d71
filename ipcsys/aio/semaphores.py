# SPDX-License-Identifier: Apache-2.0
"""Semaphore and BoundedSemaphore for asyncio."""

from __future__ import annotations

from asyncio import current_task
from typing import TYPE_CHECKING, Any

from ipcsys import _core
from ipcsys.aio.faces import Face, checked
from ipcsys.aio.loops import NOT_YET, Thing, is_waited_for, wait

if TYPE_CHECKING:
    from types import TracebackType


class Semaphore(Face):
    """ipcsys.Semaphore for asyncio: `async with semaphore:`.

    Takes the arguments of ipcsys.Semaphore.  The process has the permits its tasks
    took, and its death gives them back."""

    _kind = _core.Semaphore

    def _adopt(self, shared: Any) -> None:
        super()._adopt(shared)
        self._permit = Thing(shared)

    async def acquire(self, timeout: float | None = None) -> bool:
        """Take a permit: True, or False when `timeout` seconds were not enough.

        Tasks of one event loop get theirs in the order in which they asked.  A task
        that is cancelled meanwhile has not taken one."""
        checked(timeout)
        if not is_waited_for(self._permit) and _core.async_semaphore_take(self.shared, current_task()):
            return True
        if timeout == 0:
            return self.shared.acquire(False)  # asks for the dead as well
        return await wait(self._permit, self._try, timeout) is not NOT_YET

    def _try(self) -> Any:
        return _core.async_semaphore_take(self.shared, current_task()) or NOT_YET

    def release(self, n: int = 1) -> None:
        """Give back n permits; ValueError where a BoundedSemaphore would have more than its
        initial value."""
        self.shared.release(n)

    @property
    def value(self) -> int:
        """How many permits are free."""
        return self.shared.value

    def locked(self) -> bool:
        """Whether no permit is free."""
        return self.shared.value <= 0

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shared.release()


class BoundedSemaphore(Semaphore):
    """ipcsys.BoundedSemaphore for asyncio: a Semaphore that refuses to exceed its initial
    value."""

    _kind = _core.BoundedSemaphore
