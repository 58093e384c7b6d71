# SPDX-License-Identifier: Apache-2.0
"""Barrier for asyncio."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from ipcsys import _core, _farewell
from ipcsys.aio.faces import Face, checked
from ipcsys.aio.loops import NOT_YET, Thing, wait

if TYPE_CHECKING:
    from types import TracebackType

_IN_PASSING = 0.001  # seconds until one looks again whether the last round's action is over


class Barrier(Face):
    """ipcsys.Barrier for asyncio: `await barrier.wait()`, or `async with barrier:`.

    Takes the arguments of ipcsys.Barrier.  Each task that waits is a party; the action may
    be a coroutine function.  The death of a process that waited here breaks the barrier
    for the rest, which an event loop notices within a tenth of a second."""

    _kind = _core.Barrier
    shared: _core.Barrier

    async def wait(self, timeout: float | None = None) -> int:
        """Wait until as many have come as the barrier has parties; then all go on at once.

        Returns a number from 0 to parties - 1, another one for each.  BrokenBarrierError
        where the barrier is broken or reset meanwhile, where `timeout` seconds (None: the
        barrier's own) were not enough, which breaks it, and where a process dies that waited
        here.  A task that is cancelled has never come, unless the round was full."""
        action, patience = _core.async_barrier_manners(self.shared)
        timeout = checked(patience if timeout is None else timeout)
        stay, index, number, last = await self._arrive(action is not None)
        try:
            if not last:
                await self._rest(stay, number, timeout)
            elif action is not None:
                await self._act(stay, action)
        finally:
            _core.async_barrier_leave(stay)
        return index

    async def _arrive(self, acts: bool) -> tuple[Any, int, int, bool]:
        while True:
            arrival = _core.async_barrier_arrive(self.shared, acts)
            if arrival is not None:
                _farewell.remember(self.shared)
                return arrival
            await asyncio.sleep(_IN_PASSING)

    async def _rest(self, stay: Any, number: int, timeout: float | None) -> None:
        thing = Thing(self.shared, number & 1, single=False)
        if await wait(thing, None, timeout, number) is NOT_YET:
            if not _core.async_barrier_give_up(stay):  # all are there, and one acts
                await wait(thing, None, None, number)
        _core.async_barrier_outcome(stay)

    async def _act(self, stay: Any, action: Any) -> None:
        succeeded = False
        try:
            result = action()
            if inspect.isawaitable(result):
                await result
            succeeded = True
        finally:
            _core.async_barrier_act(stay, succeeded)

    def abort(self) -> None:
        """Break it: whoever waits or comes gets BrokenBarrierError until reset()."""
        self.shared.abort()

    def reset(self) -> None:
        """Empty and whole again; whoever waits gets BrokenBarrierError, the dead are
        forgotten."""
        self.shared.reset()

    @property
    def parties(self) -> int:
        """How many it takes."""
        return self.shared.parties

    @property
    def n_waiting(self) -> int:
        """How many have come."""
        return self.shared.n_waiting

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return self.shared.broken

    async def __aenter__(self) -> int:
        return await self.wait()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass
