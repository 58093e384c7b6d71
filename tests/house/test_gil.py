# SPDX-License-Identifier: Apache-2.0
"""No Python runs while a core lock is held.

A thread that takes the GIL, allocates, or drops a reference under a core lock
can wait for a thread that waits for the lock, and one that the interpreter
ends there leaves it held in a living process.  Between the call that takes
and the call that gives back, in one function of bind/, no name of Python's C
API may stand.  The branch that a failed take enters is free to raise.
"""

import re

import pytest
from csource import CSRC, CFile, Function, sources

# What a function of bind/ takes, and what gives it back.
PAIRS = [
    (r"ips_lock_(?:try|acquire|try_or_take_over)", r"ips_lock_leave"),
    (r"ips_tx_begin", r"ips_tx_(?:commit|abort)"),
    (r"pthread_mutex_lock", r"pthread_mutex_unlock"),
]
# Types and constants; every other name of the API can run code or block.
HARMLESS = re.compile(
    r"Py(?:_ssize_t|Object|TypeObject|Bytes_AS_STRING|Bytes_GET_SIZE|_None|_True|_False|_SIZE"
    r"|ByteArray_AS_STRING|Tuple_GET_ITEM|Tuple_GET_SIZE|_buffer)\b"
)

EXCUSED: dict[str, str] = {}  # "bind/file.c:function": why Python may run there


def failure_branches(body: str):
    """Spans of `if (...) {...}` blocks that test a failure and leave."""
    for match in re.finditer(r"\bif\s*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\s*\{", body):
        if not re.search(r"<\s*0|!=\s*(?:0|IPS_OK)|==\s*IPS_E|!\s*ips_lock_try", match.group()):
            continue
        depth, at = 1, match.end()
        while depth and at < len(body):
            depth += {"{": 1, "}": -1}.get(body[at], 0)
            at += 1
        if re.search(r"\b(?:return|goto|break|continue)\b", body[match.end() : at]):
            yield match.end(), at


def lock_faults(file: CFile) -> list[str]:
    faults = []
    for function in file.functions:
        if f"{file.label}:{function.name}" not in EXCUSED:
            faults += [f"{file.label}:{at}" for at in python_under_lock(function)]
    return sorted(set(faults))


def python_under_lock(function: Function):
    body = function.body
    free = list(failure_branches(body))
    for take, give in PAIRS:
        for taken in re.finditer(rf"\b{take}\s*\(", body):
            given = re.compile(rf"\b{give}\s*\(").search(body, taken.end())
            if not given:
                continue
            for name in re.finditer(r"\b_?Py[A-Z_]\w*", body[: given.start()]):
                if name.start() < taken.end() or HARMLESS.match(name.group().lstrip("_")):
                    continue
                if not any(first <= name.start() < last for first, last in free):
                    yield (
                        f"{function.body_line + body.count(chr(10), 0, name.start())}: "
                        f"{name.group()} between {taken.group()}) and {given.group()})"
                    )


@pytest.mark.parametrize(
    "file", [file for file in sources() if file.room == "bind"], ids=lambda file: file.label
)
def test_no_python_under_a_core_lock(file):
    assert lock_faults(file) == []


def faults_of(body: str) -> list[str]:
    return lock_faults(CFile(CSRC / "bind" / "x.c", f"static int\nf(t *x)\n{{\n{body}}}\n"))


@pytest.mark.parametrize(
    "inside",
    ["Py_DECREF(x);", "PyObject *y = PyLong_FromLong(1);", "PyGILState_Ensure();",
     "Py_END_ALLOW_THREADS", "if (x) { PyErr_NoMemory(); }"],
)  # fmt: skip
def test_python_between_take_and_leave_is_seen(inside):
    assert len(faults_of(f"ips_lock_acquire(x, s, d);\n{inside}\nips_lock_leave(x);\n")) == 1


@pytest.mark.parametrize(
    "body",
    ["PyLong_FromLong(1);\nips_lock_try(x, me);\ny = 1;\nips_lock_leave(x);\nPy_DECREF(x);\n",
     "if (ips_tx_begin(x, d) < 0) {\n return PyErr_NoMemory();\n}\nips_tx_commit(x);\n",
     "ips_lock_acquire(x, s, d);\nreturn PyBool_FromLong(1);\n"],
)  # fmt: skip
def test_python_outside_is_allowed(body):
    assert faults_of(body) == []
