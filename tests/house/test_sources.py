# SPDX-License-Identifier: Apache-2.0
"""Sizes, licence lines and byte maps of the sources."""

import re

import pytest
from csource import ROOT, CFile, sources

MAX_FUNCTION, MAX_C, MAX_H = 60, 600, 250
SPDX = "SPDX-License-Identifier: Apache-2.0"

EXCUSED_FUNCTIONS: dict[str, str] = {}  # "room/file.c:function": why it is longer

_SHM = re.compile(r"\}\s*(?:__attribute__\s*\(\(.*?\)\)\s*)?(\w+_shm)\s*;|struct\s+(\w+_shm)\s*\{")


def size_faults(file: CFile) -> list[str]:
    limit = MAX_H if file.path.suffix == ".h" else MAX_C
    faults = []
    if len(file.lines) > limit:
        faults.append(f"{file.label}: {len(file.lines)} lines, at most {limit}")
    for function in file.functions:
        if function.length > MAX_FUNCTION and f"{file.label}:{function.name}" not in EXCUSED_FUNCTIONS:
            faults.append(f"{file.label}:{function.first}: {function.name} has {function.length} lines")
    return faults


def map_faults(file: CFile) -> list[str]:
    shared = sorted({m[1] or m[2] for m in _SHM.finditer(file.plain)})
    asserted = " ".join(re.findall(r"_Static_assert\s*\((.*?);", file.plain, re.DOTALL))
    return [
        f"{file.label}: no _Static_assert on the size of {name}"
        for name in shared
        if not re.search(rf"sizeof\s*\(\s*(?:struct\s+)?{name}\s*\)", asserted)
    ]


@pytest.mark.parametrize("file", sources(), ids=lambda file: file.label)
def test_files_and_functions_stay_readable(file):
    assert size_faults(file) == []


@pytest.mark.parametrize("file", sources(), ids=lambda file: file.label)
def test_shared_bytes_have_an_asserted_size(file):
    assert map_faults(file) == []


def test_every_source_names_its_licence():
    files = [
        path
        for pattern in ("csrc/**/*.[ch]", "tests/**/*.[ch]", "**/*.py", "**/*.pyi")
        for path in ROOT.glob(pattern)
        if not {"build", ".venv", ".git", "node_modules"} & set(path.relative_to(ROOT).parts)
    ]
    assert len(files) > 20
    missing = [
        str(path.relative_to(ROOT))
        for path in files
        if path.stat().st_size and SPDX not in path.read_text(encoding="utf-8")[:300]
    ]
    assert missing == []


def test_long_functions_and_files_are_seen():
    body = "    g();\n" * MAX_FUNCTION
    file = CFile(ROOT / "csrc/sync/x.c", f"static int\nlong_one(int a)\n{{\n{body}}}\n" * 10)
    assert len(size_faults(file)) == 11


def test_a_function_is_measured_from_its_name_to_its_brace():
    text = (
        "/* f(x) { */\n#define M(a) { a\nenum { A, B };\ntypedef struct { int a; } t;\n"
        "static inline int *\nfirst(int a,\n      int b)\n{\n    if (a) { g(\"}\"); }\n}\n"
        "int second(void) { return 0; }\nint table[] = { 1, 2 };\n"
    )
    functions = CFile(ROOT / "csrc/sync/x.c", text).functions
    assert [(f.name, f.length) for f in functions] == [("first", 5), ("second", 1)]


def test_an_unasserted_byte_map_is_seen():
    shm = "typedef struct {\n    int a;\n} ips_x_shm;\n"
    asserted = '_Static_assert(sizeof(ips_x_shm) == 4, "map");\n'
    assert len(map_faults(CFile(ROOT / "csrc/sync/x.h", shm))) == 1
    assert map_faults(CFile(ROOT / "csrc/sync/x.h", shm + asserted)) == []
