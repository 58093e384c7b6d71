# SPDX-License-Identifier: Apache-2.0
"""Each run has its own folder of namespaces, each test its own namespace in it.

Both stand in os.environ, so that child processes find them too.  After a test
that passed, this process may keep no file of its namespace open or mapped but
the ones whose names start with a dot, which belong to the namespace.
"""

import gc
import itertools
import os
import re
import resource
import shutil
import stat
import tempfile

import pytest

_ROOT = tempfile.mkdtemp(prefix="ipcsys-test-", dir=os.environ.get("IPCSYS_TEST_DIR", "/dev/shm"))
os.environ["IPCSYS_DIR"] = _ROOT
os.environ["IPCSYS_NAMESPACE"] = "collection"
_numbers = itertools.count(1)


def pytest_configure(config):
    # A process keeps two descriptors or so for each namespace it ever joined.
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


def pytest_unconfigure(config):
    shutil.rmtree(_ROOT, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        item.stash[_PASSED] = report.passed
    return report


_PASSED = pytest.StashKey[bool]()


def _held(folder):
    """What this process has open or mapped of the folder, the namespace's own files apart."""
    try:
        own = {entry.inode() for entry in os.scandir(folder) if entry.name.startswith(".")}
    except FileNotFoundError:
        return []
    held = []
    for number in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{number}")
            facts = os.stat(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if f"{folder}/" in path and stat.S_ISREG(facts.st_mode) and facts.st_ino not in own:
            held.append(f"open {path}")
    with open("/proc/self/maps") as maps:
        for line in maps:
            if f"{folder}/" in line and int(line.split()[4]) not in own:
                held.append(f"mapped {line.split(maxsplit=5)[5].strip()}")
    return held


@pytest.fixture(autouse=True)
def namespace(request, monkeypatch):
    """The name of this test's own namespace."""
    name = f"{next(_numbers)}-{re.sub(r'[^A-Za-z0-9_]+', '-', request.node.name)[:60]}"
    monkeypatch.setenv("IPCSYS_NAMESPACE", name)
    folder = os.path.join(_ROOT, name)
    yield name
    if request.node.stash.get(_PASSED, False):
        if _held(folder):
            gc.collect()
        held = _held(folder)
        assert not held, "left open or mapped by the test: " + ", ".join(held)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def namespace_folder(namespace):
    """The folder of this test's namespace."""
    return os.path.join(_ROOT, namespace)
