# SPDX-License-Identifier: Apache-2.0
"""Death at chosen points of an operation, for tests of programs that use ipcsys."""

import os
import platform
import select
import signal
import time
import traceback
from typing import NamedTuple

__all__ = ["Death", "kill_at"]

_KINDS = {"events": "event", "instructions": "instruction"}
_COUNTED = b"counted "

last = None  # the Death that was told last: the plugin puts it into the report of a failure


class Death(NamedTuple):
    """Where a process died in the operation, or that it lived to its end.

    `finished` is true where the operation has fewer points than `point`: then
    nobody died, and all of it took place.
    """

    operation: str
    kind: str  # "event" or "instruction"
    point: int  # counted from 1
    finished: bool

    def __str__(self):
        if self.finished:
            return f"{self.operation}, which ended before {self.kind} {self.point}"
        return f"{self.operation}, killed before its {self.kind} {self.point}"


def kill_at(operation, *args, points="events", before=None, timeout=10.0, library=None):
    """Call `operation(*args)` in a forked process again and again, kill it a
    little later each time, and yield a Death after each.

        for death in kill_at(transfer, "a", "b", 5):
            assert accounts["a"] + accounts["b"] == 100, death

    The forked process has copies of all this process has, handles included, and
    nothing but the operation is run there; what it does to shared objects, the
    loop's body looks at here, as a survivor.  `before()` is called here before
    each death, to make things as they were.

    points      "events": before each store to shared memory and each system
                call, one after the other until the operation lives to its end.
                Between two events nobody else can see a difference.
                "instructions": before each instruction of the core, or of the
                shared library whose path is `library`; 70 000 take a second.
                A number: at most so many events, the first and the end among
                them, spread evenly.  The operation is run to its end once, to
                count them.
                An iterable of numbers: these events, counted from 1.
    timeout     seconds that one call may take; AssertionError where it neither
                died nor ended by then.

    An exception of the operation ends the loop with an AssertionError that
    shows it.  Needs x86-64, and Linux 5.11 for events; else NotImplementedError.
    """
    kind = _KINDS[points] if isinstance(points, str) and points in _KINDS else "event"
    if isinstance(points, str) and points not in _KINDS:
        raise ValueError(f"points must be 'events', 'instructions' or numbers, not {points!r}")
    if isinstance(points, bool) or (isinstance(points, int) and points < 1):
        raise ValueError(f"points must be at least 1, not {points!r}")
    if platform.machine() != "x86_64":
        raise NotImplementedError("kill_at needs an x86-64 processor")
    victims = _Victims(operation, args, kind, before, timeout, library)
    return victims.deaths(points)


class _Victims:
    def __init__(self, operation, args, kind, before, timeout, library):
        self._operation, self._args, self._kind = operation, args, kind
        self._before, self._timeout, self._library = before, timeout, library
        self._name = getattr(operation, "__qualname__", None) or repr(operation)

    def deaths(self, points):
        global last
        for point in self._chosen(points):
            finished = self._call(point) is not None
            last = Death(self._name, self._kind, point, finished)
            yield last
            if finished and isinstance(points, str):
                break
        last = None  # the body found nothing wrong

    def _chosen(self, points):
        if isinstance(points, str):
            point = 0
            while True:
                point += 1
                yield point
        elif isinstance(points, int):
            from ipcsys.testing.sweeping import _spread

            yield from _spread(range(1, self._call(0) + 2), points)
        else:
            yield from points

    def _call(self, point):
        """How many points the operation had, None where it died at this one."""
        if self._before is not None:
            self._before()
        here, there = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                self._victim(point, there)
            finally:
                os._exit(1)  # nobody's atexit, no buffer a second time
        os.close(there)
        try:
            return self._verdict(pid, point, here)
        finally:
            os.close(here)

    def _victim(self, point, answers):
        said = _COUNTED
        try:
            from ipcsys._stepper import step
            from ipcsys.testing import stepping

            if self._kind == "event":
                where = None, stepping.shared_memory()
            else:
                where = stepping.text_of(self._library or stepping.core()), None
            said += str(step(self._operation, self._args, *where, point)[1]).encode()
        except BaseException:
            said = traceback.format_exc().encode()
        os.write(answers, said[-60_000:])
        os._exit(0)

    def _verdict(self, pid, point, answers):
        try:
            said = self._hear(point, answers)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        status = os.waitpid(pid, 0)[1]
        if said.startswith(_COUNTED):
            return int(said[len(_COUNTED) :])
        if said or status != signal.SIGKILL:
            why = said.decode(errors="replace") or f"it ended with wait status {status}"
            raise AssertionError(f"{self._name} failed before {self._kind} {point}:\n{why}")
        return None

    def _hear(self, point, answers):
        """What the victim wrote until its end."""
        limit, said = time.monotonic() + self._timeout, b""
        poll = select.poll()  # select() ends at descriptor 1023
        poll.register(answers, select.POLLIN)
        while poll.poll(max(0.0, limit - time.monotonic()) * 1000):
            more = os.read(answers, 65536)
            if not more:
                return said
            said += more
        raise AssertionError(
            f"{self._name} neither died at {self._kind} {point} nor ended"
            f" within {self._timeout:g} s"
        )
