# SPDX-License-Identifier: Apache-2.0
"""Each run has its own folder of namespaces, each test its own namespace in it.

Both stand in os.environ, so that child processes find them too.  The namespace
and the look for what a test left there are our own plugin's: ipcsys.testing.
Most tests are clearer without the removal of their names, so that is done here:
of each that nobody uses any more.  One that is still in use is the test's fault.
"""

import gc
import os
import shutil
import signal
import tempfile

import pytest

import ipcsys
from ipcsys import _core

_ROOT = tempfile.mkdtemp(prefix="ipcsys-test-", dir=os.environ.get("IPCSYS_TEST_DIR", "/dev/shm"))
os.environ["IPCSYS_DIR"] = _ROOT
os.environ["IPCSYS_NAMESPACE"] = "collection"
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in a shell's background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children have Ctrl-C again


def pytest_unconfigure(config):
    shutil.rmtree(_ROOT, ignore_errors=True)


@pytest.fixture(autouse=True)
def namespace(ipcsys_namespace, request):
    """The name of this test's own namespace."""
    yield ipcsys_namespace
    folder = _core.folder(ipcsys_namespace)
    if _names(folder):
        request.node.funcargs = {}  # pytest keeps what fixtures gave until later
        if not _remove_names(folder, ipcsys_namespace):
            gc.collect()
            _remove_names(folder, ipcsys_namespace)


def _names(folder):
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]
    except FileNotFoundError:
        return []


def _remove_names(folder, namespace):
    """Those that no living process uses; false where there were others."""
    _core.sweep(namespace)
    for name in _names(folder):
        try:
            _core.remove_object(name, namespace)
        except ipcsys.InUse:
            pass  # the plugin tells of it
        except ipcsys.InvalidName:
            os.unlink(os.path.join(folder, name))  # no object of ours
    return not _names(folder)


@pytest.fixture
def namespace_folder(namespace):
    """The folder of this test's namespace."""
    return _core.folder(namespace)
