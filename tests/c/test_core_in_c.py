# SPDX-License-Identifier: Apache-2.0
"""The programs of this folder: the core without Python, under sanitizers."""

from pathlib import Path

import core_in_c
import pytest

PROGRAMS = [
    pytest.param(test, variant, id=f"{test.stem}-{variant}")
    for variant in core_in_c.VARIANTS
    for test in sorted(core_in_c.TESTS.glob("*_test.c"))
    if variant in core_in_c.variants_of(test)
]


@pytest.fixture(scope="module")
def archive_of(tmp_path_factory):
    """The core as an archive, built once for each sanitizer that is asked for."""
    folder, made = tmp_path_factory.mktemp("core"), {}

    def of(variant):
        if variant not in made:
            made[variant] = core_in_c.library(variant, folder)
        return made[variant]

    return of


@pytest.mark.timeout(400)  # the first one builds the archive, on a machine that may be busy
@pytest.mark.parametrize(("test", "variant"), PROGRAMS)
def test_the_core_keeps_its_promises_without_python(test, variant, archive_of, tmp_path):
    core_in_c.run(core_in_c.program(test, variant, archive_of(variant), tmp_path))


FAULTS = {
    "address": "#include <stdlib.h>\nint main(void) { char *volatile p = malloc(8); free(p); return p[1]; }",
    "undefined": "int main(int n, char **v) { (void)v; return (0x7fffffff + n) & 1; }",
    "leak": "#include <stdlib.h>\nchar *volatile p;\n"
    "int main(void) { p = malloc(8); p = 0; return 0; }",
    "thread": "#include <pthread.h>\nint g;\n"
    "static void *add(void *p) { g++; return p; }\n"
    "int main(void) { pthread_t t; pthread_create(&t, 0, add, 0); g++; pthread_join(t, 0);"
    " return 0; }",
    "silence": "int main(void) { return 0; }",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_runner_sees_a_planted_fault(fault, tmp_path, monkeypatch):
    monkeypatch.setattr(core_in_c, "KEPT", tmp_path)
    variant = "thread" if fault == "thread" else "address"
    test = tmp_path / "planted_test.c"
    said = "" if fault == "silence" else '__attribute__((constructor)) static void s(void) { puts("ok planted"); }\n'
    test.write_text(f"/* {fault} */\n#include <stdio.h>\n{said}{FAULTS[fault]}\n")
    archive = tmp_path / "empty.a"
    archive.write_bytes(b"!<arch>\n")
    monkeypatch.setattr(core_in_c, "ROOT", Path("/"))
    target = core_in_c.program(test, variant, archive, tmp_path)
    with pytest.raises(AssertionError, match="ended with"):
        core_in_c.run(target)
