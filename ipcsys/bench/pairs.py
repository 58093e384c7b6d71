# SPDX-License-Identifier: Apache-2.0
"""Two real processes, each on its CPU, that run their halves of a work on command.

A pair lives through all repeats of its work and sleeps while others have their
turn, so that A B C A B C costs no start-up.  Each side is an object with
`open()`, `run(*arguments)` and `close()`, made in the parent and pickled.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import time
from multiprocessing import connection

_START_SECONDS = 30.0


class Failed(Exception):
    """A side raised, died or did not end in time; the text says which."""


def context():
    """Spawned children inherit no thread, no handle and no lock of the parent's."""
    return multiprocessing.get_context("spawn")


def _serve(control, cpu, side):
    """A side's process: open, then run on command until the parent hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    os.sched_setaffinity(0, {cpu})
    gc.disable()
    try:
        side.open()
        control.send((True, None))
        while True:
            try:
                arguments = control.recv()
            except EOFError:
                break
            control.send((True, side.run(*arguments)))
        side.close()
    except Exception as error:
        with contextlib.suppress(OSError):
            control.send((False, f"{type(error).__name__}: {error}"))
    os._exit(0)  # background threads of a rival must not keep the process


class _Half:
    """The parent's end of one side."""

    def __init__(self, side, cpu):
        self.what = type(side).__name__.lower()
        self.control, theirs = context().Pipe()
        self.process = context().Process(target=_serve, args=(theirs, cpu, side), daemon=True)
        self.process.start()
        theirs.close()

    def command(self, arguments):
        try:
            self.control.send(arguments)
        except OSError:
            raise Failed(self._last_words()) from None

    def answer(self):
        try:
            good, value = self.control.recv()
        except (EOFError, OSError):
            raise Failed(f"the {self.what} died") from None
        if not good:
            raise Failed(f"the {self.what} raised {value}")
        return value

    def _last_words(self):
        with contextlib.suppress(EOFError, OSError):
            if self.control.poll(0):
                good, value = self.control.recv()
                if not good:
                    return f"the {self.what} raised {value}"
        return f"the {self.what} died"

    def close(self):
        self.control.close()
        self.process.join(1.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


def _answers(halves, seconds):
    """What each half answers, in their order; the first failure ends the wait."""
    deadline = time.monotonic() + seconds
    pending = {half.control: half for half in halves}
    answers = {}
    while pending:
        ready = connection.wait(list(pending), max(0.0, deadline - time.monotonic()))
        if not ready:
            names = " and the ".join(half.what for half in pending.values())
            raise Failed(f"the {names} did not end in time: messages lost, or it hangs")
        for control in ready:
            half = pending.pop(control)
            answers[half] = half.answer()
    return [answers[half] for half in halves]


class Pair:
    """Both sides; the second is told to run before the first, and is waiting when that begins."""

    def __init__(self, first, second, cpus):
        self._halves = []
        try:
            for side, cpu in zip((first, second), cpus, strict=True):
                self._halves.append(_Half(side, cpu))
            _answers(self._halves, _START_SECONDS)
        except BaseException:
            self.close()
            raise

    def run(self, first, second, seconds):
        """Run both halves with their arguments; (first's result, second's result)."""
        for half, arguments in zip(reversed(self._halves), (second, first), strict=True):
            half.command(arguments)
        return tuple(_answers(self._halves, seconds))

    @property
    def pids(self):
        return tuple(half.process.pid for half in self._halves)

    def close(self):
        for half in self._halves:
            half.close()
        self._halves = []

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.close()
