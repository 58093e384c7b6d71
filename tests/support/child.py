# SPDX-License-Identifier: Apache-2.0
"""Another Python, in a process of its own, spoken to line by line."""

import os
import signal
import subprocess
import sys
import time

_PRELUDE = """
import os, sys, time
import ipcsys
def say(*words):
    print(*words, flush=True)
def hear():
    return sys.stdin.readline().strip()
"""


class Child:
    """Runs `code`, which may say(...) and hear(); always gone at the end of the with block."""

    def __init__(self, code, *arguments, deadline=20.0):
        self.deadline = deadline
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PRELUDE + code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    @property
    def pid(self):
        return self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(self.deadline)
        self.process.stdin.close()
        self.process.stdout.close()

    def hear(self):
        """The next line it says; '' at its end."""
        return self.process.stdout.readline().strip()

    def expect(self, line):
        heard = self.hear()
        assert heard == line, f"the child said {heard!r}, not {line!r}"

    def say(self, line=""):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def kill(self):
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait(self.deadline)

    def stop(self):
        """SIGSTOP, and wait until it stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        until(lambda: _state_of(self.pid) == "T")

    def go_on(self):
        os.kill(self.pid, signal.SIGCONT)

    def finish(self):
        """Wait for its own end; its status must be 0."""
        status = self.process.wait(self.deadline)
        assert status == 0, f"the child ended with {status}"


def _state_of(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def until(condition, deadline=10.0):
    """Wait until condition() is true; fail after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.002)
