# SPDX-License-Identifier: Apache-2.0
"""The shared objects for asyncio: the same names, waited for with `await`.

    import ipcsys.aio

    lock = ipcsys.aio.Lock(name="printer")
    async with lock:
        ...

Each class here is another face of the object of that name in `ipcsys`: tasks,
threads and other processes may wait on one object at the same time.  A face
is made like the object itself, or from one: `Lock.of(lock)`, `wrap(lock)`.

No helper threads: a process that waits has one FIFO in the namespace, watched
by its event loops, and whoever changes an object writes a byte there.  A wait
that is cancelled has taken nothing.  Within one event loop those who wait for
the same thing get it in the order in which they came.

    loops       how tasks wait: FIFO, bounds, lines
    faces       what the classes have in common
    atomics     AtomicInt, AtomicFloat, AtomicBool
    locks       Lock, RLock, Event
    semaphores  Semaphore, BoundedSemaphore
    conditions  Condition
    barriers    Barrier
    rwlocks     RWLock
    queues      Queue
    nodes       Node, loaded when first asked for
"""

from ipcsys.aio.atomics import AtomicBool, AtomicFloat, AtomicInt
from ipcsys.aio.barriers import Barrier
from ipcsys.aio.conditions import Condition
from ipcsys.aio.faces import wrap
from ipcsys.aio.locks import Event, Lock, RLock
from ipcsys.aio.queues import Queue
from ipcsys.aio.rwlocks import RWLock
from ipcsys.aio.semaphores import BoundedSemaphore, Semaphore

__all__ = [
    "AtomicBool",
    "AtomicFloat",
    "AtomicInt",
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Lock",
    "Node",
    "Queue",
    "RLock",
    "RWLock",
    "Semaphore",
    "wrap",
]


def __getattr__(name: str) -> object:
    if name != "Node":  # it brings threads and the registry
        raise AttributeError(f"module 'ipcsys.aio' has no attribute {name!r}")
    from ipcsys.aio.nodes import Node

    globals()["Node"] = Node
    return Node
