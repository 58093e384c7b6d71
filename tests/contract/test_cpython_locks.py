# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests of threading's primitives, run on ours."""

import unittest

import pytest

import ipcsys

lock_tests = pytest.importorskip("test.lock_tests", reason="this Python comes without its tests")

# Tests that ask for what a primitive between processes cannot be, and why.
EXCUSED = {
    "test_at_fork_reinit": "a private hook that frees a lock in a forked child; ours is shared "
    "with the parent, who may hold it",
}
if hasattr(lock_tests.RLockTests, "test_recursion_count"):
    EXCUSED["ConditionAsRLockTests.test_recursion_count"] = (
        "a condition does not lend _recursion_count() in CPython either, which skips this itself"
    )


SUITES = [
    (lock_tests.LockTests, "locktype", ipcsys.Lock),
    (lock_tests.RLockTests, "locktype", ipcsys.RLock),
    (lock_tests.ConditionTests, "condtype", ipcsys.Condition),
    # As CPython's test_threading has it: a condition lends its lock's methods.
    (type("ConditionAsRLockTests", (lock_tests.RLockTests,), {}), "locktype", ipcsys.Condition),
    (lock_tests.EventTests, "eventtype", ipcsys.Event),
    (lock_tests.BarrierTests, "barriertype", ipcsys.Barrier),
    (lock_tests.SemaphoreTests, "semtype", ipcsys.Semaphore),
    (lock_tests.BoundedSemaphoreTests, "semtype", ipcsys.BoundedSemaphore),
]


def excused(suite, name):
    return name in EXCUSED or f"{suite.__name__}.{name}" in EXCUSED


def cases():
    for suite, attribute, kind in SUITES:
        members = {"__module__": __name__, attribute: staticmethod(kind)}
        ours = type(suite.__name__, (suite, unittest.TestCase), members)
        for name in unittest.TestLoader().getTestCaseNames(ours):
            if not excused(suite, name):
                yield pytest.param(ours, name, id=f"{suite.__name__}-{name}")


@pytest.mark.parametrize(("suite", "name"), list(cases()))
def test_cpythons_own_test_passes(suite, name):
    result = unittest.TestResult()
    suite(name).run(result)
    assert result.testsRun == 1
    for _, trace in result.errors + result.failures:
        pytest.fail(trace)


def test_every_excuse_names_a_test():
    known = {
        f"{suite.__name__}.{name}"
        for suite, _attribute, _kind in SUITES
        for name in unittest.TestLoader().getTestCaseNames(suite)
    }
    for name in EXCUSED:
        assert any(test == name or test.endswith(f".{name}") for test in known), name
