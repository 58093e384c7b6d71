# SPDX-License-Identifier: Apache-2.0
"""What on this machine makes ipcsys slow, or fail, and what to do about it.

`gather` asks the machine, `examine` judges what it said: the second is pure, so
that each verdict can be tried with facts that are made up.  The command
`ipcsys doctor` prints the findings.
"""

import contextlib
import os
import platform
import re
import resource
import secrets
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["FAIL", "OK", "WARN", "Facts", "Finding", "Leftover", "examine", "gather"]

OK, WARN, FAIL = "ok", "warn", "fail"
_MIB, _GIB = 1 << 20, 1 << 30
_FUTEX_WAITV = 449  # the same number on every platform
_CLOCKS = {"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", ""}


@dataclass(frozen=True)
class Leftover:
    """A folder with objects in it, in which nobody lives."""

    path: str
    size: int
    why: str = ""  # where it is of another version, what was said


@dataclass(frozen=True)
class Facts:
    """What the machine said; the defaults are those of one without faults."""

    folder: str = "/dev/shm/ipcsys-1000/1"
    folder_owner: int | None = None  # None: it is not there yet
    folder_mode: int = 0o700
    user: int = 1000
    file_system: str = "tmpfs"
    read_only: bool = False
    size: int = 8 * _GIB
    free: int = 8 * _GIB
    free_files: int | None = None  # inodes; None: no limit
    trial: str = ""  # why making, using and removing an object failed
    bell: bool = True
    kernel: tuple[int, int] = (6, 1)
    waitv: bool = True
    cpus: int = 8
    cpu_quota: float | None = None  # CPUs' worth of time that the cgroup gives
    open_files: int | None = 65536  # limits; None: none
    address_space: int | None = None
    file_size: int | None = None
    locked_memory: int | None = None
    max_map_count: int | None = 65530
    container: str = ""
    memory_limit: int | None = None  # of the cgroup
    memory_used: int = 0
    hidepid: str = ""
    clock: str = "tsc"
    logind: bool = False  # it runs, and removes what users leave
    lingers: bool = False
    leftovers: tuple[Leftover, ...] = ()
    strangers: tuple[Leftover, ...] = ()  # of other format versions
    free_threaded: bool = False


@dataclass(frozen=True)
class Finding:
    """One verdict: `what` was found, and the `remedy` where one is due."""

    check: str
    verdict: str
    what: str
    remedy: str = ""
    details: tuple[str, ...] = field(default=())


# --- judging ---------------------------------------------------------------------


def _size(count):
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / _MIB:.0f} MiB"


def _place(facts):
    if facts.folder_owner not in (None, facts.user):
        return Finding(
            "folder", FAIL, f"{facts.folder} belongs to user {facts.folder_owner}",
            "remove it as its owner, or set IPCSYS_DIR to a folder of your own",
        )  # fmt: skip
    if facts.folder_mode & 0o077:
        return Finding(
            "folder", FAIL, f"{facts.folder} has mode {facts.folder_mode:04o}: open to others",
            f"chmod 700 {facts.folder}",
        )  # fmt: skip
    if facts.read_only:
        return Finding(
            "folder", FAIL, f"{facts.folder} lies on a read-only file system",
            "mount a tmpfs there, or set IPCSYS_DIR to a folder on one",
        )  # fmt: skip
    return Finding("folder", OK, facts.folder)


def _trial(facts):
    if facts.trial:
        return Finding(
            "trial", FAIL, f"an object could not be made, used and removed: {facts.trial}",
            "see the other findings; is a system call forbidden (seccomp)?",
        )  # fmt: skip
    return Finding("trial", OK, "an object was made, used and removed")


def _file_system(facts):
    if facts.file_system in ("tmpfs", "ramfs", "hugetlbfs"):
        return Finding("file system", OK, facts.file_system)
    return Finding(
        "file system", WARN,
        f"{facts.folder} lies on {facts.file_system}: the kernel writes shared memory to disk",
        "set IPCSYS_DIR to a folder on a tmpfs, such as /dev/shm",
    )  # fmt: skip


