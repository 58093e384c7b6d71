# SPDX-License-Identifier: Apache-2.0
"""Processes killed and stopped at random: what they shared adds up afterwards.

Longer: python -m ipcsys.testing.storms --seconds 600"""

import json
import subprocess
import sys
import time

import pytest

from ipcsys.testing import storms

SECONDS = 3


@pytest.mark.parametrize("name", sorted(storms.every()))
def test_what_a_storm_leaves_adds_up(name):
    seed = time.time_ns() % 2**32
    done = subprocess.run(
        [sys.executable, "-m", "ipcsys.testing.storms", "--op", name, "--json",
         "--seconds", str(SECONDS), "--seed", str(seed)],
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found and all(
        weather["failures"] == []
        and weather["kills"] > storms.FEW
        and weather["operations"] > storms.FEW
        for weather in found
    ), (seed, found, done.stderr)
