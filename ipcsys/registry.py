# SPDX-License-Identifier: Apache-2.0
"""Who is here and who offers what: the registry of a namespace.

It lies in one segment, "ipcsys.registry", as three maps:

    processes   id -> (name, pid, owner, queue, properties, started, heartbeat)
    services    service -> {provider id: properties}
    state       "version" -> a number raised by every change of the other two

A change is one transaction over all three, so a process killed inside one has
changed nothing.  Every answer is checked against the member table: who is
dead, by the kernel's own word, is left out of the answer and cleared away.
No heartbeat has to stop first.
"""

import itertools
import os
import time

from ipcsys import _core
from ipcsys._core import Segment, SharedMap
from ipcsys.errors import NoProvider, NotFound

__all__ = ["ProcessInfo", "Registry", "ServiceDiscovery"]

SEGMENT_NAME = "ipcsys.registry"
STRATEGIES = ("round_robin", "random")


def new_id():
    """A random UUID (version 4) as text, without the 5 ms of `import uuid`."""
    digits = bytearray(os.urandom(16))
    digits[6] = digits[6] & 0x0F | 0x40
    digits[8] = digits[8] & 0x3F | 0x80
    text = digits.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def remove_queue(name, namespace):
    """Free the name of an inbox or a reply queue; those who have it open may go on."""
    try:
        _core.remove_object(name, namespace, True)
    except NotFound:
        pass  # somebody was faster


class ProcessInfo:
    """One registered process, as it was when it was read; never changes.

    `id` is a UUID in text, `owner` its member id, `queue` the name of its inbox,
    `started` and `heartbeat` are seconds since 1970.  Two are equal if their ids are.
    """

    __slots__ = (
        "heartbeat",
        "id",
        "name",
        "owner",
        "pid",
        "properties",
        "queue",
        "started",
    )

    def __init__(self, id, name, pid, owner, queue, properties, started, heartbeat):
        put = object.__setattr__
        put(self, "id", id)
        put(self, "name", name)
        put(self, "pid", pid)
        put(self, "owner", owner)
        put(self, "queue", queue)
        put(self, "properties", properties)
        put(self, "started", started)
        put(self, "heartbeat", heartbeat)

    def __setattr__(self, name, value=None):
        raise AttributeError("a ProcessInfo is a reading; it does not change")

    __delattr__ = __setattr__

    def __eq__(self, other):
        return self.id == other.id if isinstance(other, ProcessInfo) else NotImplemented

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"<ProcessInfo {self.name!r} pid {self.pid} id {self.id}>"

    def __reduce__(self):
        return ProcessInfo, (self.id, *self._record())

    def _record(self):
        return (
            self.name,
            self.pid,
            self.owner,
            self.queue,
            self.properties,
            self.started,
            self.heartbeat,
        )


