# SPDX-License-Identifier: Apache-2.0
"""Scenes on planted.c: what the harness must catch, and what it must not."""

import ctypes
import mmap
import os
import time

from ipcsys.testing.sweeping import Scene

_PAYLOAD = bytes(range(1, 41))


class Right(Scene):
    name = "planted right"
    function = "right"

    def __init__(self):
        self.library = os.environ["PLANTED_LIBRARY"]
        self.folder = os.path.dirname(self.library)
        self.code = ctypes.CDLL(self.library)

    @property
    def path(self):
        return os.path.join(self.folder, self.tag)

    def create(self):
        with open(self.path, "xb") as file:
            file.truncate(4096)
        self.attach()

    def attach(self):
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 4096)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.map))

    def operation(self):
        return getattr(self.code, self.function), ctypes.c_void_p(self.address), _PAYLOAD

    def verify(self, first, finished):
        tail = int.from_bytes(self.map[:8], "little")
        assert tail in (0, 1)
        assert tail or not finished
        if tail:
            assert self.map[16:56] == _PAYLOAD, "a record was published before its bytes"
        return "after" if tail else "before"

    def remove(self):
        os.unlink(self.path)


class Wrong(Right):
    name = "planted wrong"
    function = "wrong"


class Hanging(Right):
    name = "planted hang"

    def verify(self, first, finished):
        if not finished and first:
            time.sleep(60)
        return super().verify(first, finished)

    deadline = 0.5


class Stranding(Right):
    """A survivor that dies of what it finds."""

    name = "planted crash"

    def verify(self, first, finished):
        if not finished:
            os.abort()
        return super().verify(first, finished)
