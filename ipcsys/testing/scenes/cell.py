# SPDX-License-Identifier: Apache-2.0
"""The pool of small unnamed objects: making, dropping, pickling, growing."""

import pickle

from ipcsys import Lock, Semaphore, _core
from ipcsys.testing.sweeping import Scene

_FIRST_BACKED = 512  # cells that a new pool has memory for


class Make(Scene):
    """Whatever the victim was at, nothing of it stays and the pool is sound."""

    name = "cell.make"
    own_namespace = True
    kind = Lock

    def create(self):
        self.kept = self.kind()
        self.kept.acquire()

    def attach(self):
        self.kept = self.kind()

    def operation(self):
        return (self.kind,)

    def verify(self, first, finished):
        _core.sweep()
        assert _core.check_cells() == []
        mine = self.kind()
        assert mine.acquire(timeout=1)
        assert not pickle.loads(pickle.dumps(mine)).acquire(False)
        del mine
        assert _core.check_cells() == []
        # What living members hold: the survivor's, and the newcomer's while it asks.
        cells = _core.cells()
        assert 1 <= cells["used"] <= 2, cells
        assert cells["tickets"] == 0, cells

    def remove(self):
        del self.kept


class MakeFirst(Make):
    """The first unnamed object of a namespace makes the pool."""

    name = "cell.make the first"

    def create(self):
        _core.owner()
        self.kept = None

    def attach(self):
        _core.owner()

    def verify(self, first, finished):
        self.kept = self.kept if hasattr(self, "kept") and self.kept else self.kind()
        super().verify(first, finished)


class MakeGrowing(Make):
    name = "cell.make beyond the memory"

    def operation(self):
        self.others = [self.kind() for _ in range(_FIRST_BACKED - 2)]
        return (self.kind,)


def _make_and_drop(kind):
    kind()


class Drop(Make):
    name = "cell.make and drop"

    def operation(self):
        return _make_and_drop, self.kind


class Pickle(Make):
    name = "cell.pickle"

    def operation(self):
        return pickle.dumps, self.kept


class Unpickle(Make):
    name = "cell.unpickle"

    def operation(self):
        text = pickle.dumps(self.kept)
        del self.kept
        return pickle.loads, text


class Recover(Make):
    """Clearing away a dead member that held and had pickled many."""

    name = "cell.clear away the dead"

    def operation(self):
        from ipcsys.testing.scenes.member import die_holding

        def hold():
            self.others = [self.kind() for _ in range(5)]
            self.texts = [pickle.dumps(other) for other in self.others]

        die_holding(hold)
        return (_core.sweep,)


class MakeWide(Make):
    """A wide cell, whose body is cleared before it is anybody's."""

    name = "cell.make a wide one"
    kind = Semaphore


class MakeFirstWide(MakeFirst):
    name = "cell.make the first wide one"
    kind = Semaphore


class MakeAgainWide(MakeWide):
    """In the memory of one that was used and dropped."""

    name = "cell.make a wide one again"

    def operation(self):
        used = [self.kind() for _ in range(3)]
        for one in used:
            one.acquire()
        del one, used
        return (self.kind,)


class DropWide(Drop):
    name = "cell.make and drop a wide one"
    kind = Semaphore


class PickleWide(Pickle):
    name = "cell.pickle a wide one"
    kind = Semaphore


class UnpickleWide(Unpickle):
    name = "cell.unpickle a wide one"
    kind = Semaphore


class RecoverWide(Recover):
    name = "cell.clear away the dead and their wide ones"
    kind = Semaphore
