# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests of the queue module, run on ours."""

import unittest

import pytest

import ipcsys

theirs = pytest.importorskip("test.test_queue", reason="this Python comes without its tests")

# Tests that ask for what a queue between processes cannot be, and why.
EXCUSED = {
    "QueueTest.test_shrinking_queue": "maxsize is the creator's: it stands in the shared file",
    "BaseSimpleQueueTest.test_references": "puts a local class, which cannot be pickled",
    "CSimpleQueueTest.test_references": "the same test, inherited",
    "CSimpleQueueTest.test_is_default": "about which class the queue module exports",
}
SUITES = [theirs.QueueTest, theirs.BaseSimpleQueueTest, theirs.CSimpleQueueTest]


def ours(suite):
    """The suite with our Queue in the place of theirs."""

    def set_up(self):
        self.type2test = ipcsys.Queue
        self.queue = ipcsys  # for its Queue, Full and Empty
        if suite is theirs.QueueTest:
            theirs.BaseQueueTestMixin.setUp(self)
        else:
            theirs.BaseSimpleQueueTest.setUp(self)

    return type(suite.__name__, (suite, unittest.TestCase), {"setUp": set_up})


def cases():
    for suite in SUITES:
        case = ours(suite)
        for name in unittest.TestLoader().getTestCaseNames(case):
            inherited = suite is theirs.CSimpleQueueTest and name not in vars(suite)
            if not inherited and f"{suite.__name__}.{name}" not in EXCUSED:
                yield pytest.param(case, name, id=f"{suite.__name__}-{name}")


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
        for suite in SUITES
        for name in unittest.TestLoader().getTestCaseNames(suite)
    }
    assert set(EXCUSED) <= known
