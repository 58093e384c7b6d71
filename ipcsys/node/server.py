# SPDX-License-Identifier: Apache-2.0
"""The answering side of a node: worker threads that take from its inbox.

The inbox is a queue with many consumers, so a worker gets, runs the handler
and puts the answer itself.  A handler may call other nodes, or its own: when
all workers wait for answers, one more is started, so that even a node with
one worker can call itself.
"""

import itertools
import threading

from ipcsys._core import Desk, Message, Queue
from ipcsys.errors import Closed, DecodeError, Error, ShutDown, TooLarge
from ipcsys.message import MessageType
from ipcsys.node.client import envelope_of, node_of_line

# Looked up once: an enum's members are found by a hook that costs 100 ns.
HEARTBEAT = MessageType.HEARTBEAT
NOTIFICATION = MessageType.NOTIFICATION
REQUEST = MessageType.REQUEST
RESPONSE = MessageType.RESPONSE
SHUTDOWN = MessageType.SHUTDOWN

MAX_EXTRA = 256  # beyond so many nested calls at once, callers run into their timeouts
MAX_REPLY_QUEUES = 1024
LOOKED_AFTER = 4  # when a queue is added: dead ones go faster than new ones come


class Tally:
    """What one worker counted; only its worker writes here."""

    __slots__ = ("answers", "errors", "notifications", "received", "served")

    def __init__(self):
        self.received = self.served = self.answers = self.notifications = self.errors = 0


