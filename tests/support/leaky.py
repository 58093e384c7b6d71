# SPDX-License-Identifier: Apache-2.0
"""Carriers and sides that misbehave, importable by the processes that the benchmark spawns."""

import os
import time

from ipcsys.bench.carriers import Pipe


class Doubling(Pipe):
    """Sends the last message of a chunk in place of the first: as many, but not the same."""

    name = "doubling"
    put = "send_bytes(chunk[-1] if data is chunk[0] else data)"


class Losing(Pipe):
    """Loses the first message of each chunk."""

    name = "losing"
    put = "data is chunk[0] or send_bytes(data)"


class Side:
    """A side that answers with what it was told, and does what it was told before that."""

    def open(self):
        pass

    def run(self, what):
        if what == "raise":
            raise RuntimeError("no paper left")
        if what == "die":
            os._exit(3)
        if what == "hang":
            time.sleep(60)
        if what == "affinity":
            return os.getpid(), os.sched_getaffinity(0)
        return what

    def close(self):
        pass