def _space(facts):
    what = f"{_size(facts.free)} of {_size(facts.size)} free"
    more = "mount -o remount,size=... the tmpfs"
    if facts.container:
        more = "start the container with --shm-size=1g, or mount a tmpfs and set IPCSYS_DIR"
    if facts.free < 4 * _MIB:
        return Finding("space", FAIL, what, f"remove leftovers (below), or {more}")
    if facts.size < 256 * _MIB:
        small = f"{what}: little room" + (
            ", docker's default" if facts.size == 64 * _MIB and facts.container else ""
        )
        return Finding("space", WARN, small, more)
    if facts.free < facts.size // 10:
        return Finding("space", WARN, f"{what}: nearly full", f"remove leftovers, or {more}")
    return Finding("space", OK, what)


def _files(facts):
    if facts.free_files is not None and facts.free_files < 1000:
        return Finding(
            "inodes", WARN, f"room for {facts.free_files} more files",
            "mount -o remount,nr_inodes=... the tmpfs, or remove leftovers",
        )  # fmt: skip
    return Finding("inodes", OK, "enough")


def _kernel(facts):
    what = "Linux {}.{}".format(*facts.kernel)
    if facts.kernel < (5, 4):
        return Finding("kernel", FAIL, f"{what}: too old", "use Linux 5.4 or later")
    return Finding("kernel", OK, what)


def _waitv(facts):
    if facts.waitv:
        return Finding("futex_waitv", OK, "a waiter watches a lock and its owner at once")
    why = (
        "the kernel is older than 5.16"
        if facts.kernel < (5, 16)
        else "the system call is refused (an old seccomp profile?)"
    )
    return Finding(
        "futex_waitv", WARN, f"{why}: an owner's death is noticed after 10 to 100 ms",
        "use Linux 5.16 or later" if facts.kernel < (5, 16) else "allow futex_waitv in the profile",
    )  # fmt: skip


def _bell(facts):
    if facts.bell:
        return Finding("bell", OK, "the kernel rings at a member's death")
    return Finding(
        "bell", WARN,
        "no bell can be hung here: a death is noticed after 10 to 100 ms",
        "use glibc or musl on x86-64 or aarch64, with pages of 4 KiB",
    )  # fmt: skip


def _cpus(facts):
    if facts.cpus == 1:
        return Finding(
            "CPUs", WARN, "one CPU: waiters never spin, each hand-over is a system call",
            "give the processes two CPUs or more (taskset, cpuset, container settings)",
        )  # fmt: skip
    if facts.cpu_quota is not None and facts.cpu_quota < 1.5:
        return Finding(
            "CPUs", WARN,
            f"{facts.cpus} CPUs, but time for {facts.cpu_quota:g}: spinning waiters use it up,"
            " and then all are stopped",
            "raise the CPU limit of the container, or set IPCSYS_SPIN_NS=0",
        )  # fmt: skip
    return Finding("CPUs", OK, f"{facts.cpus}")


def _limits(facts):
    if facts.open_files is not None and facts.open_files < 256:
        yield Finding(
            "RLIMIT_NOFILE", WARN, f"{facts.open_files} open files", "ulimit -n 1024 or more"
        )
    else:
        yield Finding("RLIMIT_NOFILE", OK, _limit(facts.open_files, "{} open files"))
    if facts.address_space is not None and facts.address_space < 16 * _GIB:
        yield Finding(
            "RLIMIT_AS", WARN,
            f"{_size(facts.address_space)} of addresses: objects are mapped at their largest size",
            "ulimit -v unlimited, or make objects with a smaller max_size",
        )  # fmt: skip
    else:
        yield Finding("RLIMIT_AS", OK, _limit(facts.address_space, "{} bytes"))
    if facts.file_size is not None and facts.file_size < _GIB:
        yield Finding(
            "RLIMIT_FSIZE", WARN, f"files up to {_size(facts.file_size)}", "ulimit -f unlimited"
        )
    # Nothing is locked into memory: this limit never matters, and people ask.
    yield Finding("RLIMIT_MEMLOCK", OK, "not needed")


