# SPDX-License-Identifier: Apache-2.0
"""The core and its tests in C on other machines and another C library.

    python tests/support/platforms.py                 all that this machine has tools for
    python tests/support/platforms.py musl s390x      these

Debian's packages: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross,
gcc-s390x-linux-gnu, libc6-dev-s390x-cross, qemu-user-static, musl-tools.
Programs are linked statically.  The foreign ones run under qemu, which has no
robust lists (so no bells: deaths are found by the bound of a park), no
futex_waitv, and only as much reordering of memory as this machine has: what it
shows is alignment, byte order and the compiler's code.
"""

import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import core_in_c

MACHINE = platform.machine()
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-fno-strict-aliasing", "-Wall", "-Wextra",
         "-Wshadow", "-Werror", "-Wno-maybe-uninitialized", "-I", str(core_in_c.CSRC),
         "-pthread"]  # fmt: skip
# Where Debian keeps the kernel's headers, which musl brings with it elsewhere.
KERNEL = ["-idirafter", "/usr/include", "-idirafter", f"/usr/include/{MACHINE}-linux-gnu"]
# name: compiler, what runs its programs, more flags
TARGETS = {
    "musl": ("musl-gcc", [], KERNEL),
    "aarch64": ("aarch64-linux-gnu-gcc", ["qemu-aarch64-static"], []),
    "s390x": ("s390x-linux-gnu-gcc", ["qemu-s390x-static"], []),
}
DEADLINE = 240
EXCUSED: dict[str, dict[str, str]] = {}  # target: {program: why it cannot run there}


def missing(target: str) -> list[str]:
    compiler, runner, _ = TARGETS[target]
    return [tool for tool in [compiler, *runner] if shutil.which(tool) is None]


def core(target: str, folder: Path) -> Path:
    """The rooms below bind/ as one archive."""
    compiler, _, more = TARGETS[target]

    def one(source: Path) -> Path:
        made = folder / f"{source.parent.name}-{source.stem}.o"
        subprocess.run([compiler, *FLAGS, *more, "-c", source, "-o", made], check=True)
        return made

    sources = sorted(path for path in core_in_c.CSRC.glob("*/*.c") if path.parent.name != "bind")
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(one, sources))
    archive = folder / "core.a"
    subprocess.run(["ar", "rcs", archive, *objects], check=True)
    return archive


def program(target: str, test: Path, archive: Path, folder: Path) -> list[str]:
    """The command that runs this test on this target."""
    compiler, runner, more = TARGETS[target]
    made = folder / test.stem
    command = [compiler, *FLAGS, *more, "-static", test, archive, "-o", made, "-lm"]
    subprocess.run(command, check=True)
    return [*runner, str(made)]


def check(target: str, prefixes: list[str]) -> int:
    """How many tests failed on this target."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        archive = core(target, Path(folder))
        for test in sorted(core_in_c.TESTS.glob("*_test.c")):
            if prefixes and not any(test.name.startswith(prefix) for prefix in prefixes):
                continue
            if test.name in EXCUSED.get(target, {}):
                print(f"{test.stem} [{target}] left out: {EXCUSED[target][test.name]}", flush=True)
                continue
            try:
                core_in_c.run(program(target, test, archive, Path(folder)), DEADLINE)
                print(f"{test.stem} [{target}] ok", flush=True)
            except AssertionError as error:
                failed += 1
                print(f"{test.stem} [{target}] FAILED\n{error}", flush=True)
    return failed


def main(words: list[str]) -> int:
    failed = 0
    for target in [word for word in words if word in TARGETS] or list(TARGETS):
        lacking = missing(target)
        if lacking:
            print(f"[{target}] left out: no {', '.join(lacking)} here")
        else:
            failed += check(target, [word for word in words if word not in TARGETS])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
