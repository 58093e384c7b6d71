# SPDX-License-Identifier: Apache-2.0
"""Node: a process with a name, an inbox and services."""

import atexit
import os
import threading
import weakref
from collections import namedtuple

from ipcsys._core import Queue, Segment
from ipcsys.errors import Closed, Error, NotFound
from ipcsys.node.client import Client, NotSent
from ipcsys.node.server import HEARTBEAT, NOTIFICATION, REQUEST, Crew
from ipcsys.registry import Registry, ServiceDiscovery, new_id, remove_queue

# So many providers may turn out to have gone before they were asked.
ATTEMPTS = 8

SHARED_SEGMENT = "ipcsys.shared"

NodeStatistics = namedtuple(
    "NodeStatistics",
    [
        "sent",  # messages sent that want no answer
        "received",  # messages taken from the inbox
        "requests",  # requests sent
        "replies",  # answers received in time
        "late_replies",  # answers that came after their caller had given up; dropped
        "timeouts",  # requests that nobody answered in time
        "peers_died",  # requests whose server died
        "remote_errors",  # requests whose handler raised
        "served",  # requests handled for others
        "answers",  # answers sent
        "notifications",  # notifications received
        "errors",  # own handlers that raised, and answers that could not be sent
    ],
)
NodeStatistics.__doc__ = "What a node counted since its start; see Node.statistics."

_running = weakref.WeakSet()


