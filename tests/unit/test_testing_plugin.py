# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin, in pytests of their own."""

import os
import re
from pathlib import Path

import pytest

import ipcsys

pytest_plugins = "pytester"

GUIDE = Path(__file__).resolve().parents[2] / "docs/guide/testing.md"

PRELUDE = """
import os, subprocess, sys, time
import pytest
import ipcsys
from ipcsys import _core
"""


@pytest.fixture
def run(pytester):
    """Run tests in a pytest of their own; its result."""

    def go(body, *arguments, ini=""):
        pytester.makepyprojecttoml(f"[tool.pytest.ini_options]\n{ini}")
        pytester.makepyfile(PRELUDE + body)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)

    return go


def test_each_test_has_a_namespace_of_its_own_in_the_environment(run, namespace):
    run("""
seen = []

@pytest.mark.parametrize("turn", [1, 2])
def test_it(ipcsys_namespace, turn):
    assert os.environ["IPCSYS_NAMESPACE"] == ipcsys_namespace not in seen
    assert os.path.basename(_core.folder()) == ipcsys_namespace
    seen.append(ipcsys_namespace)
    with ipcsys.Queue(name="jobs", create=True, cleanup="last") as jobs:
        jobs.put(turn)
        code = "import ipcsys; print(ipcsys.Queue(name='jobs', create=False).get(timeout=5))"
        assert subprocess.check_output([sys.executable, "-c", code]) == b"%d\\n" % turn

def test_afterwards():
    assert len(seen) == 2
    assert os.environ["IPCSYS_NAMESPACE"] == OUTER
    assert not [name for name in seen if os.path.exists(_core.folder(name))]
""".replace("OUTER", repr(namespace))).assert_outcomes(passed=3)


def test_a_namespace_that_was_not_set_is_not_set_afterwards(run, monkeypatch):
    monkeypatch.delenv("IPCSYS_NAMESPACE")
    run("""
def test_it(ipcsys_namespace):
    pass

def test_afterwards():
    assert "IPCSYS_NAMESPACE" not in os.environ
""").assert_outcomes(passed=2)


LEAKS = {
    "names": ("ipcsys.Lock(name='door').close()", "the name 'door'"),
    "mapped": ("global keep; keep = ipcsys.Queue(maxsize=3)", "mapped: "),
    "open": (
        "global keep; ipcsys.Lock(name='door').close();"
        " keep = open(os.path.join(_core.folder(), 'door'), 'rb')",
        "open: ",
    ),
    "unnamed": ("global keep; keep = ipcsys.Lock()", "unnamed objects still used: 1"),
    "members": (
        "global keep; keep = subprocess.Popen([sys.executable, '-c',"
        " 'import ipcsys; ipcsys.Lock(); print(1, flush=True); input()'],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE); keep.stdout.readline()",
        "the process python",
    ),
}
AFTER = """
def teardown_module():
    if isinstance(keep, subprocess.Popen):
        keep.communicate(b"go", timeout=20)
keep = None
"""


@pytest.mark.parametrize("kind", LEAKS)
def test_a_test_that_leaves_something_gets_an_error_that_names_it(run, kind):
    code, said = LEAKS[kind]
    done = run(f"{AFTER}\ndef test_it(ipcsys_namespace):\n    {code}\n")
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(["*the test left behind in its namespace:*", f"*{said}*"])
    assert done.ret == 1


@pytest.mark.parametrize("kind", LEAKS)
def test_what_may_stay_is_said_for_one_test_or_for_all(run, kind):
    code, _said = LEAKS[kind]
    also = {"open": ["names"], "members": ["unnamed"]}.get(kind, [])
    kinds = ", ".join(map(repr, [kind, *also]))
    test = f"def test_it(ipcsys_namespace):\n    {code}\n"
    marked = f"{AFTER}\n@pytest.mark.ipcsys_allow_leaks({kinds})\n{test}"
    run(marked, "--strict-markers").assert_outcomes(passed=1)
    run(AFTER + test, ini=f"ipcsys_allow_leaks = [{kinds}]").assert_outcomes(passed=1)


def test_an_unknown_kind_of_leak_is_told(run):
    done = run("""
@pytest.mark.ipcsys_allow_leaks("everything")
def test_it(ipcsys_namespace):
    pass
""")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*'everything' is none of names, open, *"])


def test_a_failed_test_is_not_blamed_for_leaks_too_and_its_namespace_goes(run):
    done = run("""
seen = []
def test_it(ipcsys_namespace):
    seen.append(_core.folder())
    ipcsys.Lock(name="door").close()
    assert False, "my own reason"

def test_afterwards():
    assert not os.path.exists(seen[0])
""")
    done.assert_outcomes(passed=1, failed=1)


def test_a_process_that_is_just_leaving_is_waited_for(run):
    run("""
def test_it(ipcsys_namespace):
    code = "import ipcsys, time; l = ipcsys.Lock(); print(1, flush=True); time.sleep(0.4)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
""", "-W", "ignore").assert_outcomes(passed=1)


def test_the_workers_of_xdist_share_nothing(run):
    pytest.importorskip("xdist")
    done = run("""
@pytest.mark.parametrize("turn", range(8))
def test_it(ipcsys_namespace, turn):
    assert os.environ["PYTEST_XDIST_WORKER"] in ipcsys_namespace
    number = ipcsys.AtomicInt(name="number", create=True, cleanup="last")
    time.sleep(0.05)
    assert number.add(1) in (0, 1) and number.value == 1
    number.close()
""", "-n", "2")
    done.assert_outcomes(passed=8)


def test_more_tests_than_descriptors_are_no_trouble(run):
    done = run("""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 500))

@pytest.mark.parametrize("turn", range(80))
def test_it(ipcsys_namespace, turn):
    ipcsys.Lock()
""")
    done.assert_outcomes(passed=80)


def test_the_plugin_imports_nothing_before_it_is_asked(run):
    run("""
def test_it():
    heavy = {"ipcsys.testing.killing", "ipcsys.testing.leaks", "ipcsys.testing.sweeping",
             "ipcsys._stepper", "multiprocessing"}
    assert heavy & set(sys.modules) == set()
""").assert_outcomes(passed=1)


def test_it_can_be_switched_off(run):
    done = run("def test_it(ipcsys_namespace): pass", "-p", "no:ipcsys")
    done.assert_outcomes(errors=1)


def example():
    """The one test file in the guide."""
    (found,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        if "import" in block
    ]
    return found


def test_the_example_in_the_guide_runs(pytester):
    pytester.makepyfile(example())
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    done.assert_outcomes(passed=2)


def test_our_own_tests_use_it(namespace):
    assert namespace.startswith("pytest-") and f"-{os.getpid()}-" in namespace
    assert ipcsys.Lock(name="here").name in os.listdir(ipcsys._core.folder())
