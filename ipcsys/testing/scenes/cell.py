# SPDX-License-Identifier: Apache-2.0
"""The pool of small unnamed objects: making, dropping, pickling, growing."""

import pickle

from ipcsys import Lock, _core
from ipcsys.testing.sweeping import Scene

_FIRST_BACKED = 512  # cells that a new pool has memory for


class Make(Scene):
    """Whatever the victim was at, nothing of it stays and the pool is sound."""

    name = "cell.make"
    own_namespace = True

    def create(self):
        self.kept = Lock()
        self.kept.acquire()

    def attach(self):
        self.kept = Lock()

    def operation(self):
        return (Lock,)

    def verify(self, first, finished):
        _core.sweep()
        assert _core.check_cells() == []
        mine = Lock()
        assert mine.acquire(timeout=1)
        assert pickle.loads(pickle.dumps(mine)).locked()
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
        self.kept = self.kept if hasattr(self, "kept") and self.kept else Lock()
        super().verify(first, finished)


class MakeGrowing(Make):
    name = "cell.make beyond the memory"

    def operation(self):
        self.others = [Lock() for _ in range(_FIRST_BACKED - 2)]
        return (Lock,)


def _make_and_drop():
    Lock()


class Drop(Make):
    name = "cell.make and drop"

    def operation(self):
        return (_make_and_drop,)


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
            self.others = [Lock() for _ in range(5)]
            self.texts = [pickle.dumps(lock) for lock in self.others]

        die_holding(hold)
        return (_core.sweep,)
