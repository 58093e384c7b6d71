# SPDX-License-Identifier: Apache-2.0
"""A segment in a file, opened again after all who used it were killed."""

import os
import shutil
import signal
import tempfile
import time

from ipcsys.bench.contest import Contender, Idle
from ipcsys.bench.pairs import Failed, Pair, context
from ipcsys.bench.report import OURS

_LATE = 60.0  # seconds that any one turn may take
KEYS = 1000


def _make(path, size):
    from ipcsys import Segment, SharedMap

    with Segment(path=path, size=size, max_size=2 * size) as segment:
        segment.construct(SharedMap, "map", {number: 0 for number in range(KEYS)})
        segment.flush()


def _die_inside(path):
    """In the middle of a transaction that has changed every value."""
    from ipcsys import Segment

    segment = Segment(path=path)
    table = segment.find("map")
    with segment.transaction():
        table.update({number: 1 for number in range(KEYS)})
        os.kill(os.getpid(), signal.SIGKILL)


class _Opener:
    """Opens, looks a key up, closes; only the first two are timed."""

    def __init__(self, path):
        self._path = path

    def open(self):
        import ipcsys  # noqa: F401  its import is no part of an opening

    def run(self):
        from ipcsys import Segment

        start = time.perf_counter_ns()
        segment = Segment(path=self._path)
        table = segment.find("map")
        value = table[KEYS // 2]
        took = time.perf_counter_ns() - start
        table.close()
        segment.close()
        return took, value

    def close(self):
        pass


class Reopening(Contender):
    """Seconds from the path to the first value read."""

    who = OURS

    def __init__(self, size, cpus):
        self._size, self._cpus = size, cpus
        self._folder = self._pair = None

    def open(self):
        self._folder = tempfile.mkdtemp(prefix="ipcsys-bench-")
        self._path = os.path.join(self._folder, "segment")
        self._run(_make, self._path, self._size, ends=0)
        self._pair = Pair(_Opener(self._path), Idle(), self._cpus)

    def _run(self, work, *arguments, ends):
        process = context().Process(target=work, args=arguments)
        process.start()
        process.join(_LATE)
        if process.exitcode != ends:
            raise Failed(f"{work.__name__} ended with {process.exitcode}")
        process.close()

    def measure(self):
        self._run(_die_inside, self._path, ends=-signal.SIGKILL)
        took, value = self._pair.run((), (), _LATE)[0]
        if value != 0:
            raise Failed("what was never committed is there")
        return took * 1e-9

    def close(self):
        if self._pair is not None:
            self._pair.close()
        if self._folder is not None:
            from ipcsys import Segment

            if os.path.exists(self._path):
                Segment.remove(path=self._path)
            shutil.rmtree(self._folder, ignore_errors=True)
