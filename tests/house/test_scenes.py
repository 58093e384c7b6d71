# SPDX-License-Identifier: Apache-2.0
"""Whatever changes something shared is killed by a scene of its own, or an excuse
here says which scene does it for it."""

import ast
import inspect
import platform
import re
from pathlib import Path

import pytest

import ipcsys
from ipcsys import _core, aio

if platform.machine() != "x86_64":
    pytest.skip("scenes need the stepper, which is x86-64's trap flag", allow_module_level=True)

from ipcsys.testing import scenes

STUB = Path(ipcsys.__file__).with_name("_core.pyi")

# The word that the names of a class's scenes begin with.
WORDS = {
    "Lock": "lock", "RLock": "rlock", "Condition": "condition", "Semaphore": "semaphore",
    "BoundedSemaphore": "bounded semaphore", "Event": "event", "RWLock": "rwlock",
    "Barrier": "barrier", "Queue": "queue", "Segment": "segment", "Pool": "pool",
    "Arena": "arena", "SharedMap": "map", "SharedVector": "vector", "SharedDeque": "deque",
    "SharedString": "string", "SharedBytes": "bytes", "SharedCell": "cell",
    "SharedArray": "array", "Record": "record", "AtomicInt": "atomic",
    "AtomicFloat": "atomic float", "AtomicBool": "atomic bool", "MpLock": "mp.lock",
    "MpRLock": "mp.rlock", "MpCondition": "mp.condition", "MpSemaphore": "mp.semaphore",
    "MpBoundedSemaphore": "mp.bounded semaphore", "MpQueue": "mp.queue",
    "Registry": "registry", "Node": "node",
}  # fmt: skip

# Classes without scenes of their own.
EXCUSED_CLASSES = {
    "Message": "shares nothing: it is a value",
    "SegmentStats": "shares nothing: it is a value",
    "MemberQuota": "shares nothing: it is a value",
    "RecordField": "shares nothing: it declares",
    "RecordLayout": "shares nothing: it declares",
    "Transaction": "scenes named segment.transaction ...",
    "ReadView": "scenes named segment.read ...",
    "MpEvent": "inherits all methods of Event, which is the same object",
    "MpBarrier": "inherits all methods of Barrier, which is the same object",
    "MpMemory": "scenes named mp.memory ...: made, pickled, unpickled",
    "Desk": "scenes named node.answer a request, node.request",
}

# What tells or compares, and changes nothing that others see.  Methods that str and
# bytes have too give a new one of these.
READS = set("""
    check closed copy count decode find get get_many index items keys load locked owner quotas
    readers regions revision stats values asdict numpy
    is_set qsize empty full get_value default
    __add__ __buffer__ __bytes__ __bool__ __contains__ __copy__ __deepcopy__ __eq__
    __float__ __ge__ __getitem__ __gt__ __index__ __int__ __iter__ __le__ __len__ __lt__
    __mod__ __mul__ __next__ __or__ __radd__ __reversed__ __rmul__ __ror__ __hash__
    __init_subclass__ __setstate__
""".split())

# Every kind has these: made and opened by name, closed with `with`, pickled as a
# name (nothing is shared by that) or, without one, as a ticket.
OF_ALL = {
    "__init__": "lock.create by name",
    "__enter__": "lock.acquire",
    "__exit__": "lock.release",
    "__reduce__": "cell.pickle",
    "_restore": "cell.unpickle",
    "transaction": "segment.transaction",
}

# Another scene kills the same code.
INSTEAD = {
    "Lock.__init__": "lock.create by name",
    "MpLock.__init__": "lock.create by name",
    "Condition.acquire": "rlock.acquire",
    "Condition.release": "condition.release after notify_all",
    "Condition.wait_for": "condition.wait",
    "Condition.notifyAll": "condition.notify_all",
    "BoundedSemaphore.acquire": "semaphore.acquire",
    "RWLock.read": "rwlock.acquire_read",
    "RWLock.write": "rwlock.acquire_write",
    "Queue.get": "queue.get",
    "Queue.get_many": "queue.get_many",
    "Queue.put_nowait": "queue.put",
    "Queue.get_nowait": "queue.get",
    "MpQueue.get": "mp.queue.get of an object",
    "MpQueue.put_nowait": "mp.queue.put of an object",
    "MpQueue.get_nowait": "mp.queue.get of an object",
    "MpQueue.join_thread": "mp.queue.put of an object",  # it has no thread
    "MpQueue.cancel_join_thread": "mp.queue.put of an object",
    "Arena.destroy": "segment.arena destroyed",
    "Pool.__new__": "segment.pool",
    "Arena.__new__": "segment.arena",
    "SharedMap.__setitem__": "map.set of a new key",
    "SharedMap.__delitem__": "map.delete",
    "SharedMap.fromkeys": "map.update past a rehash",  # of one that nobody else has yet
    "SharedVector.__setitem__": "vector[i] = value",
    "Record.update": "record.update",
    "AtomicInt.notify": "atomic.store and notify with a waiter",
    "AtomicInt.notify_all": "atomic.store and notify with a waiter",
    "AtomicFloat.wait": "atomic.wait",
    "AtomicFloat.notify": "atomic.store and notify with a waiter",
    "AtomicFloat.notify_all": "atomic.store and notify with a waiter",
    "AtomicBool.wait": "atomic.wait",
    "AtomicBool.notify": "atomic.store and notify with a waiter",
    "AtomicBool.notify_all": "atomic.store and notify with a waiter",
    "SharedCell.notify": "cell.store and notify with a waiter",
    "SharedCell.notify_all": "cell.store and notify with a waiter",
    "Registry.close": "segment.close of the last handle",
    "Registry.find_by_name": "registry.find",
    "Registry.processes": "registry.clear away the dead",
    "Registry.services": "registry.clear away the dead",
    "Registry.providers": "registry.clear away the dead",
    "Node.start": "node.start and stop",
    "Node.stop": "node.start and stop",
    "Node.close": "node.start and stop",
    "Node.wait": "node.start and stop",
    "Node.call": "node.request",
    "Node.ping": "node.request",
    "Node.broadcast": "node.send",
    "Node.register_service": "registry.register_service",
    "Node.unregister_service": "registry.unregister_service",
    "Node.on_request": "node.answer a request",  # nothing is shared by it
    "Node.on_notification": "node.send",
}

