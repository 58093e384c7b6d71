# SPDX-License-Identifier: Apache-2.0
"""Lists and deques beside each other: an append, an index, a value passed on."""

from ipcsys.bench import loops
from ipcsys.bench.contest import Idle, OnSource
from ipcsys.bench.messages import token
from ipcsys.bench.pairs import context
from ipcsys.bench.report import OURS

LENGTH = 1000
_LATE = 60.0  # seconds that any one turn may take


class OurVector:
    who = OURS

    def __init__(self):
        self._name = token()

    def get(self):
        from ipcsys import SharedVector

        return SharedVector(name=self._name)


class OurDeque:
    who = OURS

    def __init__(self):
        self._name = token()

    def get(self):
        from ipcsys import SharedDeque

        return SharedDeque(name=self._name)


class ManagedList:
    who = "multiprocessing.Manager().list"
    popleft = "pop(0)"
    share = 20  # of the turns of the others: it takes a hundred times as long

    def __init__(self):
        self._manager = context().Manager()
        self._list = self._manager.list()

    def __getstate__(self):
        return {"_list": self._list}  # the manager itself stays here

    def get(self):
        return self._list

    def close(self):
        self._manager.shutdown()


class ShareableList:
    """Of fixed length: it can be indexed, not appended to."""

    who = "multiprocessing ShareableList"

    def __init__(self):
        from multiprocessing.shared_memory import ShareableList as Shareable

        self._list = Shareable(range(LENGTH))

    def get(self):
        return self._list

    def close(self):
        self._list.shm.close()
        self._list.shm.unlink()


class PlainList:
    """Shared with nobody: the ceiling."""

    who = "list"
    reference = True

    def get(self):
        return []


class PlainDeque:
    """Shared with nobody: the ceiling."""

    who = "collections.deque"
    reference = True

    def get(self):
        from collections import deque

        return deque()


APPEND, INDEX, PASS = "append(7)", "things[500]", "append(7); popleft()"


class _User:
    """A process with the list, which holds LENGTH numbers at the start of each turn."""

    def __init__(self, source, statement):
        self._source, self._statement = source, statement

    def open(self):
        self._list = self._source.get()
        self.run(1000)

    def run(self, count):
        things = self._list
        if len(things) != LENGTH:
            things.clear() if hasattr(things, "clear") else things.__delitem__(slice(None))
            things.extend(range(LENGTH))
        called = (name for name in ("append", "pop", "popleft") if hasattr(things, name))
        names = {"things": things, **{name: getattr(things, name) for name in called}}
        return loops.typical(names, self._statement, count)

    def close(self):
        pass


class Statement(OnSource):
    """Seconds for a statement on a list of LENGTH numbers."""

    def __init__(self, kind, statement, count, cpus):
        super().__init__(kind, cpus)
        self._statement = statement.replace("popleft()", getattr(kind, "popleft", "popleft()"))
        self._count = count // getattr(kind, "share", 1)

    def open(self):
        self._start(lambda source: (_User(source, self._statement), Idle()))

    def measure(self):
        return self._pair.run((self._count,), (), _LATE)[0] * 1e-9


APPENDED = (OurVector, ManagedList, PlainList)
INDEXED = (OurVector, ManagedList, ShareableList, PlainList)
PASSED = (OurDeque, ManagedList, PlainDeque)
