# SPDX-License-Identifier: Apache-2.0
"""Forked processes that play a part and answer: what `sweeping` casts its scenes with."""

import contextlib
import ctypes
import faulthandler
import json
import os
import select
import signal
import time
import traceback

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl


def die_with_parent():
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Stuck(Exception):
    """It ended, or (`late`) it did not answer in time."""

    def __init__(self, what, late=False):
        super().__init__(what)
        self.late = late


class Log:
    """What actors write when they fail: one memory file for all of a stage's."""

    def __init__(self):
        self._file = os.memfd_create("log")
        faulthandler.enable(self._file, all_threads=True)

    def clear(self):
        if os.fstat(self._file).st_size:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)  # theirs too: they share the offset

    def write(self, text):
        os.write(self._file, text.encode())

    def read(self):
        return os.pread(self._file, 65536, 0).decode(errors="replace")


class Actor:
    """A forked process that plays `part(hear, say)`: hear() gives the next order,
    None at the end of them, and say(answer) answers.  Both are JSON lines."""

    def __init__(self, part, log):
        here, there = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _play(part, log, there[0], here[1])
        os.close(there[0])
        os.close(here[1])
        self._lines = _Lines(here[0])
        self._to = there[1]

    def tell(self, *order):
        with contextlib.suppress(BrokenPipeError):
            os.write(self._to, json.dumps(order).encode() + b"\n")

    def hear(self, seconds):
        """The next answer; Stuck where it is late or the process ended."""
        limit = time.monotonic() + seconds
        while (answer := self._lines.next()) is None:
            left = limit - time.monotonic()
            if left <= 0 or not select.select([self._lines.file], [], [], left)[0]:
                os.kill(self.pid, signal.SIGABRT)  # faulthandler writes where it stands
                raise Stuck(f"no answer in {seconds:g} s", late=True)
            if not self._lines.more():
                raise Stuck("it ended")
        return answer

    def end(self):
        """Kill it where it still lives; its wait status."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        status = os.waitpid(self.pid, 0)[1]
        self.pid = 0
        os.close(self._lines.file)
        os.close(self._to)
        return status

    def wait(self, seconds):
        """Its wait status once it ended by itself; Stuck where it does not."""
        descriptor = os.pidfd_open(self.pid)
        try:
            if not select.select([descriptor], [], [], seconds)[0]:
                os.kill(self.pid, signal.SIGABRT)
                raise Stuck(f"still running after {seconds:g} s", late=True)
        finally:
            os.close(descriptor)
        return self.end()


class _Lines:
    def __init__(self, file):
        self.file = file
        self._rest = b""

    def next(self):
        """The next whole line, as what it says; None where it is not there yet."""
        line, end, rest = self._rest.partition(b"\n")
        if not end:
            return None
        self._rest = rest
        return json.loads(line)

    def more(self):
        more = os.read(self.file, 65536)
        self._rest += more
        return bool(more)


def _play(part, log, orders, answers):
    code = 1
    lines = _Lines(orders)

    def hear():
        while (order := lines.next()) is None:
            if not lines.more():
                return None
        return order

    def say(answer):
        os.write(answers, json.dumps(answer).encode() + b"\n")

    try:
        die_with_parent()
        part(hear, say)
        code = 0
    except BaseException:
        log.write(traceback.format_exc())
    finally:
        os._exit(code)  # nobody's atexit, no buffer a second time
