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


def weather_of(name, seed):
    done = subprocess.run(
        [sys.executable, "-m", "ipcsys.testing.storms", "--op", name, "--json",
         "--seconds", str(SECONDS), "--seed", str(seed)],
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.stdout, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    sound = all(w["failures"] == [] and w["kills"] > 5 and w["operations"] > 5 for w in found)
    return sound, (seed, found, done.stderr)


@pytest.mark.parametrize("name", sorted(storms.every()))
def test_what_a_storm_leaves_adds_up(name):
    # Three seconds on a busy machine may be too few for any kill: once more then.
    sound, first = weather_of(name, time.time_ns() % 2**32)
    if not sound:
        sound, second = weather_of(name, time.time_ns() % 2**32)
        assert sound, (first, second)