def _limit(value, text):
    return "no limit" if value is None else text.format(value)


def _maps(facts):
    if facts.max_map_count is not None and facts.max_map_count < 65530:
        return Finding(
            "vm.max_map_count", WARN,
            f"{facts.max_map_count}: each named object that is open takes a mapping",
            "sysctl vm.max_map_count=65530",
        )  # fmt: skip
    return Finding("vm.max_map_count", OK, _limit(facts.max_map_count, "{}"))


def _memory(facts):
    if facts.memory_limit is None:
        return Finding("memory limit", OK, "none")
    left = max(0, facts.memory_limit - facts.memory_used)
    what = f"{_size(left)} of {_size(facts.memory_limit)} left in this cgroup"
    if left < 64 * _MIB or left < facts.memory_limit // 20:
        return Finding(
            "memory limit", WARN, f"{what}: shared memory counts, and beyond it the kernel kills",
            "raise the memory limit of the container or unit, or remove leftovers",
        )  # fmt: skip
    if facts.free > left:
        return Finding(
            "memory limit", WARN,
            f"{what}, less than the {_size(facts.free)} that are free in the folder: the kernel"
            " would kill before a full folder is an exception",
            "give max_size and max_bytes, or make the tmpfs smaller than the limit",
        )  # fmt: skip
    return Finding("memory limit", OK, what)


def _hidepid(facts):
    if facts.hidepid in ("", "0", "off"):
        return Finding("hidepid", OK, "processes are visible")
    return Finding(
        "hidepid", WARN,
        f"/proc is mounted with hidepid={facts.hidepid}: of other users' processes only the"
        " kernel's own two marks prove a death",
        "mount -o remount,hidepid=0 /proc, where members of several users share a namespace",
    )  # fmt: skip


def _clock(facts):
    if facts.clock in _CLOCKS:
        return Finding("clock", OK, facts.clock or "unknown")
    return Finding(
        "clock", WARN, f"the clock source is {facts.clock}: reading the time is a system call",
        "choose tsc in /sys/devices/system/clocksource/clocksource0/current_clocksource",
    )  # fmt: skip


def _logind(facts):
    if not facts.logind or facts.lingers or facts.user < 1000:
        return Finding("RemoveIPC", OK, "nobody removes shared memory at logout")
    if not facts.folder.startswith("/dev/shm/"):
        return Finding("RemoveIPC", OK, "the folder is not in /dev/shm")
    return Finding(
        "RemoveIPC", WARN,
        "logind removes this user's files in /dev/shm at the last logout",
        "RemoveIPC=no in /etc/systemd/logind.conf, or loginctl enable-linger, or a system user",
    )  # fmt: skip


def _remains(facts):
    size = sum(left.size for left in facts.leftovers)
    what = f"{len(facts.leftovers)} namespaces in which nobody lives hold {_size(size)}"
    if size >= 64 * _MIB or len(facts.leftovers) > 20:
        yield Finding(
            "leftovers", WARN, what, "remove those you do not need: rm -r FOLDER",
            tuple(f"{left.path} ({_size(left.size)})" for left in facts.leftovers),
        )  # fmt: skip
    else:
        yield Finding("leftovers", OK, what if facts.leftovers else "none")
    if facts.strangers:
        yield Finding(
            "formats", WARN, f"{len(facts.strangers)} folders of other versions of the format",
            "remove them when no program of that version runs: rm -r FOLDER",
            tuple(
                f"{left.path} ({_size(left.size)})" + (f": {left.why}" if left.why else "")
                for left in facts.strangers
            ),
        )  # fmt: skip
    else:
        yield Finding("formats", OK, "only this version's")


