# SPDX-License-Identifier: Apache-2.0
"""What the kinds of damaged files have in common."""

import contextlib
import time

import ipcsys

AT_WORK = 0.15  # seconds that each process works on what is scribbled into
# What a damaged object may answer beside the package's own errors: the
# builtins that a wrong answer without any error would lead to as well.
ANSWERS = (ipcsys.Error, KeyError, IndexError)


class Target:
    """One kind of file: how it is built, and how it is used."""

    name = ""
    file = ""  # under the namespace's folder

    def build(self):
        """Make objects with something in them; killed right after."""

    def open(self):
        """Open them."""

    def exercise(self, thing):
        """Use what open() gave, in a bounded time."""

    def leave(self, thing):
        """Close and remove it."""

    def use(self):
        thing = self.open()
        self.exercise(thing)
        self.leave(thing)

    def work(self):
        """The same, but again and again."""
        thing, limit = self.open(), time.monotonic() + AT_WORK
        while time.monotonic() < limit:
            with contextlib.suppress(*ANSWERS):
                self.exercise(thing)
        self.leave(thing)
