# SPDX-License-Identifier: Apache-2.0
"""Damaged files: right answers or the package's errors, never a crash or a hang.

More of it: python -m ipcsys.testing.hostility --tries 10000, and with --live"""

import json
import subprocess
import sys

import pytest

from ipcsys.testing import hostility

TRIES, SECONDS = 150, 3


def shoot(name, tries, *options):
    done = subprocess.run(
        [sys.executable, "-m", "ipcsys.testing.hostility", "--op", name, "--json",
         "--tries", str(tries), "--seconds", str(SECONDS), *options],
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.stdout, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(findings["failures"] == [] for findings in found), found
    return found


@pytest.mark.parametrize("name", sorted(hostility.every()))
def test_damaged_bytes_never_crash_or_hang(name):
    for findings in shoot(name, TRIES):
        assert findings["tries"] > 5 and findings["refused"] > 0


@pytest.mark.parametrize("name", ["segment", "queue", "deque", "map", "record", "cells", "semaphore"])
def test_a_peer_that_scribbles_while_others_work_neither_crashes_nor_stops_them(name):
    for findings in shoot(name, TRIES, "--live"):
        assert findings["tries"] > 5