class Registry:
    """The processes and services registered in a namespace."""

    def __init__(self, namespace=None):
        # Settled once: a later change of the environment must not split it in two.
        self.namespace = namespace or os.environ.get("IPCSYS_NAMESPACE") or "default"
        self._segment = Segment(
            SEGMENT_NAME, size="256 KiB", max_size="64 MiB", namespace=self.namespace
        )
        self._processes = self._segment.find_or_construct(SharedMap, "processes")
        self._services = self._segment.find_or_construct(SharedMap, "services")
        self._state = self._segment.find_or_construct(SharedMap, "state")
        self._seen = None  # the version that the two caches below belong to
        self._providers = {}
        self._found = {}

    def __repr__(self):
        return f"<Registry of {self.namespace!r}>"

    def close(self):
        """Give up the handle; what is registered stays so."""
        for part in (self._processes, self._services, self._state, self._segment):
            part.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    # -- changes ---------------------------------------------------------------------

    def register(self, name, *, queue="", properties=None, id=None):
        """Register this process; returns its ProcessInfo.  Once for each `id`."""
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        if not name:
            raise ValueError("name must not be empty")
        now = time.time()
        info = ProcessInfo(
            id or new_id(),
            name,
            os.getpid(),
            _core.owner(self.namespace),
            queue,
            dict(properties or {}),
            now,
            now,
        )
        with self._segment.transaction():
            self._processes[info.id] = info._record()
            self._change()
        return info

    def unregister(self, id):
        """Take a process and its services out; False where it was not there."""
        with self._segment.transaction():
            known = self._processes.pop(id, None) is not None
            if known:
                self._withdraw({id})
                self._change()
        return known

    def heartbeat(self, id):
        """Set the heartbeat time of a process to now; False where it is not registered."""
        with self._segment.transaction():
            record = self._processes.get(id)
            if record is not None:
                self._processes[id] = (*record[:-1], time.time())
        return record is not None

    def register_service(self, service, id, properties=None):
        """Say that the process `id` offers `service`."""
        if not isinstance(service, str):
            raise TypeError(f"service must be a str, not {type(service).__name__}")
        with self._segment.transaction():
            if id not in self._processes:
                raise NotFound(f"no process {id!r} is registered in {self.namespace!r}")
            offers = self._services.get(service) or {}
            offers[id] = dict(properties or {})
            self._services[service] = offers
            self._change()

    def unregister_service(self, service, id):
        """Say that it no longer does; False where it did not."""
        with self._segment.transaction():
            offers = self._services.get(service) or {}
            known = offers.pop(id, None) is not None
            if known:
                self._store_offers(service, offers)
                self._change()
        return known

    # -- readings --------------------------------------------------------------------

    def find(self, id):
        """The living process with that id, or None."""
        record = self._processes.get(id)
        return self._living([ProcessInfo(id, *record)])[id] if record is not None else None

    def find_by_name(self, name):
        """The living process of that name that registered first, or None."""
        return next(iter(self.processes(name)), None)

    def processes(self, name=None):
        """All living processes (of that name), in the order in which they registered."""
        infos = [ProcessInfo(id, *record) for id, record in self._processes.items()]
        if name is not None:
            infos = [info for info in infos if info.name == name]
        living = [info for info in self._living(infos).values() if info is not None]
        return sorted(living, key=lambda info: (info.started, info.id))

    def services(self):
        """What is offered: {service: {provider id: properties}}, living providers only."""
        found = {}
        for service, offers in self._services.items():
            living = {info.id for info in self._offering(offers)}
            if living:
                found[service] = {id: offers[id] for id in offers if id in living}
        return found

    def providers(self, service):
        """The living processes that offer `service`, in the order of their registration."""
        return self._offering(self._services.get(service) or {})

    # -- the cache of those who call ---------------------------------------------------

    def _refresh(self):
        """Drop what is cached if anything changed since; one look into shared memory."""
        version = self._state.get("version")
        if version != self._seen:
            # The caches first: a thread between these lines fills the new ones
            # with data at least as new as `version`.
            self._providers = {}
            self._found = {}
            self._seen = version

    def _providers_of(self, service):
        """As providers(), but read anew only after a change; the caller checks for life."""
        self._refresh()
        cache = self._providers
        infos = cache.get(service)
        if infos is None:
            infos = cache[service] = self.providers(service)
        return infos

    def _target_of(self, id_or_name):
        """The process with that id, else of that name, or None; cached as above."""
        self._refresh()
        cache = self._found
        info = cache.get(id_or_name)
        if info is None:
            info = self.find(id_or_name) or self.find_by_name(id_or_name)
            if info is not None:
                cache[id_or_name] = info
        return info

    # -- inside ------------------------------------------------------------------------

    def _change(self):
        self._state["version"] = (self._state.get("version") or 0) + 1

    def _store_offers(self, service, offers):
        if offers:
            self._services[service] = offers
        else:
            del self._services[service]

    def _withdraw(self, ids):
        """Inside a transaction: take `ids` out of every service."""
        for service, offers in list(self._services.items()):
            kept = {id: offers[id] for id in offers if id not in ids}
            if len(kept) != len(offers):
                self._store_offers(service, kept)

    def _offering(self, offers):
        records = ((id, self._processes.get(id)) for id in offers)
        infos = [ProcessInfo(id, *record) for id, record in records if record is not None]
        living = [info for info in self._living(infos).values() if info is not None]
        return sorted(living, key=lambda info: (info.started, info.id))

    def _living(self, infos):
        """{id: info, or None where it is dead}; clears the dead away."""
        alive = {}
        for info in infos:
            if info.owner not in alive:
                alive[info.owner] = _core.lives(info.owner, self.namespace)
        dead = [info for info in infos if not alive[info.owner]]
        if dead:
            self._bury(dead)
        return {info.id: info if alive[info.owner] else None for info in infos}

    def _bury(self, dead):
        """Proven dead: take them out, give back what they held, and free the names of
        the inboxes and reply queues that nobody will read."""
        with self._segment.transaction():
            ids = {info.id for info in dead if self._processes.pop(info.id, None) is not None}
            if ids:
                self._withdraw(ids)
                self._change()
        _core.sweep(self.namespace)
        for info in dead:
            if info.queue:
                remove_queue(info.queue, self.namespace)
        # A line that a server still has open keeps its name beyond the sweep.
        lines = tuple(f"reply-{info.id}-" for info in dead)
        for name in os.listdir(_core.folder(self.namespace)):
            if name.startswith(lines):
                remove_queue(name, self.namespace)


class ServiceDiscovery:
    """Finds and chooses among those who offer a service."""

    def __init__(self, registry):
        self.registry = registry
        self._turns = {}
        self._draw = None

    def __repr__(self):
        return f"<ServiceDiscovery of {self.registry.namespace!r}>"

    def services(self):
        """The names of what is offered, sorted."""
        return sorted(self.registry.services())

    def providers(self, service):
        """The living processes that offer `service`, in the order of their registration."""
        return self.registry.providers(service)

    def choose(self, service, strategy="round_robin"):
        """One living provider: "round_robin" in turn, "random" by chance.

        Raises NoProvider where nobody offers the service.
        """
        while True:
            info = self._pick(service, strategy)
            if _core.lives(info.owner, self.registry.namespace):
                return info
            self.registry._bury([info])

    def _pick(self, service, strategy):
        """As choose(), but it may have died since somebody last looked."""
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
        infos = self.registry._providers_of(service)
        if not infos:
            raise NoProvider(f"nobody in {self.registry.namespace!r} offers {service!r}")
        if len(infos) == 1:
            return infos[0]
        if strategy == "round_robin":
            return infos[self._turn(service) % len(infos)]
        return infos[self._random_below(len(infos))]

    def _turn(self, service):
        turns = self._turns.get(service)
        if turns is None:
            turns = self._turns.setdefault(service, itertools.count())
        return next(turns)

    def _random_below(self, count):
        if self._draw is None:
            from random import Random  # 3 ms, and only for those who want it

            self._draw = Random().random
        return int(self._draw() * count)
