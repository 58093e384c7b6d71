# SPDX-License-Identifier: Apache-2.0
"""multiprocessing with data and locks of ours: `from ipcsys import mp` in its place.

    queues        Queue, JoinableQueue, SimpleQueue
    sharedctypes  Value, Array, RawValue, RawArray
    synchronize   Lock, RLock, Semaphore, BoundedSemaphore, Condition, Event,
                  Barrier
    processes     Process, which looks before it starts a child that could not work
    contexts      get_context
    pickling      the pickler of what is put into a queue

What is not about data and synchronisation is multiprocessing's own, passed
through: Pool, Pipe, Manager, current_process, set_start_method, ...
Its Connections stay as they are because a program hands them to
multiprocessing.connection.wait, select and poll together with sockets and
the sentinels of processes, which only a descriptor of the kernel can join.
"""

import multiprocessing

from ipcsys.mp.contexts import get_context
from ipcsys.mp.processes import Process
from ipcsys.mp.queues import JoinableQueue, Queue, SimpleQueue
from ipcsys.mp.sharedctypes import Array, Memory, RawArray, RawValue, Value
from ipcsys.mp.synchronize import (
    Barrier,
    BoundedSemaphore,
    Condition,
    Event,
    Lock,
    RLock,
    Semaphore,
)

_OURS = [
    "Array",
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Memory",
    "Process",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "Value",
    "get_context",
]

__all__ = sorted({*multiprocessing.__all__, *_OURS})


def __getattr__(name):
    try:
        return getattr(multiprocessing, name)
    except AttributeError:
        raise AttributeError(f"module 'ipcsys.mp' has no attribute {name!r}") from None


def __dir__():
    return sorted({*globals(), *dir(multiprocessing)})
