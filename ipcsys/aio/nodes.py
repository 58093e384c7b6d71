# SPDX-License-Identifier: Apache-2.0
"""Node for asyncio: the asking side.  Handlers run on the node's threads, as ever."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from ipcsys import _core
from ipcsys.aio.loops import NOT_YET, Thing, wait
from ipcsys.errors import ShutDown
from ipcsys.message import MessageType
from ipcsys.node import Node as _Node
from ipcsys.node.client import NotSent, deadline_after
from ipcsys.node.node import ATTEMPTS

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from ipcsys.node.client import Client, Line

_RAW = 0  # the kind of bytes
_GET, _PUT = 0, 1  # changes of a queue, for _core.async_arm
_FULL_LOOK = 0.1  # seconds between two looks whether the owner of a full inbox lives


class Node:
    """ipcsys.Node for asyncio: `await node.call(service, data)`.

        async with ipcsys.aio.Node("visitor") as node:
            print(await node.call("greet", "world"))

    Takes the arguments of ipcsys.Node; Node.of(node) wraps one that is there, and
    `node` is that one, with all that does not wait.  Its handlers run on its
    threads, so a node that is asked answers while the event loop is busy."""

    def __init__(self, name: str, **options: Any) -> None:
        self.node = _Node(name, **options)

    @classmethod
    def of(cls, node: _Node, /) -> Self:
        """The asyncio face of a node."""
        if not isinstance(node, _Node):
            raise TypeError(f"Node.of() takes an ipcsys.Node, not {type(node).__name__}")
        face = cls.__new__(cls)
        face.node = node
        return face

    def __repr__(self) -> str:
        return f"<ipcsys.aio.Node of {self.node!r}>"

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.node.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self, timeout: float | None = None) -> bool:
        """As ipcsys.Node.stop(): False where handlers still ran after `timeout` seconds."""
        return await asyncio.to_thread(self.node.stop, timeout)

    async def send(
        self, target: str, data: Any = None, headers: dict[str, Any] | None = None, *,
        type: MessageType = MessageType.NOTIFICATION, timeout: float | None = 5.0,
    ) -> None:  # fmt: skip
        """As ipcsys.Node.send(): a notification to the node with that id or name."""
        deadline = deadline_after(timeout)
        client = self.node._running_client()
        info = self.node._target(target)
        message = _core.Message(type, data, sender=client.id, headers=headers)
        line = client._borrow()
        try:
            await _put(client, info, message.to_bytes(), deadline)
            line.sent += 1
        finally:
            client._idle.append(line)

    async def request(
        self, target: str, data: Any = None, timeout: float | None = 5.0,
        headers: dict[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """As ipcsys.Node.request(): what the other node's request handler returns.

        Raises RemoteError where the handler raised, PeerDied where the node dies,
        Timeout, and NotFound where there is no such node.  A task that is
        cancelled does not hear the answer; the handler may have run."""
        client = self.node._running_client()
        return await _ask(client, self.node._target(target), data, headers, timeout)

    async def call(
        self, service: str, data: Any = None, timeout: float | None = 5.0,
        strategy: str = "round_robin",
    ) -> Any:  # fmt: skip
        """As ipcsys.Node.call(): asks one of the nodes that offer `service`, once.

        Raises NoProvider where nobody does, else as request()."""
        client = self.node._running_client()
        for _ in range(ATTEMPTS):
            info = self.node.discovery._pick(service, strategy)
            try:
                return await _ask(client, info, data, {"service": service}, timeout)
            except NotSent as error:
                gone = error
        raise gone


async def _put(client: Client, info: Any, raw: bytes, deadline: float | None) -> None:
    inbox = client._inbox(info)
    try:
        if _core.async_put(inbox, _RAW, raw):
            return
        room = Thing(inbox, _PUT, looks_twice=True)
        while True:
            left = None if deadline is None else max(0.0, deadline - monotonic())
            pause = _FULL_LOOK if left is None else min(left, _FULL_LOOK)
            attempt = lambda: _core.async_put(inbox, _RAW, raw) or NOT_YET  # noqa: E731
            if await wait(room, attempt, pause) is not NOT_YET:
                return
            client._check_full(info, left)
    except ShutDown:
        raise client._gone(info, "is stopping") from None


async def _ask(
    client: Client, info: Any, data: Any, headers: dict[str, Any] | None, timeout: float | None
) -> Any:
    deadline = deadline_after(timeout)
    line = client._borrow()
    try:
        question = client._question(line, MessageType.REQUEST, data, headers)
        await _put(client, info, question.to_bytes(), deadline)
        line.requests += 1
        line.waiting = True
        reply = await _answer(client, line, question.id, info, timeout, deadline)
    finally:
        line.waiting = False
        client._idle.append(line)
    return client._data_of(line, info, reply)


async def _answer(
    client: Client, line: Line, asked: str, info: Any, timeout: float | None,
    deadline: float | None,
) -> Any:  # fmt: skip
    namespace = client.registry.namespace
    dead = object()

    def attempt() -> Any:
        raw = _core.async_get(line.queue, NOT_YET)
        if raw is NOT_YET and not _core.seems_alive(line.queue, info.owner):
            raw = _core.async_get(line.queue, dead)  # what it put before it died
        return raw

    answers = Thing(line.queue, _GET)
    answers.holder = info.owner
    answers.lives = lambda: _core.lives(info.owner, namespace)
    while True:
        left = None if deadline is None else max(0.0, deadline - monotonic())
        raw = attempt()
        if raw is NOT_YET:
            raw = await wait(answers, attempt, left)
        if raw is NOT_YET:
            raise client._unanswered(line, info, timeout)
        if raw is dead:
            raise client._died(line, info)
        reply = client._reply_of(line, raw, asked)
        if reply is not None:
            return reply
