# SPDX-License-Identifier: Apache-2.0
"""Shared memory, messages, locks and services between processes, safe against kill -9.

    errors      the tree of exceptions
    _core       the C extension: the types below are its own
    message     the types of Message
    schema      the fields of a Record, and which versions of one go together
    registry    who is there and who offers what
    node        processes that call each other
    sync        who holds what, who waits for whom
    aio         the same objects for asyncio
    mp          in place of multiprocessing: from ipcsys import mp
    demo        the demonstration: python -m ipcsys.demo
    __main__    the command `ipcsys` (needs the extra `cli`)

Whatever stands in `__all__` is public; names with an underscore are not.
Modules that cost import time are loaded at the first use of their names.
"""

from ipcsys._core import (
    Arena,
    AtomicBool,
    AtomicFloat,
    AtomicInt,
    Barrier,
    BoundedSemaphore,
    Condition,
    Event,
    Lock,
    MemberQuota,
    Message,
    Pool,
    Queue,
    ReadView,
    Record,
    RLock,
    RWLock,
    Segment,
    SegmentStats,
    Semaphore,
    SharedArray,
    SharedBytes,
    SharedCell,
    SharedDeque,
    SharedMap,
    SharedString,
    SharedVector,
    Transaction,
)
from ipcsys.errors import (
    AccessDenied,
    AlreadyExists,
    BrokenBarrierError,
    Busy,
    Closed,
    Conflict,
    CorruptionError,
    DeadlockError,
    DecodeError,
    Empty,
    EncodeError,
    Error,
    FormatError,
    Full,
    InUse,
    InvalidName,
    MismatchError,
    NoProvider,
    NoSpace,
    NotFound,
    NotHeld,
    ObjectGone,
    OperatingSystemError,
    OutOfMemory,
    PeerDied,
    PoolFull,
    QuotaExceeded,
    ReadOnly,
    RemoteError,
    SchemaError,
    SegmentFull,
    ShutDown,
    Timeout,
    TooLarge,
    TooManyMembers,
    TransactionError,
    TransactionTooLarge,
)

__all__ = [
    "AccessDenied",
    "AlreadyExists",
    "Arena",
    "AtomicBool",
    "AtomicFloat",
    "AtomicInt",
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Busy",
    "Closed",
    "Condition",
    "Conflict",
    "CorruptionError",
    "DeadlockError",
    "DecodeError",
    "Empty",
    "EncodeError",
    "Error",
    "Event",
    "FormatError",
    "Full",
    "InUse",
    "InvalidName",
    "Lock",
    "MemberQuota",
    "Message",
    "MessageType",
    "MismatchError",
    "NoProvider",
    "NoSpace",
    "Node",
    "NodeStatistics",
    "NotFound",
    "NotHeld",
    "ObjectGone",
    "OperatingSystemError",
    "OutOfMemory",
    "PeerDied",
    "Pool",
    "PoolFull",
    "ProcessInfo",
    "Queue",
    "QuotaExceeded",
    "RLock",
    "RWLock",
    "ReadOnly",
    "ReadView",
    "Record",
    "Registry",
    "RemoteError",
    "SchemaError",
    "Segment",
    "SegmentFull",
    "SegmentStats",
    "Semaphore",
    "ServiceDiscovery",
    "SharedArray",
    "SharedBytes",
    "SharedCell",
    "SharedDeque",
    "SharedMap",
    "SharedString",
    "SharedVector",
    "ShutDown",
    "Timeout",
    "TooLarge",
    "TooManyMembers",
    "Transaction",
    "TransactionError",
    "TransactionTooLarge",
    "blob",
    "f32",
    "f64",
    "field",
    "i16",
    "i32",
    "i64",
    "i8",
    "text",
    "u16",
    "u32",
    "u64",
    "u8",
]

__version__ = "0.1.0"

# Public names of modules that are heavy to import, by module: loaded on first use.
_LAZY = {
    "MessageType": "ipcsys.message",
    "Node": "ipcsys.node",
    "NodeStatistics": "ipcsys.node",
    "ProcessInfo": "ipcsys.registry",
    "Registry": "ipcsys.registry",
    "ServiceDiscovery": "ipcsys.registry",
    "blob": "ipcsys.schema",
    "f32": "ipcsys.schema",
    "f64": "ipcsys.schema",
    "field": "ipcsys.schema",
    "i16": "ipcsys.schema",
    "i32": "ipcsys.schema",
    "i64": "ipcsys.schema",
    "i8": "ipcsys.schema",
    "text": "ipcsys.schema",
    "u16": "ipcsys.schema",
    "u32": "ipcsys.schema",
    "u64": "ipcsys.schema",
    "u8": "ipcsys.schema",
}


# Modules that `import ipcsys` is enough for, loaded on first use too.
_MODULES = ("aio", "mp", "sync")


def __getattr__(name):
    module = _LAZY.get(name)
    if module is None and name not in _MODULES:
        raise AttributeError(f"module 'ipcsys' has no attribute {name!r}")
    import importlib

    if module is None:
        return importlib.import_module(f"ipcsys.{name}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_LAZY, *_MODULES})
