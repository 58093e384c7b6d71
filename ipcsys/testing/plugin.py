# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin of ipcsys, found by its entry point.

    def test_jobs(ipcsys_namespace):
        jobs = ipcsys.Queue(name="jobs")   # this test's own, whatever else runs

Loaded by every pytest of the environment, so it imports nothing until a test
asks for something.
"""

import itertools
import os
import re
import shutil
import sys

import pytest

_PASSED = pytest.StashKey[bool]()
_numbers = itertools.count(1)


def pytest_addoption(parser):
    parser.addini(
        "ipcsys_allow_leaks",
        "What tests with the fixture ipcsys_namespace may leave behind: "
        "names, open, mapped, unnamed, members.",
        type="args",
        default=[],
    )


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "ipcsys_allow_leaks(*kinds): what this test may leave in its namespace: "
        "names, open, mapped, unnamed, members.",
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if call.when == "call":
        item.stash[_PASSED] = report.passed
    _tell_of_death(report)


def _tell_of_death(report):
    """Where kill_at was when the test failed."""
    killing = sys.modules.get("ipcsys.testing.killing")
    if killing is not None and killing.last is not None:
        if report.failed:
            report.sections.append(("ipcsys.testing.kill_at", f"The last: {killing.last}"))
        killing.last = None


def _leave(namespace):
    """A process keeps three descriptors for each namespace that it does not leave.  It
    cannot while the test has something open there: it failed, or left that on purpose."""
    from ipcsys import InUse, _core

    loops = sys.modules.get("ipcsys.aio.loops")
    if loops is None or loops.may_leave():
        try:
            _core.leave(namespace)
        except InUse:
            pass


def _allowed(request):
    from ipcsys.testing import leaks

    kinds = [*request.config.getini("ipcsys_allow_leaks")]
    for marker in request.node.iter_markers("ipcsys_allow_leaks"):
        kinds += marker.args
    for kind in kinds:
        if kind not in leaks.KINDS:
            raise pytest.UsageError(
                f"ipcsys_allow_leaks: {kind!r} is none of {', '.join(leaks.KINDS)}"
            )
    return kinds


def _name_of(node):
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    test = re.sub(r"[^A-Za-z0-9_]+", "-", node.name)[:60]
    return f"pytest-{worker}-{os.getpid()}-{next(_numbers)}-{test}"


@pytest.fixture
def ipcsys_namespace(request):
    """The name of a namespace that is this test's own, also under xdist.

    While the test runs, IPCSYS_NAMESPACE names it, here and for child
    processes.  Afterwards the namespace is removed.  A test that passed and
    left something behind (a name, an open or mapped file, a process that is
    still in the namespace) gets an error that says what; the ini option and
    the marker `ipcsys_allow_leaks` make exceptions.
    """
    from ipcsys import _core
    from ipcsys.testing import leaks

    allowed, name = _allowed(request), _name_of(request.node)
    folder = _core.folder(name)
    before = os.environ.get("IPCSYS_NAMESPACE")
    os.environ["IPCSYS_NAMESPACE"] = name
    left = []
    try:
        yield name
        request.node.funcargs = {}  # pytest keeps what fixtures gave until later
        if request.node.stash.get(_PASSED, False):
            left = leaks.find(folder, name, allowed)
    finally:
        _leave(name)
        if before is None:
            os.environ.pop("IPCSYS_NAMESPACE", None)
        else:
            os.environ["IPCSYS_NAMESPACE"] = before
        shutil.rmtree(folder, ignore_errors=True)
    if left:
        pytest.fail(
            "the test left behind in its namespace:\n" + "\n".join(f"  {line}" for line in left),
            pytrace=False,
        )
