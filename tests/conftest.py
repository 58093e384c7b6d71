# SPDX-License-Identifier: Apache-2.0
"""Each run has its own folder of namespaces, each test its own namespace in it.

Both stand in os.environ, so that child processes find them too.  The namespace
and the look for what a test left there are our own plugin's: ipcsys.testing.
Names may stay, as they go with the namespace, and most tests are clearer
without their removal.
"""

import os
import shutil
import tempfile

import pytest

from ipcsys import _core

_ROOT = tempfile.mkdtemp(prefix="ipcsys-test-", dir=os.environ.get("IPCSYS_TEST_DIR", "/dev/shm"))
os.environ["IPCSYS_DIR"] = _ROOT
os.environ["IPCSYS_NAMESPACE"] = "collection"


def pytest_unconfigure(config):
    shutil.rmtree(_ROOT, ignore_errors=True)


@pytest.fixture(autouse=True)
def namespace(ipcsys_namespace):
    """The name of this test's own namespace."""
    return ipcsys_namespace


@pytest.fixture
def namespace_folder(namespace):
    """The folder of this test's namespace."""
    return _core.folder(namespace)
