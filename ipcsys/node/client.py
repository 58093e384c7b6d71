# SPDX-License-Identifier: Apache-2.0
"""The asking side of a node.

A request goes straight into the inbox of the node asked; the answer comes
back on a reply queue that belongs, for the time of the call, to the calling
thread alone, and the calling thread itself waits there: no dispatcher stands
between.  Reply queues ("lines") are lent from a stack, so there are as many
as calls ever ran at once.  An answer that comes after its caller gave up
finds another correlation id on the line: it is dropped and counted.
"""

import itertools
from time import monotonic

from ipcsys import _core
from ipcsys._core import Message, Queue
from ipcsys.errors import (
    Closed,
    DecodeError,
    Empty,
    Full,
    NoProvider,
    NotFound,
    PeerDied,
    RemoteError,
    ShutDown,
    Timeout,
)
from ipcsys.registry import remove_queue

PLAIN = 1  # the kind of MessagePack; a pickle inside stays bytes


class NotSent(PeerDied):
    """The node had gone before it was asked: another may be asked instead."""

    __module__ = "ipcsys"


def line_name(id, number):
    return f"reply-{id}-{number}"


def node_of_line(name):
    """The id of the node that waits there."""
    return name[6:42]


def envelope_of(raw):
    """The Message of these bytes without its data, which could not be decoded; or None."""
    try:
        kind, id, sender, correlation_id, reply_to, timestamp, headers, _, _ = _core.decode_value(
            PLAIN, raw
        )
        return Message(
            kind,
            id=id,
            sender=sender,
            correlation_id=correlation_id,
            reply_to=reply_to,
            timestamp=timestamp,
            headers=headers,
        )
    except (TypeError, ValueError):
        return None


class Line:
    """A reply queue, and what was counted by those who borrowed it."""

    __slots__ = (
        "late",
        "name",
        "peers_died",
        "queue",
        "remote_errors",
        "replies",
        "requests",
        "sent",
        "timeouts",
        "waiting",
    )

    def __init__(self, name):
        self.name = name
        self.queue = None  # made at the first request
        self.waiting = False
        self.sent = self.requests = self.replies = 0
        self.late = self.timeouts = self.peers_died = self.remote_errors = 0

    def late_replies(self):
        """Those dropped so far, and those that lie there unread while nobody waits."""
        unread = 0
        if self.queue is not None and not self.waiting:
            try:
                unread = self.queue.qsize()
            except Closed:
                pass
        return self.late + unread


