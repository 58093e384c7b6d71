# SPDX-License-Identifier: Apache-2.0
"""The public face: sorted, complete, documented, typed, and quick to import."""

import ast
import inspect
import pathlib
import pickle
import re
import statistics
import subprocess
import sys

import pytest

import ipcsys
from ipcsys import _core, errors

STUB = pathlib.Path(ipcsys.__file__).with_name("_core.pyi")
IMPORT_LIMIT = 0.015  # seconds of CPU above a bare interpreter: others' load does not count
HEAVY = {"asyncio", "multiprocessing", "numpy", "dataclasses", "typing", "uuid", "msgpack", "click"}


def stub_names(body):
    """Names that a stub defines, apart from its own type variables and aliases."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name, node
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) != "TypeAlias":
            yield node.target.id, node


def runtime_names(owner):
    return {name for name in vars(owner) if not (name.startswith("__") and name.endswith("__"))}


@pytest.mark.parametrize("module", [ipcsys, errors], ids=["ipcsys", "errors"])
def test_all_is_sorted_and_complete(module):
    assert module.__all__ == sorted(set(module.__all__))
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_the_package_shows_every_error():
    assert set(errors.__all__) <= set(ipcsys.__all__)


def test_what_is_public_says_it_comes_from_the_package():
    strangers = [
        f"{value.__module__}.{name}"
        for name in ipcsys.__all__
        if not (value := getattr(ipcsys, name)).__module__.startswith("ipcsys")
    ]
    assert strangers == []


def test_unknown_names_raise_attribute_error():
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        ipcsys.nothing_of_that_name  # noqa: B018
    assert set(ipcsys.__all__) <= set(dir(ipcsys))


def test_stub_and_extension_have_the_same_names():
    stub = dict(stub_names(ast.parse(STUB.read_text(encoding="utf-8")).body))
    assert set(stub) == runtime_names(_core)


def test_stub_and_extension_have_the_same_members():
    for name, node in stub_names(ast.parse(STUB.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.ClassDef):
            stub = {n for n, _ in stub_names(node.body) if not n.startswith("__")}
            assert stub == runtime_names(getattr(_core, name)), name


def callables():
    for name, value in sorted(vars(_core).items()):
        if inspect.isclass(value) and not issubclass(value, BaseException):
            yield name, value
            for member, function in sorted(vars(value).items()):
                if not member.startswith("_") and callable(function):
                    yield f"{name}.{member}", function
        elif inspect.isbuiltin(value) and not name.startswith("_"):
            yield name, value


@pytest.mark.parametrize(
    ("name", "value"), list(callables()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_each_callable_has_a_docstring_and_a_text_signature(name, value):
    assert (value.__doc__ or "").strip()
    assert value.__text_signature__


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "Error"])
def test_the_error_tree_in_the_docstring_is_the_tree(name):
    drawn = re.search(rf"── {name}( \(([\w., ]+)\))?(\s|$)", errors.__doc__)
    assert drawn, f"{name} is not drawn"
    bases = {base.__name__ for base in getattr(errors, name).__mro__}
    for base in (drawn[2] or "Error").split(", "):
        assert base.rpartition(".")[2] in bases


def test_each_status_of_the_core_has_its_class():
    table = (pathlib.Path(ipcsys.__file__).parents[1] / "csrc/base/status.h").read_text()
    classes = re.findall(r"X\(\w+,\s+(\w+),\s+\"", table)
    assert len(classes) > 20
    assert set(classes) <= set(errors.__all__)


def test_errors_survive_a_pickle_with_their_text():
    with pytest.raises(ipcsys.NotFound) as caught:
        ipcsys.Lock(name="door", create=False)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is ipcsys.NotFound and str(copy) == str(caught.value)
    assert copy.errno == 2 and "[Errno" not in str(copy)


def test_the_import_brings_nothing_heavy():
    code = "import sys, ipcsys; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert {name.partition(".")[0] for name in out.stdout.split()} & HEAVY == set()


def test_the_import_is_quick():
    def seconds(code):
        start = f"import sys, time; sys.path[:0] = {sys.path!r}; t = time.process_time(); "
        out = subprocess.run(
            [sys.executable, "-S", "-c", f"{start}{code}; print(time.process_time() - t)"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return float(out.stdout)

    seconds("import ipcsys")  # compile once
    took = []
    while len(took) < 7 or (min(took) >= IMPORT_LIMIT and len(took) < 40):  # a busy machine
        took.append(seconds("import ipcsys"))
    assert min(took) < IMPORT_LIMIT, f"median {statistics.median(took) * 1e3:.1f} ms"