class Node:
    """A named process of a namespace that others can find, notify and call.

        with Node("greeter") as node:
            node.register_service("greet", lambda name: f"hello, {name}")
            node.wait()

        with Node("visitor") as node:
            print(node.call("greet", "world"))

    Entering starts it: it joins the registry, and `workers` threads begin to
    take from its inbox and run the handlers.  Handlers may call other nodes and
    this one.  Leaving stops it.
    """

    def __init__(self, name, *, workers=4, namespace=None, properties=None):
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        if not name:
            raise ValueError("name must not be empty")
        if isinstance(workers, bool) or not isinstance(workers, int):
            raise TypeError(f"workers must be an int, not {type(workers).__name__}")
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self.name = name
        self.workers = workers
        self.properties = dict(properties or {})
        self.registry = Registry(namespace)
        self.discovery = ServiceDiscovery(self.registry)
        self.id = new_id()
        self._services = {}  # service -> (handler or None, properties)
        self._request_handler = None
        self._notification_handler = None
        self._lifecycle = threading.RLock()
        self._client = None  # of the present run, or the last
        self._crew = None
        self._segment = None

    def __repr__(self):
        state = "running" if self.running else "stopped"
        return f"<Node {self.name!r} id {self.id} {state}>"

    # -- life ------------------------------------------------------------------------

    @property
    def namespace(self):
        return self.registry.namespace

    @property
    def running(self):
        return self._client is not None and not self._client.closed

    def start(self):
        """Join the registry and serve; nothing where it runs already.  Returns the node."""
        with self._lifecycle:
            if self.running:
                if self._crew.stopping:
                    raise Error(f"node {self.name!r} is still stopping")
                return self
            if self._crew is not None:
                self.id = new_id()  # others may still hold the inbox of the last run
            inbox = Queue(
                name=f"node-{self.id}", namespace=self.namespace, create=True, cleanup="last"
            )
            self._client = Client(self.registry, self.id)
            self._crew = Crew(self, inbox)
            self._crew.start()
            try:
                self._announce(inbox.name)
            except BaseException:
                self._begin_stop()
                raise
            _running.add(self)
        return self

    def _announce(self, inbox):
        self.registry.register(self.name, queue=inbox, properties=self.properties, id=self.id)
        for service, (_, properties) in self._services.items():
            self.registry.register_service(service, self.id, properties)

    def stop(self, timeout=None):
        """Leave the registry, finish what lies in the inbox, end the workers.

        Returns False where handlers were still running after `timeout` seconds.
        Called from a handler it does not wait.
        """
        self._begin_stop()
        crew = self._crew
        if crew is None or threading.get_ident() in crew.idents:
            return True
        return crew.finished.wait(timeout)

    def wait(self, timeout=None):
        """Wait until the node has stopped, by stop() or by a SHUTDOWN message.

        Returns False where it still runs after `timeout` seconds.
        """
        crew = self._crew
        return crew is None or crew.finished.wait(timeout)

    def close(self):
        """Stop, and give up the registry and the segment: it cannot start again."""
        self.stop()
        self.registry.close()
        if self._segment is not None:
            self._segment.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc_info):
        self.stop()

    def _begin_stop(self):
        """Handlers that run now may still call others: the lines close with the last worker."""
        with self._lifecycle:
            crew = self._crew
            if crew is None or crew.stopping:
                return
            try:
                self.registry.unregister(self.id)
                remove_queue(crew.inbox.name, self.namespace)
            finally:
                crew.stop()

    @property
    def _registered(self):
        return self.running and not self._crew.stopping

    def _ended(self):
        """The last worker has left."""
        self._client.close()
        _running.discard(self)

    def _after_fork(self):
        """In a forked child: the threads are the parent's, and so is the identity."""
        self._lifecycle = threading.RLock()
        self._client = self._crew = None
        self.id = new_id()

    # -- asking ------------------------------------------------------------------------

    def send(self, target, data=None, headers=None, *, type=NOTIFICATION, timeout=5.0):
        """Send a notification to the node with that id or name; wants no answer.

        Waits only where its inbox is full.  `type=MessageType.SHUTDOWN` stops it.
        """
        client = self._running_client()
        client.send(self._target(target), type, data, headers, timeout)

    def request(self, target, data=None, timeout=5.0, headers=None):
        """Ask the node with that id or name; returns what its request handler returns.

        Raises RemoteError where the handler raised, PeerDied at once where the
        node dies, Timeout, and NotFound where there is no such node.
        """
        client = self._running_client()
        return self._ask(client, self._target(target), REQUEST, data, headers, timeout)

    def call(self, service, data=None, timeout=5.0, strategy="round_robin"):
        """Ask one of the nodes that offer `service`; else as request().

        Raises NoProvider where nobody does.  A call is made at most once: it is
        not repeated elsewhere after PeerDied; whether to do so is the caller's choice.
        """
        client = self._running_client()
        headers = {"service": service}
        for _ in range(ATTEMPTS):
            info = self.discovery._pick(service, strategy)
            try:
                return self._ask(client, info, REQUEST, data, headers, timeout)
            except NotSent as error:
                gone = error
        raise gone

    def ping(self, target, timeout=5.0):
        """Have a node say that it serves, and renew its heartbeat in the registry."""
        client = self._running_client()
        self._ask(client, self._target(target), HEARTBEAT, None, None, timeout)

    def broadcast(self, data=None, headers=None):
        """Notify every other node; returns how many it was sent to."""
        client = self._running_client()
        count = 0
        for info in self.registry.processes():
            if info.id != self.id and info.queue:
                try:
                    client.send(info, NOTIFICATION, data, headers, 0.0)
                    count += 1
                except (BrokenPipeError, TimeoutError):
                    pass  # it has just gone, or does not empty its inbox
        return count

    def _running_client(self):
        client = self._client
        if client is None or client.closed:
            raise Closed(f"node {self.name!r} is not running; start() it first")
        return client

    def _target(self, target):
        if not isinstance(target, str):
            raise TypeError(f"target must be an id or a name, not {type(target).__name__}")
        info = self.registry._target_of(target)
        if info is None:
            raise NotFound(f"no node {target!r} in {self.namespace!r}")
        return info

    def _ask(self, client, info, type, data, headers, timeout):
        crew = self._crew
        if threading.get_ident() not in crew.idents:
            return client.ask(info, type, data, headers, timeout)
        crew.step_aside()
        try:
            return client.ask(info, type, data, headers, timeout)
        finally:
            crew.step_back()

    # -- serving -----------------------------------------------------------------------

    def on_request(self, handler):
        """Use `handler(data)` for requests; what it returns is the answer.  A decorator."""
        self._request_handler = _callable(handler)
        return handler

    def on_notification(self, handler):
        """Use `handler(message)` for notifications.  A decorator."""
        self._notification_handler = _callable(handler)
        return handler

    def register_service(self, service, handler=None, properties=None):
        """Offer `service`; its calls go to `handler(data)`, else to the request handler."""
        if not isinstance(service, str):
            raise TypeError(f"service must be a str, not {type(service).__name__}")
        if not service:
            raise ValueError("service must not be empty")
        if handler is not None:
            _callable(handler)
        with self._lifecycle:
            self._services[service] = (handler, dict(properties or {}))
            if self._registered:
                self.registry.register_service(service, self.id, properties)

    def unregister_service(self, service):
        """Offer it no longer; False where the node did not."""
        with self._lifecycle:
            known = self._services.pop(service, None) is not None
            if known and self._registered:
                self.registry.unregister_service(service, self.id)
        return known

    def _handler_of(self, service):
        if service is None:
            return self._request_handler
        entry = self._services.get(service)
        return entry and (entry[0] or self._request_handler)

    # -- looking -----------------------------------------------------------------------

    @property
    def segment(self):
        """The segment "ipcsys.shared": the objects that the nodes of a namespace share."""
        if self._segment is None:
            self._segment = Segment(
                SHARED_SEGMENT, size="1 MiB", max_size="1 GiB", namespace=self.namespace
            )
        return self._segment

    @property
    def statistics(self):
        """What was counted since the last start, as a NodeStatistics."""
        client = self._client
        crew = self._crew
        lines = list(client.lines) if client is not None else []
        tallies = list(crew.tallies) if crew is not None else []
        return NodeStatistics(
            sent=sum(line.sent for line in lines),
            received=sum(tally.received for tally in tallies),
            requests=sum(line.requests for line in lines),
            replies=sum(line.replies for line in lines),
            late_replies=sum(line.late_replies() for line in lines),
            timeouts=sum(line.timeouts for line in lines),
            peers_died=sum(line.peers_died for line in lines),
            remote_errors=sum(line.remote_errors for line in lines),
            served=sum(tally.served for tally in tallies),
            answers=sum(tally.answers for tally in tallies),
            notifications=sum(tally.notifications for tally in tallies),
            errors=sum(tally.errors for tally in tallies),
        )


def _callable(handler):
    if not callable(handler):
        raise TypeError(f"a handler must be callable, not {type(handler).__name__}")
    return handler


def _stop_all():
    """At the end of the program: leave the registry rather than be found dead in it."""
    for node in list(_running):
        try:
            node.stop(timeout=1.0)
        except Error:
            pass  # the namespace itself has gone


def _forget_all():
    for node in list(_running):
        node._after_fork()
    _running.clear()


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_forget_all)
