# SPDX-License-Identifier: Apache-2.0
"""Named objects of each kind: made, opened, removed, and gone with the last user."""

import re

import ipcsys
import ipcsys.dtypes  # noqa: F401 - imported before anything is stepped through
import ipcsys.views  # noqa: F401 - the same
from ipcsys import _core
from ipcsys.testing.scenes.common import users
from ipcsys.testing.sweeping import Scene

SOON = 20.0


class _Pair(ipcsys.Record, version=1, name="pair"):
    text: ipcsys.text[40] = ""
    number: ipcsys.i64 = 0


class _Named(Scene):
    """`make` opens or creates by `name`; `work` uses what it gives."""

    kin = True
    kind = None
    extra = {}  # what creating takes
    object = None

    def make(self, **how):
        return self.kind(name=self.tag, **self.extra, **how)

    @staticmethod
    def work(thing):
        raise NotImplementedError

    def attach(self):
        _core.owner()

    def usable(self):
        self.work(self.object)
        assert users(self.tag) in (1, 2), "a dead member holds the name"
        problems = self.object.check() if hasattr(self.object, "check") else []
        assert problems == [], problems

    def remove(self):
        if self.object is not None:
            self.object.close()
        if users(self.tag) is not None:
            self.kind.remove(self.tag)


class _Create(_Named):
    def create(self):
        _core.owner()

    def operation(self):
        return (self.make,)

    def verify(self, first, finished):
        existed = users(self.tag) is not None
        assert existed or not (first and finished)
        self.object = self.make()
        self.usable()
        return "after" if existed else "before"


class _Open(_Named):
    monotone = False

    def create(self):
        self.object = self.make()

    def operation(self):
        return (lambda: self.make(create=False),)

    def verify(self, first, finished):
        if self.object is None:
            self.object = self.make(create=False)
        self.usable()


class _Remove(_Named):
    def create(self):
        self.make().close()

    def operation(self):
        return self.kind.remove, self.tag

    def verify(self, first, finished):
        there = users(self.tag) is not None
        assert not there or not (first and finished)
        self.object = self.make()
        self.usable()
        return "before" if there else "after"


class _CloseLast(_Named):
    monotone = False

    def create(self):
        _core.owner()

    def operation(self):
        return (self.make(cleanup="last").close,)

    def verify(self, first, finished):
        assert users(self.tag) is None or not first, "the last user is dead, its name is not"
        self.object = self.make()
        self.usable()


def _held(take, give):
    def work(thing):
        assert getattr(thing, take)(timeout=SOON)
        getattr(thing, give)()

    return staticmethod(work)


def _set_and_clear(event):
    event.set()
    assert event.wait(SOON)
    event.clear()


def _broken_and_reset(barrier):
    barrier.abort()
    barrier.reset()
    assert not barrier.broken and barrier.n_waiting == 0


def _notified(condition):
    with condition:
        condition.notify_all()
        assert not condition.wait(0)


def _put_and_got(queue):
    queue.put("own")
    assert queue.get(timeout=SOON) == "own"


def _appended(row):
    row.append(7)
    assert row.pop() == 7


def _texted(text):
    text.set("own")
    assert str(text) == "own"


def _keyed(mapping):
    mapping["own"] = 7
    assert mapping.pop("own") == 7


def _stored(thing):
    thing.store(1)
    assert thing.load() == 1


def _fielded(record):
    record.update(text="own", number=7)
    assert (record.text, record.number) == ("own", 7)


def _viewed(array):
    with array.lock:
        view = memoryview(array)
        view[2, 4] = 1.5
        view.release()


def _built(segment):
    segment.construct(ipcsys.SharedCell, "own").close()
    assert segment.destroy("own")


_KINDS = {
    "rlock": (ipcsys.RLock, {}, _held("acquire", "release")),
    "semaphore": (ipcsys.Semaphore, {}, _held("acquire", "release")),
    "bounded semaphore": (ipcsys.BoundedSemaphore, {}, _held("acquire", "release")),
    "rwlock": (ipcsys.RWLock, {}, _held("acquire_write", "release_write")),
    "event": (ipcsys.Event, {}, _set_and_clear),
    "barrier": (ipcsys.Barrier, {"parties": 2}, _broken_and_reset),
    "condition": (ipcsys.Condition, {}, _notified),
    "queue": (ipcsys.Queue, {}, _put_and_got),
    "map": (ipcsys.SharedMap, {}, _keyed),
    "vector": (ipcsys.SharedVector, {}, _appended),
    "deque": (ipcsys.SharedDeque, {}, _appended),
    "bytes": (ipcsys.SharedBytes, {}, _appended),
    "string": (ipcsys.SharedString, {}, _texted),
    "cell": (ipcsys.SharedCell, {}, _stored),
    "atomic": (ipcsys.AtomicInt, {}, _stored),
    "atomic float": (ipcsys.AtomicFloat, {}, _stored),
    "atomic bool": (ipcsys.AtomicBool, {}, _stored),
    "record": (_Pair, {}, _fielded),
    "array": (ipcsys.SharedArray, {"shape": (3, 5), "dtype": "d"}, _viewed),
    "segment": (ipcsys.Segment, {}, _built),
}
_PARTS = {
    "create by name": _Create,
    "open by name": _Open,
    "remove of a name": _Remove,
    "close of the last handle": _CloseLast,
}
_ELSEWHERE = {  # in the kind's own file of scenes
    "semaphore.create by name", "condition.create by name", "queue.create by name",
    "queue.open by name", "array.create by name", "array.open by name",
    "segment.create by name", "segment.open by name", "segment.remove of a name",
}  # fmt: skip


def _make():
    for word, (kind, extra, work) in _KINDS.items():
        for part, base in _PARTS.items():
            title = f"{word}.{part}"
            if title in _ELSEWHERE:
                continue
            label = re.sub(r"\W+", "_", title)
            work = work if isinstance(work, staticmethod) else staticmethod(work)
            globals()[label] = type(label, (base,), {
                "name": title, "kind": kind, "extra": extra, "work": work,
                "__module__": __name__, "__qualname__": label,
            })  # fmt: skip


_make()
