# SPDX-License-Identifier: Apache-2.0
"""What the users of a namespace left behind.

Kinds, by the word that allows them:

    names       named objects that are still there
    open        files of the namespace that this process has open
    mapped      ... or mapped
    unnamed     small objects without a name that somebody still uses
    members     other processes that are still in the namespace
"""

import gc
import os
import stat
import time

_SLOTS = 4096  # bytes of ".locks" that stand for members; others are held for moments
KINDS = ("names", "open", "mapped", "unnamed", "members")


def names(folder):
    """Files that have a name: whatever the namespace itself needs starts with a dot."""
    try:
        found = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except FileNotFoundError:
        return []
    return [f"the name {name!r}" for name in found]


def _own(folder):
    """Inodes of the namespace's own files, which a process keeps to its end."""
    try:
        return {entry.inode() for entry in os.scandir(folder) if entry.name.startswith(".")}
    except FileNotFoundError:
        return None


def opened(folder):
    own, found = _own(folder), []
    for number in os.listdir("/proc/self/fd") if own is not None else ():
        try:
            path = os.readlink(f"/proc/self/fd/{number}")
            facts = os.stat(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if f"{folder}/" in path and stat.S_ISREG(facts.st_mode) and facts.st_ino not in own:
            found.append(f"open: {path}")
    return found


def mapped(folder):
    own, found = _own(folder), []
    if own is None:
        return found
    with open("/proc/self/maps") as maps:
        for line in maps:
            if f"{folder}/" in line and int(line.split()[4]) not in own:
                found.append(f"mapped: {line.split(maxsplit=5)[5].strip()}")
    return found


def _tenants(folder):
    """Pids of the living members.  Each holds a record lock for life, which the
    kernel lists: to ask so makes nobody a member."""
    try:
        facts = os.stat(os.path.join(folder, ".locks"))
    except FileNotFoundError:
        return set()
    place = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    found = set()
    with open("/proc/locks") as locks:
        for line in locks:
            words = line.split()
            if words[1:2] == ["POSIX"] and words[5] == place and int(words[6]) < _SLOTS:
                found.add(int(words[4]))
    return found


def unnamed(folder, namespace):
    # Who is no member holds none, and another member is told of as such.
    if os.getpid() not in _tenants(folder) or not os.path.exists(os.path.join(folder, ".cells")):
        return []
    from ipcsys import _core

    _core.sweep(namespace)
    cells = _core.cells(namespace)
    found = []
    if cells["used"]:
        found.append(f"unnamed objects still used: {cells['used']}")
    if cells["tickets"]:
        found.append(f"pickled objects never unpickled: {cells['tickets']}")
    return found


def members(folder, _namespace):
    return [f"the process {_program(pid)} {pid}" for pid in sorted(_tenants(folder) - {os.getpid()})]


def _program(pid):
    try:
        with open(f"/proc/{pid}/comm") as text:
            return text.read().strip()
    except OSError:
        return "?"


def look(folder, namespace, allowed=()):
    """What there is now, as lines."""
    finders = {
        "names": lambda: names(folder),
        "open": lambda: opened(folder),
        "mapped": lambda: mapped(folder),
        "unnamed": lambda: unnamed(folder, namespace),
        "members": lambda: members(folder, namespace),
    }
    return [line for kind in KINDS if kind not in allowed for line in finders[kind]()]


def find(folder, namespace, allowed=(), patience=2.0):
    """What stays: rubbish is collected first, and processes on their way out
    have `patience` seconds to be gone."""
    if not look(folder, namespace, allowed):
        return []
    gc.collect()
    if "names" not in allowed and names(folder):
        from ipcsys import _core

        _core.sweep(namespace)  # the last user of a name may have been killed
    limit = time.monotonic() + patience
    found = look(folder, namespace, allowed)
    while "members" not in allowed and members(folder, namespace) and time.monotonic() < limit:
        time.sleep(0.02)
        found = look(folder, namespace, allowed)
    return found
