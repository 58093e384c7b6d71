# SPDX-License-Identifier: Apache-2.0
"""The core without Python, under sanitizers.

Every tests/c/*_test.c is a program.  It is linked with all rooms of csrc/ but
bind/, built with -fsanitize=address,undefined; where its first lines hold the
word "threads", a second time with -fsanitize=thread.  Objects are kept in
build/c/ under a hash of what went into them, so a second run compiles only
what changed.

    python tests/support/core_in_c.py            all of them
    python tests/support/core_in_c.py lock heap  those whose names start so
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
TESTS = ROOT / "tests" / "c"
KEPT = ROOT / "build" / "c"
KEPT_DAYS = 2

FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-fno-omit-frame-pointer",
         "-fno-strict-aliasing", "-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Wshadow",
         "-Werror", "-Wno-maybe-uninitialized", "-I", str(CSRC), "-pthread"]  # fmt: skip
VARIANTS = {
    "address": ["-fsanitize=address,undefined"],
    # gcc warns that its thread sanitizer does not model fences; the races it
    # then reports are ours to explain, those it misses are for the crash tests.
    "thread": ["-fsanitize=thread", "-Wno-tsan"],
}
ENVIRONMENT = {
    "ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1:handle_abort=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}
DEADLINE = 120  # seconds for one program


def compiler() -> str:
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]


@cache
def _common() -> bytes:
    version = subprocess.run([compiler(), "--version"], check=True, capture_output=True).stdout
    headers = [path.read_bytes() for path in sorted(CSRC.glob("*/*.h"))]
    headers += [path.read_bytes() for path in sorted(TESTS.parent.glob("*/*.h"))]
    return hashlib.sha256(b"\0".join([version, *headers])).digest()


def compiled(source: Path, flags: list[str]) -> Path:
    """The object of a source, compiled unless a kept one will do."""
    key = hashlib.sha256(_common() + source.read_bytes() + " ".join(flags).encode()).hexdigest()
    target = KEPT / f"{source.parent.name}-{source.stem}-{key[:20]}.o"
    if target.exists():
        os.utime(target)
        return target
    KEPT.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}")
    done = subprocess.run(
        [compiler(), *flags, "-c", source, "-o", unfinished], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise AssertionError(f"{source} does not compile:\n{done.stderr}")
    unfinished.rename(target)
    return target


def _forget_old():
    for path in KEPT.glob("*") if KEPT.exists() else ():
        if path.stat().st_mtime < time.time() - KEPT_DAYS * 86400:
            path.unlink(missing_ok=True)


def library(variant: str, folder: Path) -> Path:
    """All rooms below bind/ as one archive, of which a program takes what it uses."""
    sources = sorted(path for path in CSRC.glob("*/*.c") if path.parent.name != "bind")
    flags = FLAGS + VARIANTS[variant]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda source: compiled(source, flags), sources))
    _forget_old()
    archive = folder / f"libcore-{variant}.a"
    archive.unlink(missing_ok=True)
    subprocess.run(["ar", "rcs", archive, *objects], check=True)
    return archive


def variants_of(test: Path) -> list[str]:
    head = "".join(test.read_text().splitlines(keepends=True)[:12])
    return ["address", "thread"] if re.search(r"\bthreads\b", head) else ["address"]


def program(test: Path, variant: str, archive: Path, folder: Path) -> Path:
    flags = FLAGS + VARIANTS[variant]
    target = folder / f"{test.stem}-{variant}"
    subprocess.run(
        [compiler(), *flags, compiled(test, flags), archive, "-o", target, "-lm"], check=True
    )
    return target


def run(target: Path | list[str], deadline: float = DEADLINE) -> str:
    """Run a test program in a namespace folder of its own; its output, or an
    AssertionError that holds it."""
    command = target if isinstance(target, list) else [target]
    name = Path(command[-1]).name
    shared = tempfile.mkdtemp(prefix="ipcsys-c-", dir=os.environ.get("IPCSYS_TEST_DIR", "/dev/shm"))
    try:
        done = subprocess.run(
            command, env={**os.environ, **ENVIRONMENT, "IPCSYS_DIR": shared}, timeout=deadline,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode(errors="replace")
        raise AssertionError(f"{name} did not end in {deadline} s:\n{said}") from None
    finally:
        shutil.rmtree(shared, ignore_errors=True)
    if done.returncode != 0 or not re.search(r"^ok ", done.stdout, re.MULTILINE):
        raise AssertionError(f"{name} ended with {done.returncode}:\n{done.stdout[-6000:]}")
    return done.stdout


def main(prefixes: list[str]) -> int:
    tests = [
        test for test in sorted(TESTS.glob("*_test.c"))
        if not prefixes or any(test.name.startswith(prefix) for prefix in prefixes)
    ]  # fmt: skip
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for variant in VARIANTS:
            wanted = [test for test in tests if variant in variants_of(test)]
            archive = library(variant, Path(folder)) if wanted else None
            for test in wanted:
                started = time.monotonic()
                try:
                    run(program(test, variant, archive, Path(folder)))
                    outcome = "ok"
                except AssertionError as error:
                    outcome, failed = f"FAILED\n{error}", failed + 1
                print(f"{test.stem} [{variant}] {time.monotonic() - started:.1f} s {outcome}")
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