def _python(facts):
    if facts.free_threaded:
        return Finding(
            "Python", WARN, "built without a GIL: importing ipcsys switches the GIL on",
            "use the usual build, or more processes instead of threads",
        )  # fmt: skip
    return Finding("Python", OK, platform.python_version())


_CHECKS = (
    _place, _trial, _file_system, _space, _files, _kernel, _waitv, _bell, _cpus, _limits, _maps,
    _memory, _hidepid, _clock, _logind, _remains, _python,
)  # fmt: skip


def examine(facts):
    """The findings, in a fixed order."""
    found = []
    for check in _CHECKS:
        said = check(facts)
        found += [said] if isinstance(said, Finding) else said
    return found


# --- asking ----------------------------------------------------------------------


def _read(path):
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path):
    text = _read(path)
    return int(text) if text.isdigit() else None


def _root():
    from ipcsys import _core

    return os.path.dirname(_core.folder("any"))


def _existing(path):
    """The path, or the first folder above it that is there."""
    while not os.path.exists(path) and path != "/":
        path = os.path.dirname(path)
    return path


def mount_of(path, mounts=None):
    """(type, options) of the file system that a path lies on."""
    path, best = os.path.realpath(path), ("", "unknown", "")
    for line in (_read("/proc/self/mounts") if mounts is None else mounts).splitlines():
        _device, place, kind, options = line.split()[:4]
        place = place.encode().decode("unicode_escape")
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best[0]):
            best = place, kind, options
    return best[1:]


def _folder_facts(root):
    there = _existing(root)
    space = os.statvfs(there)
    kind, options = mount_of(there)
    facts = {
        "folder": root, "user": os.geteuid(), "file_system": kind,
        "read_only": "ro" in options.split(","),
        "size": space.f_blocks * space.f_frsize, "free": space.f_bavail * space.f_frsize,
        "free_files": space.f_favail if space.f_files else None,
    }  # fmt: skip
    if there == root:
        status = os.lstat(root)
        facts |= {"folder_owner": status.st_uid, "folder_mode": status.st_mode & 0o777}
    return facts


def _try_out():
    """(why a trial failed or "", whether a bell hangs)."""
    import ipcsys
    from ipcsys import _core

    namespace = f"doctor-{os.getpid()}-{secrets.token_hex(4)}"
    folder = _core.folder(namespace)
    try:
        with ipcsys.Queue(name="trial", namespace=namespace) as queue:
            queue.put({"well": True})
            if queue.get(timeout=5) != {"well": True}:
                return "what came out of a queue is not what went in", True
        (me,) = [member for member in _core.members(namespace) if member["pid"] == os.getpid()]
        return "", me["bell"]
    except Exception as error:
        return f"{type(error).__name__}: {error}", True
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _waitv_is_there():
    import ctypes
    import errno

    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(_FUTEX_WAITV, None, 0, 0, None, 0)  # no futexes: EINVAL where it is known
    return ctypes.get_errno() == errno.EINVAL


