# SPDX-License-Identifier: Apache-2.0
"""AtomicInt, AtomicFloat and AtomicBool for asyncio."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from ipcsys import _core
from ipcsys.aio.faces import Face, checked
from ipcsys.aio.loops import NOT_YET, Thing, wait

_V = TypeVar("_V", int, float, bool)


class _Atomic(Face, Generic[_V]):
    """A word whose changes tasks wait for.  No step of it ever waits, so the others are
    the object's own: `face.shared.add(1)`."""

    def _adopt(self, shared: Any) -> None:
        super()._adopt(shared)
        self._change = Thing(shared, single=False, looks_twice=True)

    def load(self) -> _V:
        """The value."""
        return self.shared.load()

    def store(self, value: _V) -> None:
        """Set the value; tell who waits with notify()."""
        self.shared.store(value)

    def notify(self, n: int = 1) -> None:
        """Have at most `n` parked threads, and the tasks of all event loops, look again."""
        self.shared.notify(n)

    def notify_all(self) -> None:
        """Have all who wait look again."""
        self.shared.notify_all()

    async def wait(self, expected: _V, timeout: float | None = None) -> bool:
        """Wait while the value is the expected one: True once it is another, False where
        `timeout` seconds were not enough.

        Whoever changes the value says so with notify(); without that the change is seen
        within a tenth of a second."""
        checked(timeout)

        def attempt() -> Any:
            # The shared object's own idea of equality; it does not wait.
            return self.shared.wait(expected, 0) or NOT_YET

        if attempt() is True:
            return True
        if timeout == 0:
            return False
        return await wait(self._change, attempt, timeout) is not NOT_YET


class AtomicInt(_Atomic[int]):
    """ipcsys.AtomicInt for asyncio: `await number.wait(expected)`.

    Takes the arguments of ipcsys.AtomicInt."""

    _kind = _core.AtomicInt
    shared: _core.AtomicInt


class AtomicFloat(_Atomic[float]):
    """ipcsys.AtomicFloat for asyncio: `await number.wait(expected)`.

    Takes the arguments of ipcsys.AtomicFloat."""

    _kind = _core.AtomicFloat
    shared: _core.AtomicFloat


class AtomicBool(_Atomic[bool]):
    """ipcsys.AtomicBool for asyncio: `await flag.wait(False)`.

    Takes the arguments of ipcsys.AtomicBool."""

    _kind = _core.AtomicBool
    shared: _core.AtomicBool
