# SPDX-License-Identifier: Apache-2.0
"""One call of this process, instruction by instruction (x86-64 Linux).

The numbers are those of the counted instructions: the ones inside the watched
library (the core, as a rule) and whatever it calls.
"""

from typing import NamedTuple

from ipcsys._stepper import step


class Trace(NamedTuple):
    result: object
    steps: int  # instructions counted
    events: list  # numbers of those that stored to shared memory or are system calls
    all: int  # how many such there were, counted or not
    lists: list  # numbers of those that changed the robust list and are no events
    unseen: list  # numbers of events that found shared bytes changed since the one before


def _mappings():
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, mode, _offset, _device, inode, *path = line.split(maxsplit=5)
            first, last = (int(number, 16) for number in span.split("-"))
            if inode != "0":
                yield first, last, mode, path[0].strip() if path else ""


def core():
    """The path of the core's library."""
    import ipcsys._core

    return ipcsys._core.__file__


def text_of(library):
    """Where the code of a loaded library lies."""
    found = [(a, b) for a, b, mode, path in _mappings() if "x" in mode and path == library]
    if not found:
        raise ValueError(f"{library} is not loaded")
    return found


def shared_memory():
    """The file mappings that others see: shared and writable."""
    spans = []
    with open("/proc/self/maps", "rb") as maps:
        for line in maps.read().splitlines():
            if b" rw-s " in line or b" rwxs " in line:
                span, _mode, _offset, _device, inode, *_path = line.split(maxsplit=5)
                if inode != b"0":
                    spans.append(tuple(int(number, 16) for number in span.split(b"-")))
    return spans


def count(callable, *args, library=None):
    """Call, and say how many instructions that took inside the core."""
    return step(callable, args, text_of(library or core()))[1]


def trace(callable, *args, library=None):
    """Call, and say also which instructions changed what others see."""
    return Trace(*step(callable, args, text_of(library or core()), shared_memory(), 0, True))


def kill_at(point, callable, *args, library=None):
    """Call, and die by SIGKILL before the given instruction (from 1).
    Returns the result where the call ends sooner."""
    return step(callable, args, text_of(library or core()), None, point)[0]


def events(callable, *args):
    """Call at full speed, and say how many events that took: stores to shared
    memory and system calls.  Between two of them nobody sees a difference."""
    return step(callable, args, None, shared_memory())[1]


def kill_at_event(event, callable, *args):
    """Call, and die by SIGKILL before the given event (from 1).  Returns the
    result where the call ends sooner."""
    return step(callable, args, None, shared_memory(), event)[0]
