# SPDX-License-Identifier: Apache-2.0
"""Damaged files: right answers or the package's errors, never a crash or a hang.

More of it: python -m ipcsys.testing.hostility --tries 10000"""

import json
import subprocess
import sys

import pytest

from ipcsys.testing import hostility

TRIES, SECONDS = 250, 6


@pytest.mark.parametrize("name", sorted(hostility.every()))
def test_damaged_bytes_never_crash_or_hang(name):
    done = subprocess.run(
        [sys.executable, "-m", "ipcsys.testing.hostility", "--op", name, "--json",
         "--tries", str(TRIES), "--seconds", str(SECONDS)],
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.stdout, done.stderr
    for findings in map(json.loads, done.stdout.splitlines()):
        assert findings["failures"] == []
        assert findings["tries"] > 20 and findings["refused"] > 0
