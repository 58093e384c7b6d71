# SPDX-License-Identifier: Apache-2.0
"""Segments in files: opening, flushing, snapshots.  The oracle reads a copy of the file."""

import os
import shutil

import ipcsys
from ipcsys import _core
from ipcsys.testing.sweeping import Scene

SOON = 20.0


class _InFile(Scene):
    @property
    def path(self):
        return os.path.join(os.path.dirname(_core.folder()), f"{self.tag}.file")

    def create(self):
        self.segment = ipcsys.Segment(self.tag, "128 KiB", path=self.path)
        self.values = self.segment.construct(ipcsys.SharedMap, "values", {"state": 1})
        self.segment.flush()

    def in_file(self, path):
        """The state that a reboot would find in the file: a copy of it is opened."""
        copy = f"{path}.copy"
        shutil.copy(path, copy)
        try:
            with ipcsys.Segment(path=copy, create=False) as segment:
                assert segment.check() == []
                with segment["values"] as values:
                    return values["state"]
        finally:
            ipcsys.Segment.remove(path=copy)

    def remove(self):
        for name in ("values", "segment"):
            getattr(self, name).close()
        ipcsys.Segment.remove(path=self.path)


class Flush(_InFile):
    name = "segment.flush"

    def create(self):
        super().create()
        self.values["state"] = 2

    def attach(self):
        self.segment = ipcsys.Segment(path=self.path, create=False)
        self.values = self.segment["values"]

    def operation(self):
        return (self.segment.flush,)

    def verify(self, first, finished):
        found = self.in_file(self.path)
        assert found in ((1, 2) if not finished else (2,)) or not first
        assert self.values["state"] == 2 and self.segment.check() == []
        self.segment.flush(timeout=SOON)
        assert self.in_file(self.path) == 2
        return "before" if found == 1 else "after"


class FirstOpen(_InFile):
    """After a reboot: live memory is made from the file."""

    name = "segment.open from a file"

    def create(self):
        super().create()
        self.values.close()
        self.segment.close()
        ipcsys.Segment.remove(self.tag)

    def attach(self):
        _core.owner()

    def operation(self):
        return (lambda: ipcsys.Segment(self.tag, path=self.path, create=False),)

    def verify(self, first, finished):
        if not hasattr(self, "segment") or self.segment.closed:
            self.segment = ipcsys.Segment(self.tag, path=self.path, create=False)
            self.values = self.segment["values"]
        assert self.values["state"] == 1 and self.segment.check() == []
        self.values["state"] = 2
        self.segment.flush(timeout=SOON)
        assert self.in_file(self.path) == 2
        self.values["state"] = 1


class Create(_InFile):
    """Neither file nor live memory is there."""

    name = "segment.create in a file"

    def create(self):
        _core.owner()

    attach = create

    def operation(self):
        return (lambda: ipcsys.Segment(self.tag, "128 KiB", path=self.path),)

    def verify(self, first, finished):
        existed = os.path.exists(self.path)
        assert existed or not (first and finished)
        self.segment = ipcsys.Segment(self.tag, "128 KiB", path=self.path)
        self.values = self.segment.find_or_construct(ipcsys.SharedMap, "values")
        self.values["state"] = 3
        self.segment.flush(timeout=SOON)
        assert self.in_file(self.path) == 3
        return "after" if existed else "before"


class Snapshot(_InFile):
    name = "segment.snapshot"

    def attach(self):
        self.segment = ipcsys.Segment(self.tag, create=False)

    def operation(self):
        return self.segment.snapshot, f"{self.path}.snapshot"

    def verify(self, first, finished):
        target = f"{self.path}.snapshot"
        existed = os.path.exists(target)
        assert existed or not (first and finished)
        if existed:
            assert self.in_file(target) == 1
            os.unlink(target)
        self.segment.snapshot(target, timeout=SOON)
        assert self.in_file(target) == 1
        ipcsys.Segment.remove(path=target)
        return "after" if existed else "before"
