# SPDX-License-Identifier: Apache-2.0
"""The machine that measures: two CPUs apart, its description, a folder for the run."""

import contextlib
import fcntl
import os
import platform
import re
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "ipcsys-bench-"
YOUNG = 10.0  # seconds

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/{}"


def topology(cpus):
    """For each CPU (package, core), where the kernel tells."""

    def read(cpu, what):
        try:
            return int(Path(_TOPOLOGY.format(cpu, what)).read_text())
        except (OSError, ValueError):
            return cpu

    return {cpu: (read(cpu, "physical_package_id"), read(cpu, "core_id")) for cpu in cpus}


def choose(places):
    """Two CPUs for a pair: two cores of one package, else any two, else one twice."""
    cpus = sorted(places)
    first = cpus[0]
    package = places[first][0]

    def distance(cpu):
        other_package, core = places[cpu]
        return (places[cpu] == places[first], other_package != package, core, cpu)

    return first, min(cpus[1:], key=distance, default=first)


def pair_of_cpus():
    return choose(topology(os.sched_getaffinity(0)))


def facts(cpus):
    """What a reader of the figures wants to know about where they were taken."""
    model = ""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        model = next(names, "")
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "used": list(cpus),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


@contextlib.contextmanager
def scratch():
    """A root of namespaces for this run alone, removed after it, whatever the run leaves."""
    root = os.environ.get("IPCSYS_DIR") or "/dev/shm"
    os.makedirs(root, mode=0o700, exist_ok=True)
    clear_leftovers(root)
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=root)
    # Held by this process and those it forks: how the next run tells it from a leftover.
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    before = os.environ.get("IPCSYS_DIR")
    os.environ["IPCSYS_DIR"] = folder
    try:
        yield folder
    finally:
        if before is None:
            del os.environ["IPCSYS_DIR"]
        else:
            os.environ["IPCSYS_DIR"] = before
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def clear_leftovers(root):
    """Remove what runs that were killed left in `root`: folders that nobody holds,
    and the files of rivals that carry the number of a process that is no more."""
    for entry in list(os.scandir(root)):
        if not entry.name.startswith(PREFIX):
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                _clear_folder(entry.path)
            elif (owner := re.match(PREFIX + r"(\d+)-\d", entry.name)) and _is_gone(int(owner[1])):
                os.unlink(entry.path)
        except OSError:
            pass  # somebody else's, or gone meanwhile


def _clear_folder(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        facts = os.fstat(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # One that is just being made has yet to be locked.
        if facts.st_uid == os.geteuid() and time.time() - facts.st_mtime > YOUNG:
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(descriptor)


def _is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