class Client:
    """Sends and asks on behalf of one node."""

    def __init__(self, registry, id):
        self.registry = registry
        self.id = id
        self.lines = []
        self.closed = False
        self._idle = []
        self._numbers = itertools.count()
        self._inboxes = {}
        self._tidy_at = 16

    def close(self):
        self.closed = True
        for line in self.lines:
            if line.queue is not None:
                line.queue.close()
                remove_queue(line.name, self.registry.namespace)
        self._inboxes.clear()

    # -- sending ---------------------------------------------------------------------

    def send(self, info, type, data, headers, timeout):
        """A message that wants no answer."""
        deadline = deadline_after(timeout)
        message = Message(type, data, sender=self.id, headers=headers)
        line = self._borrow()
        try:
            self._put(info, message.to_bytes(), deadline)
            line.sent += 1
        finally:
            self._idle.append(line)

    def ask(self, info, type, data, headers, timeout):
        """A message that wants one; returns the reply's data."""
        deadline = deadline_after(timeout)
        line = self._borrow()
        try:
            message = self._question(line, type, data, headers)
            self._put(info, message.to_bytes(), deadline)
            line.requests += 1
            line.waiting = True
            reply = self._await(line, message.id, info, timeout, deadline)
        finally:
            line.waiting = False
            self._idle.append(line)
        return self._data_of(line, info, reply)

    # -- inside ----------------------------------------------------------------------

    def _question(self, line, type, data, headers):
        if line.queue is None:
            self._connect(line)
        return Message(type, data, sender=self.id, reply_to=line.name, headers=headers)

    def _data_of(self, line, info, reply):
        line.replies += 1
        headers = reply.headers
        if headers and "error" in headers:
            line.remote_errors += 1
            raise remote_error(info, headers["error"], reply.data)
        return reply.data

    def _borrow(self):
        try:
            return self._idle.pop()
        except IndexError:
            line = Line(line_name(self.id, next(self._numbers)))
            self.lines.append(line)
            return line

    def _connect(self, line):
        line.queue = Queue(
            name=line.name, namespace=self.registry.namespace, create=True, cleanup="last"
        )

    def _inbox(self, info):
        inbox = self._inboxes.get(info.id)
        if inbox is None:
            inbox = self._open(info)
        if not _core.seems_alive(inbox, info.owner):
            raise self._gone(info, "died before it was asked")
        return inbox

    def _put(self, info, raw, deadline):
        inbox = self._inbox(info)
        try:
            inbox.put_bytes(raw, False)
        except Full:
            self._put_slowly(info, inbox, raw, deadline)
        except ShutDown:
            raise self._gone(info, "is stopping") from None

    def _put_slowly(self, info, inbox, raw, deadline):
        """The inbox is full: wait for room, but not on the dead."""
        while True:
            left = None if deadline is None else max(0.0, deadline - monotonic())
            try:
                inbox.put_bytes(raw, timeout=0.1 if left is None else min(left, 0.1))
                return
            except ShutDown:
                raise self._gone(info, "is stopping") from None
            except Full:
                self._check_full(info, left)

    def _check_full(self, info, left):
        """The inbox was found full: raises where waiting on is in vain."""
        if not _core.lives(info.owner, self.registry.namespace):
            raise self._gone(info, "died before it was asked") from None
        if left == 0.0:
            raise Timeout(f"the inbox of {info.name!r} (pid {info.pid}) is full") from None

    def _open(self, info):
        if len(self._inboxes) >= self._tidy_at:
            for id in list(self._inboxes):
                if self.registry.find(id) is None:
                    self._inboxes.pop(id, None)
            self._tidy_at = 2 * len(self._inboxes) + 16
        try:
            inbox = Queue(name=info.queue, namespace=self.registry.namespace, create=False)
        except NotFound:
            raise self._gone(info, "went before it was asked") from None
        self._inboxes[info.id] = inbox
        return inbox

    def _await(self, line, asked, info, timeout, deadline):
        left = timeout
        while True:
            try:
                raw = _core.get_answer(line.queue, info.owner, left)
            except Empty:
                raise self._unanswered(line, info, timeout) from None
            except PeerDied:
                raise self._died(line, info) from None
            reply = self._reply_of(line, raw, asked)
            if reply is not None:
                return reply
            if deadline is not None:
                left = max(0.0, deadline - monotonic())

    def _unanswered(self, line, info, timeout):
        line.timeouts += 1
        return Timeout(f"{info.name!r} (pid {info.pid}) did not answer within {timeout} s")

    def _died(self, line, info):
        line.peers_died += 1
        self._forget(info)
        return PeerDied(f"{info.name!r} (pid {info.pid}) died before it answered")

    def _reply_of(self, line, raw, asked):
        """The answer, or None where these bytes are a late one to somebody else."""
        try:
            reply = Message.from_bytes(raw)
        except DecodeError:
            reply = envelope_of(raw)
            if reply is not None and reply.correlation_id == asked:
                raise  # it is our answer, and makes no sense here
        if reply is not None and reply.correlation_id == asked:
            return reply
        line.late += 1
        return None

    def _gone(self, info, how):
        self._forget(info)
        return NotSent(f"{info.name!r} (pid {info.pid}) {how}")

    def _forget(self, info):
        self._inboxes.pop(info.id, None)
        self.registry.find(info.id)  # where it is dead, this clears it away


def deadline_after(timeout):
    """Checked before anything is sent."""
    if timeout is None:
        return None
    if not timeout >= 0:
        raise ValueError(f"timeout must not be negative or NaN, but is {timeout}")
    return monotonic() + timeout


def remote_error(info, type, text):
    if type == "NoProvider":
        return NoProvider(text)
    error = RemoteError(f"{type}: {text}" if text else type)
    error.type = type
    error.text = text
    error.node = info.name
    return error

