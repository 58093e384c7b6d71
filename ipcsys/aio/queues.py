# SPDX-License-Identifier: Apache-2.0
"""Queue for asyncio."""

from __future__ import annotations

from types import GenericAlias
from typing import TYPE_CHECKING, Any

from ipcsys import _core
from ipcsys.aio.faces import Face, checked
from ipcsys.aio.loops import NOT_YET, Thing, is_waited_for, wait
from ipcsys.errors import DecodeError, Empty, Full, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from typing_extensions import Buffer, Self

_GET, _PUT, _JOIN = range(3)  # the changes of a queue, for _core.async_arm
_RAW = 0  # the kind of bytes
_HARDLY = 1e-9  # seconds: a try that does not wait for the queue's locks either


class Queue(Face):
    """ipcsys.Queue for asyncio: `await queue.get()`, `await queue.put(item)`.

    Takes the arguments of ipcsys.Queue, and keeps its promises: what put()
    returned from is there for the next get(), whoever is killed.  A get() that
    is cancelled has taken nothing, a put() that is cancelled has put nothing.
    """

    _kind = _core.Queue
    shared: _core.Queue[Any]
    __class_getitem__ = classmethod(GenericAlias)

    def _adopt(self, shared: Any) -> None:
        super()._adopt(shared)
        self._owed: DecodeError | None = None  # its message was taken, and counts
        self._items = Thing(shared, _GET)
        self._room = Thing(shared, _PUT, looks_twice=True)
        self._rest = Thing(shared, _JOIN, single=False)

    # -- getting ---------------------------------------------------------------------------

    async def get(self, timeout: float | None = None) -> Any:
        """Take the next item, waiting for it; Empty where none comes within `timeout`
        seconds, ShutDown where none can come."""
        if timeout is None and self._owed is None and not is_waited_for(self._items):
            item = _core.async_get(self.shared, NOT_YET)
            if item is not NOT_YET:
                return item
        return await self._take(self._one, timeout)

    def get_nowait(self) -> Any:
        """Take the next item if there is one, else raise Empty."""
        item = self._one()
        if item is NOT_YET:
            raise self._empty()
        return item

    async def get_many(self, n: int, timeout: float | None = None) -> list[Any]:
        """Take up to n items as a list, waiting for the first of them only; Empty where
        none comes within `timeout` seconds.  One that cannot be decoded ends the list; its
        DecodeError comes with the next call."""
        if n < 0:
            raise ValueError(f"n must not be negative, but is {n}")
        return await self._take(lambda: self._several(n), timeout) if n else []

    async def get_into(self, buffer: Buffer, timeout: float | None = None) -> int:
        """Take the next message, which must be bytes, into a writable buffer; its size.
        One that does not fit, or is not bytes, raises and stays."""

        def attempt() -> Any:
            if self.shared.empty():
                return NOT_YET
            try:
                return self.shared.get_into(buffer, True, _HARDLY)
            except Empty:
                return NOT_YET

        return await self._take(attempt, timeout)

    async def _take(self, attempt: Callable[[], Any], timeout: float | None) -> Any:
        checked(timeout)
        if not is_waited_for(self._items):
            item = attempt()
            if item is not NOT_YET:
                return item
        item = NOT_YET if timeout == 0 else await wait(self._items, attempt, timeout)
        if item is NOT_YET:
            raise self._empty()
        return item

    def _one(self) -> Any:
        owed, self._owed = self._owed, None
        if owed is not None:
            raise owed
        return _core.async_get(self.shared, NOT_YET)

    def _several(self, n: int) -> Any:
        items: list[Any] = []
        while len(items) < n:
            try:
                item = self._one()
            except DecodeError as error:
                if not items:
                    raise
                self._owed = error
                break
            if item is NOT_YET:
                break
            items.append(item)
        return items or NOT_YET

    def _empty(self) -> Empty:
        return Empty(f"the queue {self._title()} is empty")

    # -- putting ---------------------------------------------------------------------------

    async def put(self, item: Any, timeout: float | None = None) -> None:
        """Put an item, waiting for room; Full where there is none within `timeout` seconds,
        ShutDown where nothing is taken any more."""
        if timeout is not None:
            checked(timeout)
        if not is_waited_for(self._room) and _core.async_put_item(self.shared, item):
            return
        kind, data = _core.encode_value(item)  # as it is now
        await self._wait_for_room(lambda: self._put(kind, data), timeout)

    def put_nowait(self, item: Any) -> None:
        """Put an item if there is room now, else raise Full."""
        if not _core.async_put_item(self.shared, item):
            raise self._full()

    async def put_bytes(self, buffer: Buffer, timeout: float | None = None) -> None:
        """Put the bytes of a buffer (bytearray, memoryview, array); get() gives bytes.  They
        must not change until this returns."""
        await self._give(lambda: self._put(_RAW, buffer), timeout)

    async def put_many(self, items: Iterable[Any], timeout: float | None = None) -> int:
        """Put items in order and return how many went in: all, or fewer where `timeout`
        seconds were not enough; Full where not one did.  Nothing is put if an item cannot be
        encoded.  A cancellation in between leaves those put that were put."""
        encoded = [_core.encode_value(item) for item in items]
        done = 0

        def attempt() -> Any:
            nonlocal done
            while done < len(encoded) and _core.async_put(self.shared, *encoded[done]):
                done += 1
            return done if done == len(encoded) else NOT_YET

        try:
            await self._give(attempt, timeout)
        except Full:
            if done == 0:
                raise
        return done

    def _put(self, kind: int, data: Buffer) -> Any:
        return _core.async_put(self.shared, kind, data) or NOT_YET

    async def _give(self, attempt: Callable[[], Any], timeout: float | None) -> None:
        checked(timeout)
        if is_waited_for(self._room) or attempt() is NOT_YET:
            await self._wait_for_room(attempt, timeout)

    async def _wait_for_room(self, attempt: Callable[[], Any], timeout: float | None) -> None:
        if timeout == 0 or await wait(self._room, attempt, timeout) is NOT_YET:
            raise self._full()

    def _full(self) -> Full:
        return Full(f"the queue {self._title()} is full")

    # -- the rest --------------------------------------------------------------------------

    async def join(self, timeout: float | None = None) -> None:
        """Wait until each item put was declared done; Timeout where that takes too long."""
        checked(timeout)
        if await wait(self._rest, None, timeout) is NOT_YET:
            raise Timeout(f"not all items of the queue {self._title()} are done")

    def task_done(self) -> None:
        """Say that an item once got is dealt with; see join()."""
        self.shared.task_done()

    def shutdown(self, immediate: bool = False) -> None:
        """No more puts: they raise ShutDown, and so do gets once it is empty.  With
        immediate=True it is emptied at once."""
        self.shared.shutdown(immediate)

    def qsize(self) -> int:
        """How many items there are."""
        return self.shared.qsize()

    def empty(self) -> bool:
        """Whether there are none."""
        return self.shared.empty()

    def full(self) -> bool:
        """Whether an item would have to wait."""
        return self.shared.full()

    @property
    def maxsize(self) -> int:
        """Messages it may hold; 0: any number."""
        return self.shared.maxsize

    def _title(self) -> str:
        return "(unnamed)" if self.shared.name is None else repr(self.shared.name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
