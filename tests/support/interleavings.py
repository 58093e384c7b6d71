# SPDX-License-Identifier: Apache-2.0
"""All interleavings of the core's locks, as far as the bounds reach.

Each tests/model/*_model.c is a program: scenes for the explorer beside it
(model.h says how it works), linked with the sources of csrc/sync/ as they are.
Each is built twice: "weak" explores what C11 allows on any machine, "x86" the
code and the memory of that one.

    python tests/support/interleavings.py                     the ordinary bounds
    python tests/support/interleavings.py lock event          these programs alone
    python tests/support/interleavings.py --more 1            one preemption more in each scene
    python tests/support/interleavings.py --more 2 --seconds 600   ... each scene at most so long
"""

import argparse
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import core_in_c

MODEL = core_in_c.ROOT / "tests" / "model"
CORE = sorted([*(core_in_c.CSRC / "sync").glob("*.c"), core_in_c.CSRC / "base" / "status.c"])
EXPLORER = [MODEL / f"{part}.c" for part in ("explorer", "memory", "kernel", "stubs")]
PROGRAMS = sorted(path.name.removesuffix("_model.c") for path in MODEL.glob("*_model.c"))

FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-g", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-Wall",
         "-Wextra", "-Wshadow", "-Werror", "-Wno-maybe-uninitialized", "-I", str(core_in_c.CSRC),
         "-I", str(MODEL)]  # fmt: skip
# The sanitizer's calls without its library: stubs.c answers them.
EXPLORED = ["-O1", "-fsanitize=thread", "--param", "tsan-instrument-func-entry-exit=0",
            "-Wno-tsan", "-include", str(MODEL / "preamble.h")]  # fmt: skip
MEMORIES = {"weak": [], "x86": ["-DMODEL_X86"]}


def build(
    name: str, memory: str, folder: Path, changed: dict[str, str] | None = None
) -> Path:
    """The program of these scenes; `changed` gives other text to sources of csrc/sync/."""
    flags = FLAGS + MEMORIES[memory] + (["-w"] if changed else [])
    core = []
    for source in CORE:
        text = (changed or {}).get(source.name)
        if text is not None:
            source = folder / source.name
            source.write_text(text)
        core.append(source)
    work = [(source, flags + EXPLORED) for source in [MODEL / f"{name}_model.c", *core]]
    work += [(source, [*flags, "-O2"]) for source in EXPLORER]
    with ThreadPoolExecutor(2) as pool:
        scenes, *objects = pool.map(lambda one: core_in_c.compiled(*one), work)
    archive, target = folder / f"{name}-{memory}.a", folder / f"{name}-{memory}"
    archive.unlink(missing_ok=True)
    own = objects[len(core) :]
    subprocess.run(["ar", "rcs", archive, *objects[: len(core)]], check=True)
    linked = subprocess.run(
        [core_in_c.compiler(), scenes, *own, archive, "-o", target], capture_output=True, text=True
    )
    # csrc/sync/ calls something new of os/ or member/: tests/model/kernel.c stands for both.
    assert linked.returncode == 0, f"{name} cannot be linked:\n{linked.stderr}"
    return target


def explore(program: Path, *options: str, deadline: float = 300) -> tuple[int, str]:
    """How it ended (0: everything was played and holds; 1: a scene went wrong;
    3: cut short) and what it said."""
    done = subprocess.run([program, *options], timeout=deadline, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description="All interleavings of csrc/sync/.")
    parser.add_argument("programs", nargs="*", help=f"of {', '.join(PROGRAMS)}")
    parser.add_argument("--memory", choices=MEMORIES, help="this one alone")
    parser.add_argument("--scene", help="scenes whose name holds this")
    parser.add_argument("--more", type=int, default=0, help="preemptions beyond each scene's own")
    parser.add_argument("--seconds", type=int, default=0, help="for each scene (0: to the end)")
    chosen = parser.parse_args(words)
    options = ["--more", str(chosen.more), "--seconds", str(chosen.seconds)]
    if chosen.scene:
        options += ["--scene", chosen.scene]
    failed, executions = False, 0
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.programs or PROGRAMS:
            for memory in [chosen.memory] if chosen.memory else MEMORIES:
                program = build(name, memory, Path(folder))
                code, said = explore(program, *options, deadline=10 * 86400)
                print(f"[{memory}]", said.rstrip().replace("\n", f"\n[{memory}] "), flush=True)
                executions += sum(map(int, re.findall(r": (\d+) executions", said)))
                failed = failed or code == 1
    print(f"{executions} executions, {'a scene went wrong' if failed else 'nothing went wrong'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
