# SPDX-License-Identifier: Apache-2.0
"""The arrows between the rooms of csrc/: who may see whom, and the kernel."""

import re

import pytest
from csource import CSRC, CFile, sources

FLOORS = {
    "base": 0,
    "os": 1,
    "codec": 1,
    "member": 2,
    "sync": 3,
    "segment": 4,
    "metrics": 4,
    "data": 5,
    "message": 5,
    "service": 6,
    "bind": 7,
}

# Headers of the language, and of what C libraries do without asking the kernel.
PURE_HEADERS = {
    "ctype.h", "errno.h", "float.h", "inttypes.h", "limits.h", "math.h", "pthread.h",
    "signal.h", "stdarg.h", "stdatomic.h", "stdbool.h", "stddef.h", "stdint.h", "stdio.h",
    "stdlib.h", "string.h", "time.h",
}  # fmt: skip
KERNEL_CALLS = (
    "accept4?|access|bind|clock_gettime|clock_nanosleep|close|connect|creat|dup[23]?|epoll_\\w+"
    "|eventfd|execv\\w*|f(?:chmod|chown|cntl|datasync|lock|stat|statat|sync|truncate|allocate)"
    "|fork|get(?:e?[ug]id|pid|ppid|random|rlimit|tid)|ioctl|kill|l?stat|link(?:at)?|listen|lseek"
    "|madvise|memfd_create|mkdir(?:at)?|mkfifo(?:at)?|mlock|mmap|mprotect|mremap|msync|munmap"
    "|nanosleep|open(?:at|dir)?|pipe2?|poll|posix_fallocate|prctl|p?readv?|p?writev?|ptrace|raise"
    "|readdir|readlink(?:at)?|recv(?:from|msg)?|rename(?:at2?)?|rmdir|sched_\\w+|select"
    "|send(?:to|msg)?|sig(?:action|procmask|suspend|wait\\w*)|sleep|socket(?:pair)?|stat(?:fs|vfs)"
    "|symlink(?:at)?|syscall|sysconf|tgkill|umask|unlink(?:at)?|usleep|utimensat|vfork|wait(?:pid)?"
)
# The core reports by status: it never prints, and never ends its host.
HOST_CALLS = "abort|exit|_exit|quick_exit|v?printf|v?fprintf|puts|perror|fopen|system|popen|assert"

EXCUSED = {
    "bind/stepper.c": "an instrument beside the core: it steps processes and kills them",
    "bind/stepper_witness.h": "the same instrument's: it compares what is mapped",
}


def arrow_faults(file: CFile) -> list[str]:
    floor = FLOORS.get(file.room)
    if floor is None:
        return [f"{file.label}: room {file.room!r} has no floor"]
    faults = []
    for include in file.includes:
        where = f"{file.label}:{include.line}: {include.name}"
        if include.system:
            if include.name == "Python.h" and file.room != "bind":
                faults.append(f"{where}: Python lives only in bind/")
            continue
        room, slash, _ = include.name.partition("/")
        if ".." in include.name or not slash:
            faults.append(f"{where}: an include carries its room, from csrc/")
        elif room not in FLOORS:
            faults.append(f"{where}: no such room")
        elif room != file.room and FLOORS[room] >= floor:
            faults.append(f"{where}: {file.room} (floor {floor}) may not see {room}")
        elif not (CSRC / include.name).is_file():
            faults.append(f"{where}: no such file")
    return faults


def kernel_faults(file: CFile) -> list[str]:
    if file.room == "os":
        return []
    faults = [
        f"{file.label}:{include.line}: <{include.name}> belongs to os/"
        for include in file.includes
        if include.system and include.name not in PURE_HEADERS
        and not (file.room == "bind" and re.match(r"(Python|structmember|datetime)\.h$", include.name))
    ]  # fmt: skip
    own = {function.name for function in file.functions}
    for name, line in file.calls(f"{KERNEL_CALLS}|{HOST_CALLS}"):
        if name not in own:
            faults.append(f"{file.label}:{line}: {name}() is not for {file.room}/")
    return faults


@pytest.mark.parametrize("file", sources(), ids=lambda file: file.label)
def test_a_room_sees_only_lower_floors(file):
    assert arrow_faults(file) == []


@pytest.mark.parametrize("file", sources(), ids=lambda file: file.label)
def test_only_os_talks_to_the_kernel(file):
    if file.label not in EXCUSED:
        assert kernel_faults(file) == []


def test_excuses_name_files_that_need_them():
    for label in EXCUSED:
        assert kernel_faults(CFile(CSRC / label)) != []


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("sync", '#include "message/queue.h"'),
        ("data", '#include "message/queue.h"'),
        ("sync", '#include "../os/clock.h"'),
        ("sync", '#include "lock.h"'),
        ("sync", '#include "sync/nowhere.h"'),
        ("segment", "#include <Python.h>"),
        ("attic", '#include "base/status.h"'),
    ],
)
def test_a_wrong_arrow_is_seen(room, line):
    assert len(arrow_faults(CFile(CSRC / room / "x.c", f"{line}\n"))) == 1


@pytest.mark.parametrize(
    "line",
    ["#include <sys/mman.h>", "#include <linux/futex.h>", "int f(void) { return getpid(); }",
     "void f(void) { syscall(202); }", "void f(void) { printf(0); }"],
)  # fmt: skip
def test_a_call_past_os_is_seen(line):
    assert len(kernel_faults(CFile(CSRC / "sync" / "x.c", f"{line}\n"))) == 1


def test_fields_and_strings_are_not_calls():
    text = 'void f(x *y) { y->open(1); y->at.close(2); g("kill(1)"); /* read(3) */ }\n'
    assert kernel_faults(CFile(CSRC / "sync" / "x.c", text)) == []
