# SPDX-License-Identifier: Apache-2.0
"""The member table, and the pools of unnamed objects."""

import contextlib

import ipcsys
from ipcsys import _core
from ipcsys.testing.targets.common import Target


class Members(Target):
    name = "members"
    file = ".members"

    def build(self):
        _core.owner()

    def exercise(self, thing):
        _core.owner()
        with contextlib.suppress(ipcsys.Error):
            _core.sweep()
        with contextlib.suppress(ipcsys.Error):
            _core.members()
        _core.check_members()
        lock = ipcsys.Lock()
        lock.acquire(timeout=0.05)


class Cells(Target):
    name = "cells"
    file = ".cells"

    def build(self):
        self.locks = [ipcsys.Lock() for _ in range(40)]
        del self.locks[::3]
        self.locks[0].acquire()

    def exercise(self, thing):
        with contextlib.suppress(ipcsys.Error):
            _core.check_cells()
        locks = []
        for _ in range(60):
            with contextlib.suppress(ipcsys.Error):
                locks.append(ipcsys.Lock())
                locks[-1].acquire(timeout=0)
        del locks[::2]
        with contextlib.suppress(ipcsys.Error):
            ipcsys.Event().set()
        _core.cells()


class Wide(Target):
    name = "wide cells"
    file = ".wide"

    def build(self):
        self.permits = [ipcsys.Semaphore(i) for i in range(20)]
        del self.permits[::3]
        self.permits[-1].acquire()

    def exercise(self, thing):
        with contextlib.suppress(ipcsys.Error):
            _core.check_cells()
        permits = []
        for _ in range(30):
            with contextlib.suppress(ipcsys.Error):
                permits.append(ipcsys.Semaphore())
                permits[-1].acquire(timeout=0)
                permits[-1].release()
        del permits[::2]
        _core.cells()