class Crew:
    """The workers of one node, from its start to its stop."""

    def __init__(self, node, inbox):
        self.node = node
        self.inbox = inbox
        self._desk = Desk(inbox)
        self.idents = set()
        self.tallies = []
        self.stopping = False
        self.finished = threading.Event()
        self._spare = []
        self._reply_queues = {}
        self._lock = threading.Lock()
        self._size = node.workers
        self._alive = 0
        self._blocked = 0
        self._number = 0

    def start(self):
        with self._lock:
            for _ in range(self._size):
                self._hire()

    def stop(self):
        """Have the workers finish what lies in the inbox, and end; nothing more goes in."""
        self.stopping = True
        self.inbox.shutdown()

    # -- nested calls ----------------------------------------------------------------

    def step_aside(self):
        """This worker is about to wait for an answer."""
        with self._lock:
            self._blocked += 1
            if self._blocked >= self._alive and self._alive < self._size + MAX_EXTRA:
                try:
                    self._hire()
                except RuntimeError:
                    self._alive -= 1  # no more threads: the call may time out, or not

    def step_back(self):
        with self._lock:
            self._blocked -= 1

    # -- one worker --------------------------------------------------------------------

    def _hire(self):
        self._alive += 1
        self._number += 1
        name = f"{self.node.name}-worker-{self._number}"
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self):
        ident = threading.get_ident()
        self.idents.add(ident)
        tally = self._spare.pop() if self._spare else self._new_tally()
        dismissed = False
        try:
            dismissed = self._serve(tally)
        finally:
            self.idents.discard(ident)
            self._spare.append(tally)
            if not dismissed:
                self._leave()

    def _serve(self, tally):
        """Until the inbox is shut down; True where this worker was dismissed before."""
        get = self._desk.get
        while True:
            try:
                raw = get()
            except (ShutDown, Closed):
                return False
            try:
                message = Message.from_bytes(raw)
            except DecodeError as error:
                self._complain(raw, error, tally)
            else:
                self._handle(message, tally)
            if self._alive > self._size and self._is_dismissed():
                return True

    def _is_dismissed(self):
        """One too many, after nested calls?  Decided and counted at once: a worker
        that has made up its mind to go must not be counted on by step_aside()."""
        with self._lock:
            dismissed = self._alive - self._blocked > self._size
            if dismissed:
                self._alive -= 1
        return dismissed

    def _leave(self):
        with self._lock:
            self._alive -= 1
            last = self._alive == 0
        if last:
            self._finish()

    def _new_tally(self):
        tally = Tally()
        self.tallies.append(tally)
        return tally

    def _finish(self):
        """The last worker leaves, and the inbox is empty, or unreadable."""
        if not self.stopping:
            self.node._begin_stop()
        self.inbox.close()
        self._reply_queues.clear()
        self.node._ended()
        self.finished.set()

    # -- one message ---------------------------------------------------------------------

    def _handle(self, message, tally):
        tally.received += 1
        kind = message.type
        if kind is REQUEST:
            self._answer(message, tally)
        elif kind is NOTIFICATION:
            tally.notifications += 1
            self._notify(message, tally)
        elif kind is HEARTBEAT:
            self.node.registry.heartbeat(self.node.id)
            if message.reply_to:
                self._reply(message, None, None, tally)
        elif kind is SHUTDOWN:
            self.node._begin_stop()

    def _complain(self, raw, error, tally):
        """Data that make no sense here; whoever asked should not have to wait in vain."""
        tally.received += 1
        tally.errors += 1
        envelope = envelope_of(raw)
        if envelope is not None and envelope.type is REQUEST:
            self._reply_error(envelope, error, tally)

    def _answer(self, message, tally):
        headers = message.headers
        service = headers.get("service") if headers else None
        handler = self.node._handler_of(service)
        if handler is None:
            self._refuse(message, tally)
            return
        try:
            result = handler(message.data)
        except BaseException as error:  # SystemExit too: it ends no server
            tally.errors += 1
            self._reply_error(message, error, tally)
        else:
            self._reply(message, result, None, tally)
        tally.served += 1

    def _notify(self, message, tally):
        handler = self.node._notification_handler
        if handler is not None:
            try:
                handler(message)
            except BaseException:
                # Nobody waits for an answer: it is shown where the thread's
                # other uncaught exceptions would be.
                tally.errors += 1
                threading.excepthook(threading.ExceptHookArgs(_exception_in_thread()))

    def _refuse(self, message, tally):
        service = message.headers.get("service") if message.headers else None
        if service is not None:
            text = f"{self.node.name!r} no longer offers {service!r}"
            self._reply(message, text, {"error": "NoProvider"}, tally)
        else:
            text = f"{self.node.name!r} has no handler for requests"
            self._reply(message, text, {"error": "LookupError"}, tally)

    def _reply_error(self, message, error, tally):
        headers = {"error": type(error).__name__}
        try:
            text = str(error)
        except Exception:
            text = "(its text cannot be shown)"
        self._reply(message, text, headers, tally)

    def _reply(self, request, data, headers, tally):
        name = request.reply_to
        if not name:
            return
        try:
            raw = Message(
                RESPONSE,
                data,
                sender=self.node.id,
                correlation_id=request.id,
                headers=headers,
            ).to_bytes()
        except Exception as error:
            if headers is None:
                tally.errors += 1
                self._reply_error(request, error, tally)
            return
        try:
            queue = self._reply_queues.get(name)
            if queue is None:
                queue = self._open(name)
            queue.put_bytes(raw, False)
            tally.answers += 1
        except TooLarge as error:
            tally.errors += 1
            if headers is None:
                self._reply_error(request, error, tally)
        except Error:
            tally.errors += 1  # the asker has gone, or reads no longer

    def _open(self, name):
        namespace = self.node.registry.namespace
        queue = Queue(name=name, namespace=namespace, create=False)
        queues = self._reply_queues
        self._forget_the_gone()
        queues[name] = queue
        return queue

    def _forget_the_gone(self):
        """Look after a few of the queues whenever one more comes, the longest unseen
        first: those of nodes that have gone are let go of, and what they hold with
        them.  Of very many, one goes in any case."""
        queues = self._reply_queues
        for name in list(itertools.islice(queues, LOOKED_AFTER)):
            queue = queues.pop(name, None)
            gone = self.node.registry.find(node_of_line(name)) is None
            if queue is not None and not gone and len(queues) < MAX_REPLY_QUEUES:
                queues[name] = queue  # at the end now


def _exception_in_thread():
    import sys

    return (*sys.exc_info(), threading.current_thread())
