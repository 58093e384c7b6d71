# SPDX-License-Identifier: Apache-2.0
"""Everything that can go wrong, as one tree.

Each class also inherits the builtin that code written for the standard
library already catches:

    Error(Exception)
    ├── AccessDenied (PermissionError)        another user's, or no permission
    ├── AlreadyExists (FileExistsError)       the name is taken
    ├── BrokenBarrierError (threading.BrokenBarrierError)
    ├── Busy (BlockingIOError)                would have to wait
    │   └── Conflict                          somebody committed a change meanwhile
    ├── Closed (ValueError)                   this handle was closed
    ├── CorruptionError (RuntimeError)        shared bytes are damaged
    ├── DeadlockError (RuntimeError)          waiting would never end
    ├── DecodeError (ValueError)              bytes that make no sense; `.data` has them
    ├── Empty (queue.Empty)
    ├── EncodeError (TypeError)               a value that cannot travel
    ├── FormatError (ValueError)              not a file this version can read
    ├── Full (queue.Full)
    ├── InUse (OSError)                       live members use it
    ├── InvalidName (ValueError)
    ├── MismatchError (ValueError)            another kind or shape under that name
    │   └── SchemaError                       a record declared otherwise than it is stored
    ├── NoProvider (LookupError)              nobody offers the service
    ├── NoSpace (OSError, MemoryError)        shared memory is full
    ├── NotFound (FileNotFoundError, KeyError)
    │   └── ObjectGone                        a pickled handle outlived its object
    ├── NotHeld (RuntimeError)                release of a lock that is not held
    ├── OperatingSystemError (OSError)        a system call failed; `.errno` says how
    ├── OutOfMemory (MemoryError)             private memory is full
    ├── PeerDied (BrokenPipeError)            the other side died
    ├── ReadOnly (PermissionError)            opened with readonly=True
    ├── RemoteError (RuntimeError)            a handler in another process raised
    ├── SegmentFull (MemoryError)
    │   ├── PoolFull                          all blocks of the pool are in use
    │   └── QuotaExceeded                     what this process may have is used up
    ├── ShutDown (queue.ShutDown)          queue.ShutDown is there from 3.13 on
    ├── Timeout (TimeoutError)
    ├── TooLarge (ValueError)
    ├── TooManyMembers (OSError)              no free member slot
    └── TransactionError (RuntimeError)
        └── TransactionTooLarge               it outgrew its journal

Which status of the C core raises which class stands in csrc/base/status.h.
"""

import queue as _queue
import threading as _threading  # queue needs it anyway

__all__ = [
    "AccessDenied",
    "AlreadyExists",
    "BrokenBarrierError",
    "Busy",
    "Closed",
    "Conflict",
    "CorruptionError",
    "DeadlockError",
    "DecodeError",
    "Empty",
    "EncodeError",
    "Error",
    "FormatError",
    "Full",
    "InUse",
    "InvalidName",
    "MismatchError",
    "NoProvider",
    "NoSpace",
    "NotFound",
    "NotHeld",
    "ObjectGone",
    "OperatingSystemError",
    "OutOfMemory",
    "PeerDied",
    "PoolFull",
    "QuotaExceeded",
    "ReadOnly",
    "RemoteError",
    "SchemaError",
    "SegmentFull",
    "ShutDown",
    "Timeout",
    "TooLarge",
    "TooManyMembers",
    "TransactionError",
    "TransactionTooLarge",
]


class Error(Exception):
    """The root: whatever ipcsys raises of its own is one of these."""

    def __str__(self):
        # The text alone: OSError would put "[Errno n]" before it, KeyError quotes around it.
        if isinstance(self, OSError) and self.strerror is not None:
            return str(self.strerror)
        return Exception.__str__(self)


class AccessDenied(Error, PermissionError):
    """The file belongs to another user, or its permissions do not let us."""


class AlreadyExists(Error, FileExistsError):
    """create=True, and the name is taken."""


class BrokenBarrierError(Error, _threading.BrokenBarrierError):
    """The barrier was aborted or reset, a wait timed out, or a party died."""


class Busy(Error, BlockingIOError):
    """The call would have to wait and was told not to."""


class Closed(Error, ValueError):
    """The handle was closed in this process."""


class Conflict(Busy):
    """Another transaction was committed while a `for view in segment.read():` block
    was being read; the loop reads again."""


class CorruptionError(Error, RuntimeError):
    """Shared bytes break their own rules; the text names the object."""


class DeadlockError(Error, RuntimeError):
    """Two would wait for each other for ever, so this one was not let in."""


class DecodeError(Error, ValueError):
    """Bytes that cannot be turned into a value; they are in `data`."""

    data = None


class Empty(Error, _queue.Empty):
    """Nothing to get."""


class EncodeError(Error, TypeError):
    """The value cannot be turned into bytes, or not by the means allowed here."""


class FormatError(Error, ValueError):
    """The file is not one that this version of ipcsys can read."""


class Full(Error, _queue.Full):
    """No room to put."""


class InUse(Error, OSError):
    """Live members use the object, so it is not removed or replaced."""


class InvalidName(Error, ValueError):
    """The name cannot be the name of an object, a namespace or their folder."""


class MismatchError(Error, ValueError):
    """The object under that name is of another kind or shape than asked for."""


class NoProvider(Error, LookupError):
    """No living process offers the service."""


class NoSpace(Error, OSError, MemoryError):
    """The file system that holds the shared memory is full."""


class NotFound(Error, FileNotFoundError, KeyError):
    """create=False, and there is no such object."""


class NotHeld(Error, RuntimeError):
    """A lock was released that nobody holds."""


class ObjectGone(NotFound):
    """A pickled handle was used after the last holder of its object had left."""


class OperatingSystemError(Error, OSError):
    """A system call failed in a way that has no class of its own."""


class OutOfMemory(Error, MemoryError):
    """This process has no memory left."""


class PeerDied(Error, BrokenPipeError):
    """The process on the other side died before it answered."""


class ReadOnly(Error, PermissionError):
    """The segment was opened with readonly=True: nothing in it can be changed."""


class RemoteError(Error, RuntimeError):
    """A handler in another process raised; the text is what it said."""


class SchemaError(MismatchError):
    """A record's declaration does not fit what is stored; the text says what differs."""


class SegmentFull(Error, MemoryError):
    """The segment has no room left and may not grow."""


class PoolFull(SegmentFull):
    """All blocks of a pool are in use, or one is asked for that is larger than they are."""


class QuotaExceeded(SegmentFull):
    """This process has all that Segment.set_quota() lets it have."""


class ShutDown(Error, getattr(_queue, "ShutDown", Exception)):
    """The queue was shut down: nothing more goes in, and it is empty."""


class Timeout(Error, TimeoutError):
    """The time given was not enough."""


class TooLarge(Error, ValueError):
    """Larger than the limit of the object it was meant for."""


class TooManyMembers(Error, OSError):
    """All member slots of the namespace are taken by living processes."""


class TransactionError(Error, RuntimeError):
    """Not allowed inside, or outside, this transaction."""


class TransactionTooLarge(TransactionError):
    """The transaction changed more than its journal can undo."""


for _name in __all__:  # tracebacks and pickles say ipcsys.Timeout
    globals()[_name].__module__ = "ipcsys"
