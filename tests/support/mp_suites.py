# SPDX-License-Identifier: Apache-2.0
"""CPython's mixins of multiprocessing's tests on ipcsys.mp: python -m mp_suites METHOD SUITE.

A program of its own, so that children started by spawn and forkserver find the
classes in its __main__.  Prints one JSON object: what ran, failed, was skipped.
"""

import json
import pathlib
import sys
import unittest

import test._test_multiprocessing as suites

from ipcsys import mp

SUITES = [
    "_TestLock", "_TestSemaphore", "_TestCondition", "_TestEvent", "_TestBarrier", "_TestQueue",
    "TestSimpleQueue", "_TestValue", "_TestArray",
]  # fmt: skip
FOLDER = pathlib.Path(__file__).parent
TYPES = [
    "Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event", "Barrier", "Queue",
    "JoinableQueue", "Value", "Array", "RawValue", "RawArray", "Pipe", "Pool",
]  # fmt: skip

suites.multiprocessing = mp  # for the tests that name the module


class Ours:
    """What suites.ProcessesMixin is, with the types of ipcsys.mp."""

    TYPE = "processes"
    current_process = staticmethod(mp.current_process)
    active_children = staticmethod(mp.active_children)

    def check_invariant(self, condition):
        """The original looks at three private semaphores; its claim: nobody sleeps."""
        self.assertRegex(repr(condition), r", 0\)>$")


def case_of(suite):
    base = getattr(suites, suite)
    bases = (base,) if issubclass(base, unittest.TestCase) else (Ours, base, unittest.TestCase)
    return type(suite, bases, {"__module__": __name__})


for _suite in SUITES:
    globals()[_suite] = case_of(_suite)  # a child looks for its target here


def names_of(suite):
    return unittest.TestLoader().getTestCaseNames(case_of(suite))


def main(method, suite, *left_out):
    mp.set_start_method(method, force=True)
    context = mp.get_context(method)
    Ours.Process = context.Process
    for name in TYPES:
        setattr(Ours, name, staticmethod(getattr(context, name)))
    case, result = globals()[suite], unittest.TestResult()
    names = [name for name in names_of(suite) if name not in left_out]
    unittest.TestSuite(case(name) for name in names).run(result)
    failed = {test.id(): trace for test, trace in result.errors + result.failures}
    skipped = {test.id(): reason for test, reason in result.skipped}
    json.dump({"ran": names, "failed": failed, "skipped": skipped}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