# Coroutines: scenes in which the victim is a task.
TASKS = {
    "RLock.acquire": "rlock.acquire in a cancelled task",
    "BoundedSemaphore.acquire": "semaphore.acquire in a task",
    "Condition.acquire": "rlock.acquire in a cancelled task",
    "Condition.wait_for": "condition.wait in a task",
    "Queue.get_many": "queue.get in a task",
    "Queue.get_into": "queue.get in a task",
    "Queue.put_bytes": "queue.put in a task",
    "Queue.put_many": "queue.put in a task",
    "Queue.join": "queue.join in a cancelled task",
    "RWLock.upgrade": "rwlock.acquire_write in a task",
    "AtomicInt.wait": "atomic.wait in a cancelled task",
    "AtomicFloat.wait": "atomic.wait in a cancelled task",
    "AtomicBool.wait": "atomic.wait in a cancelled task",
    "Node.send": "node.send",
    "Node.request": "node.request",
    "Node.call": "node.request",
    "Node.stop": "node.start and stop",
}

NAMES = sorted(scenes.every())


def has_scene(label: str) -> bool:
    """Whether a scene's name begins with these whole words."""
    return any(re.match(re.escape(label) + r"(?!\w)", name) for name in NAMES)


def methods_of_the_core():
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for part in node.body:
                tells = isinstance(part, ast.FunctionDef) and any(
                    ast.unparse(mark) == "property" for mark in part.decorator_list
                )
                if isinstance(part, ast.FunctionDef) and not tells:
                    yield node.name, part.name


def methods_in_python():
    for kind in (ipcsys.Registry, ipcsys.Node):
        for name, value in vars(kind).items():
            if callable(value) and not name.startswith("_"):
                yield kind.__name__, name


def changing():
    """(class, method) of what may change something shared."""
    taken_from = {"SharedString": str, "SharedBytes": bytes}
    for kind, method in [*methods_of_the_core(), *methods_in_python()]:
        if kind in EXCUSED_CLASSES or (method.startswith("_") and not method.endswith("__")):
            continue
        reads = READS - {"get", "get_many"} if kind.endswith(("Queue", "Desk")) else READS
        gives_new = kind in taken_from and hasattr(taken_from[kind], method)
        if method not in reads and not gives_new:
            yield kind, method


def test_every_method_that_changes_something_shared_is_killed_by_a_scene():
    missing = [
        f"{kind}.{method}"
        for kind, method in changing()
        if method not in OF_ALL
        and f"{kind}.{method}" not in INSTEAD
        and not has_scene(f"{WORDS.get(kind, kind)}.{method}")
    ]
    assert missing == []


def test_every_coroutine_of_asyncio_is_killed_by_a_scene():
    missing = []
    for kind in (value for value in vars(aio).values() if inspect.isclass(value)):
        for name in dir(kind):
            if name.startswith("_") or not inspect.iscoroutinefunction(getattr(kind, name)):
                continue
            word = f"{WORDS.get(kind.__name__)}.{name}"
            there = f"{word} in a task" in NAMES or f"{word} in a cancelled task" in NAMES
            if not there and f"{kind.__name__}.{name}" not in TASKS:
                missing.append(f"aio.{kind.__name__}.{name}")
    assert missing == []


def test_every_class_of_the_core_has_a_word_or_an_excuse():
    public = {kind for kind, _method in methods_of_the_core()}
    assert public <= WORDS.keys() | EXCUSED_CLASSES.keys()
    assert WORDS.keys() & EXCUSED_CLASSES.keys() == set()
    assert all(hasattr(_core, kind) or hasattr(ipcsys, kind) for kind in WORDS)


@pytest.mark.parametrize("table", [OF_ALL, INSTEAD, TASKS], ids=["all", "instead", "tasks"])
def test_the_scenes_that_stand_for_others_exist(table):
    assert sorted(set(table.values()) - set(NAMES)) == []
