# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests of multiprocessing's data and locks, run on ipcsys.mp."""

import json
import subprocess
import sys

import pytest

suites = pytest.importorskip(
    "test._test_multiprocessing", reason="this Python comes without its tests"
)
import mp_suites  # noqa: E402

METHODS = ["fork", "spawn", "forkserver"]
DEADLINE = 100

# Tests that ask for what ours does not have, and why nobody misses it.
NO_FEEDER = "there is no feeder thread: what cannot be pickled raises in put() itself"
EXCUSED = {
    "_TestQueue.test_queue_feeder_donot_stop_onexc": NO_FEEDER,
    "_TestQueue.test_queue_feeder_on_queue_feeder_error": NO_FEEDER,
    "TestSimpleQueue.test_closed": "looks at private pipes, and there are none",
}
if hasattr(suites._TestQueue, "test_closed_queue_empty_exceptions"):  # 3.13
    EXCUSED["_TestQueue.test_closed_queue_empty_exceptions"] = (
        "wants a queue that was closed unused to go on: ours says that it is closed"
    )


def excused_of(suite):
    return [name for name in mp_suites.names_of(suite) if f"{suite}.{name}" in EXCUSED]


@pytest.mark.parametrize("suite", mp_suites.SUITES)
@pytest.mark.parametrize("method", METHODS)
def test_cpythons_own_tests_pass(method, suite):
    left_out = excused_of(suite)
    done = subprocess.run(
        [sys.executable, "-m", "mp_suites", method, suite, *left_out],
        capture_output=True, text=True, timeout=DEADLINE, cwd=mp_suites.FOLDER,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert sorted([*found["ran"], *left_out]) == sorted(mp_suites.names_of(suite))
    assert found["ran"] and found["skipped"] == {}
    for trace in found["failed"].values():
        pytest.fail(trace)


def test_every_excuse_names_a_test():
    known = {f"{suite}.{name}" for suite in mp_suites.SUITES for name in mp_suites.names_of(suite)}
    assert set(EXCUSED) <= known
