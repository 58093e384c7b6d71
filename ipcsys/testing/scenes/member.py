# SPDX-License-Identifier: Apache-2.0
"""Members: joining, forking, clearing away the dead."""

import os
import shutil
import time

import ipcsys
from ipcsys import _core
from ipcsys.testing.scenes.common import die_holding, no_ghosts, users
from ipcsys.testing.sweeping import Scene


class Found(Scene):
    """The first member of a namespace founds it."""

    name = "member.found"
    own_namespace = True

    def operation(self):
        return (_core.owner,)

    def verify(self, first, finished):
        no_ghosts()

    def remove(self):
        shutil.rmtree(_core.folder())


class Join(Scene):
    name = "member.join"

    def create(self):
        _core.owner()

    def operation(self):
        return (_core.owner,)

    def verify(self, first, finished):
        no_ghosts()


class JoinAfterDeath(Join):
    """Joining clears away a dead member: a survivor goes on where it stopped."""

    name = "member.join after a death"

    def create(self):
        die_holding(_core.owner)


class Sweep(Join):
    name = "member.sweep of two dead"

    def attach(self):
        _core.owner()
        die_holding(_core.owner)
        die_holding(_core.owner)

    def operation(self):
        return (_core.sweep,)


def _fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


class Fork(Join):
    name = "member.fork"

    def attach(self):
        _core.owner()

    def operation(self):
        return (_fork,)


class ForkHolding(Join):
    """What the child inherits is recorded before fork() returns, or not at all."""

    name = "member.fork while holding objects"

    def create(self):
        self.lock = ipcsys.Lock(name=self.tag)
        self.cells = _core.cells()["used"]

    def attach(self):
        self.held = [ipcsys.Lock(name=self.tag), ipcsys.Lock(), ipcsys.Event()]

    def operation(self):
        return (_fork,)

    def verify(self, first, finished):
        # The victim's child, born already, may outlive it by a moment.
        limit = time.monotonic() + 3
        while users(self.tag) > 1 + (not hasattr(self, "cells")) and time.monotonic() < limit:
            time.sleep(0.001)
        no_ghosts()
        if hasattr(self, "cells"):
            assert _core.cells()["used"] == self.cells, "a cell of the dead is in use"
            assert users(self.tag) == 1, "a link of the dead is left"

    def remove(self):
        self.lock.close()
        ipcsys.Lock.remove(self.tag)


class ForkedChild(Join):
    """A forked child's first call joins it anew."""

    name = "member.first call of a forked child"

    def attach(self):
        _core.owner()

    def operation(self):
        if os.fork():
            _pid, status = os.wait()
            if os.WIFSIGNALED(status):
                os.kill(os.getpid(), os.WTERMSIG(status))
            os._exit(os.WEXITSTATUS(status))
        return (_core.owner,)
