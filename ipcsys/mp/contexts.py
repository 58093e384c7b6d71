# SPDX-License-Identifier: Apache-2.0
"""Contexts: the processes of multiprocessing's start methods, and data and locks of ours."""

import multiprocessing
import multiprocessing.context
import sys

from ipcsys.mp import processes, queues, sharedctypes, synchronize

__all__ = ["get_context"]

# Pool and ProcessPoolExecutor take hold of the pipe inside the SimpleQueue that
# they make for themselves, and wait on it beside their workers.
_REACH_INSIDE = {"concurrent.futures.process", "multiprocessing.pool"}


class _Ours:
    """What a context makes, made by us.  Each method is multiprocessing's of the same name."""

    def _plain(self):
        return multiprocessing.get_context(self._name)

    def get_context(self, method=None):
        return self if method is None else get_context(method)

    def Lock(self):
        return synchronize.Lock()

    def RLock(self):
        return synchronize.RLock()

    def Semaphore(self, value=1):
        return synchronize.Semaphore(value)

    def BoundedSemaphore(self, value=1):
        return synchronize.BoundedSemaphore(value)

    def Condition(self, lock=None):
        return synchronize.Condition(lock)

    def Barrier(self, parties, action=None, timeout=None):
        return synchronize.Barrier(parties, action, timeout)

    def Event(self):
        return synchronize.Event()

    def Queue(self, maxsize=0):
        return queues.Queue(maxsize)

    def JoinableQueue(self, maxsize=0):
        return queues.JoinableQueue(maxsize)

    def SimpleQueue(self):
        caller = sys._getframe(1).f_globals.get("__name__")
        return self._plain().SimpleQueue() if caller in _REACH_INSIDE else queues.SimpleQueue()

    def Value(self, typecode_or_type, *args, lock=True):
        return sharedctypes.Value(typecode_or_type, *args, lock=lock, ctx=self)

    def Array(self, typecode_or_type, size_or_initializer, *, lock=True):
        return sharedctypes.Array(typecode_or_type, size_or_initializer, lock=lock, ctx=self)

    def RawValue(self, typecode_or_type, *args):
        return sharedctypes.RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type, size_or_initializer):
        return sharedctypes.RawArray(typecode_or_type, size_or_initializer)

    def Pool(self, processes=None, initializer=None, initargs=(), maxtasksperchild=None):
        return self._plain().Pool(processes, initializer, initargs, maxtasksperchild)


_PROCESSES = {"spawn": processes.SpawnProcess, "forkserver": processes.ForkServerProcess}
_contexts = {}


def get_context(method=None):
    """A context of this start method, or of the one in force: its Process starts processes
    as multiprocessing's does, its queues, locks and values are those of ipcsys.mp."""
    plain = multiprocessing.get_context(method)
    name = plain.get_start_method()
    if name not in _contexts:
        members = {"Process": _PROCESSES[name]} if name in _PROCESSES else {}
        _contexts[name] = type(type(plain).__name__, (_Ours, type(plain)), members)()
    return _contexts[name]