def _soft(which):
    soft = resource.getrlimit(which)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _cgroup_folders():
    """The folders of this process's cgroup and those above it, version 2."""
    path = next(
        (line[3:] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")),
        "/",
    )
    folder = Path("/sys/fs/cgroup") / path.lstrip("/")
    while True:
        if folder.is_dir():
            yield folder
        if folder == Path("/sys/fs/cgroup") or folder == folder.parent:
            return
        folder = folder.parent


def _cgroup_facts():
    limits, quotas = [], []
    for folder in _cgroup_folders():
        limit = _number(folder / "memory.max")
        if limit is not None:
            limits.append((limit, _number(folder / "memory.current") or 0))
        quota = re.fullmatch(r"(\d+) (\d+)", _read(folder / "cpu.max"))
        if quota:
            quotas.append(int(quota[1]) / int(quota[2]))
    first = Path("/sys/fs/cgroup/memory")
    limit = _number(first / "memory.limit_in_bytes")
    if limit is not None and limit < 1 << 60:
        limits.append((limit, _number(first / "memory.usage_in_bytes") or 0))
    limit, used = min(limits, key=lambda pair: pair[0] - pair[1], default=(None, 0))
    return {"memory_limit": limit, "memory_used": used, "cpu_quota": min(quotas, default=None)}


def _container():
    if os.path.exists("/.dockerenv"):
        return "docker"
    if os.path.exists("/run/.containerenv"):
        return "podman"
    return os.environ.get("container", "")


def removes_ipc(texts):
    """What the last of logind's settings says; it removes unless told not to."""
    verdict = True
    for text in texts:
        for line in text.splitlines():
            said = re.fullmatch(r"\s*RemoveIPC\s*=\s*(\S+)\s*", line)
            if said:
                verdict = said[1].lower() in ("yes", "true", "1", "on")
    return verdict


def _logind_facts():
    if not os.path.isdir("/run/systemd/system") or not os.path.isdir("/run/systemd/seats"):
        return {}
    places = [
        *sorted(
            (
                path
                for folder in ("/usr/lib", "/run", "/etc")
                for path in Path(folder, "systemd/logind.conf.d").glob("*.conf")
            ),
            key=lambda path: path.name,
        )
    ]
    import pwd

    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = ""
    texts = map(_read, ["/usr/lib/systemd/logind.conf", "/etc/systemd/logind.conf", *places])
    return {
        "logind": removes_ipc(texts),
        "lingers": bool(user) and os.path.exists(f"/var/lib/systemd/linger/{user}"),
    }


def _bytes_of(folder):
    return sum(
        status.st_blocks * 512
        for path, _folders, files in os.walk(folder)
        for name in files
        for status in _statuses(os.path.join(path, name))
    )


def _statuses(path):
    with contextlib.suppress(OSError):
        yield os.lstat(path)


def _folders_in(folder):
    try:
        return sorted(entry.path for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []


def _remaining(root):
    from ipcsys import _core
    from ipcsys.errors import Error

    leftovers, strangers = [], []
    for path in _folders_in(root):
        if not os.path.exists(os.path.join(path, ".members")):
            continue
        try:
            members = _core.members(os.path.basename(path))
        except Error as error:
            strangers.append(Leftover(path, _bytes_of(path), str(error)))
            continue
        if all(member["pid"] == os.getpid() for member in members):
            leftovers.append(Leftover(path, _bytes_of(path)))
    if not os.environ.get("IPCSYS_DIR"):  # only there the path carries the format's number
        others = [path for path in _folders_in(os.path.dirname(root)) if path != root]
        strangers += [Leftover(path, _bytes_of(path)) for path in others]
    return {"leftovers": tuple(leftovers), "strangers": tuple(strangers)}


def gather():
    """The facts of this machine.  Makes an object in a namespace of its own,
    removes it, and looks who lives in each namespace of the folder."""
    root = _root()
    facts = _folder_facts(root)
    trial, bell = _try_out()
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    _kind, proc_options = mount_of("/proc")
    hidepid = re.search(r"hidepid=(\w+)", proc_options)
    facts |= {
        "trial": trial, "bell": bell,
        "kernel": (int(version[1]), int(version[2])) if version else (0, 0),
        "waitv": _waitv_is_there(),
        "cpus": len(os.sched_getaffinity(0)),
        "open_files": _soft(resource.RLIMIT_NOFILE),
        "address_space": _soft(resource.RLIMIT_AS),
        "file_size": _soft(resource.RLIMIT_FSIZE),
        "locked_memory": _soft(resource.RLIMIT_MEMLOCK),
        "max_map_count": _number("/proc/sys/vm/max_map_count"),
        "container": _container(),
        "hidepid": hidepid[1] if hidepid else "",
        "clock": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "free_threaded": "free-threading" in sys.version,
    }  # fmt: skip
    return Facts(**facts, **_cgroup_facts(), **_logind_facts(), **_remaining(root))
