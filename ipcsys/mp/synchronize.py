# SPDX-License-Identifier: Apache-2.0
"""The locks of ipcsys.mp, and how they show themselves: by names of processes and threads."""

import threading
from multiprocessing import process

from ipcsys._core import MpBarrier as Barrier
from ipcsys._core import MpBoundedSemaphore as BoundedSemaphore
from ipcsys._core import MpCondition as Condition
from ipcsys._core import MpEvent as Event
from ipcsys._core import MpLock as Lock
from ipcsys._core import MpRLock as RLock
from ipcsys._core import MpSemaphore as Semaphore

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
]


def _holder(lock):
    if lock._is_mine():
        name, thread = process.current_process().name, threading.current_thread().name
        return name if thread == "MainThread" else f"{name}|{thread}"
    if lock._get_value() == 1:
        return "None"
    return "SomeOtherThread" if lock._count() > 0 else "SomeOtherProcess"


def lock_text(lock):
    """The repr of a Lock."""
    holder = "closed" if lock.closed else _holder(lock)
    return f"<{type(lock).__name__}(owner={holder})>"


def own_rlock_text(condition):
    """The repr of the lock that a Condition has with it."""
    return rlock_text(condition, "RLock")


def rlock_text(lock, kind=None):
    """The repr of an RLock."""
    holder = "closed" if lock.closed else _holder(lock)
    count = 0 if holder in ("closed", "None") else lock._count() if lock._is_mine() else "nonzero"
    return f"<{kind or type(lock).__name__}({holder}, {count})>"
