# SPDX-License-Identifier: Apache-2.0
"""The timed loops, each compiled around a carrier's own statements.

As timeit does: the statement stands in the loop itself, so that neither we nor
a rival pays for a wrapper's call (40 ns, a third of one of our messages).
A statement uses the names that the carrier's ends define, takes what it sends
from `data` (or `batch`) and leaves there what it received.  A name of a
carrier's must not be one that the loops assign to, which _compile checks.
"""

import struct
import time

from ipcsys.bench.figures import percentile

CHUNK = 256  # messages between two looks at the credits of a carrier that needs them

_SEND = """
def loop(chunks):
    position = 0
    start = now()
    for chunk in chunks:
        {before}
        for data in chunk:
            {put}
        position += len(chunk)
    return start
"""

_RECEIVE = """
def loop(sizes):
    position = total = 0
    for size in sizes:
        for _ in range(size):
            {get}
            total += {touch}
        position += size
        {after}
    return now(), total
"""

_SEND_BATCHES = """
def loop(batches):
    position = 0
    start = now()
    for batch in batches:
        {before}
        {put}
        position += len(batch)
    return start
"""

_RECEIVE_BATCHES = """
def loop(count, cycle, stride):
    position = right = 0
    while position < count:
        {get}
        if cycle.startswith(b"".join(batch), position % CHUNK * stride):  # reads every byte
            right += len(batch)
        position += len(batch)
        {after}
    return now(), right
"""

_SEND_STAMPED = """
def loop(count, interval, tail):
    due = now()
    for _ in range(count):
        while (moment := now()) < due:
            pass
        data = pack(moment) + tail
        {put}
        due = moment + interval
"""

_RECEIVE_STAMPED = """
def loop(count):
    delays = []
    note = delays.append
    for _ in range(count):
        {get}
        note(now() - unpack(data)[0])
        data[-1]
    return delays
"""

_PING = """
def loop(count, data, pause):
    times = []
    note = times.append
    for _ in range(count):
        if pause:
            sleep(pause)
        start = now()
        {put}
        {get}
        note(now() - start)
    return times
"""

_ECHO = """
def loop(count):
    for _ in range(count):
        {get}
        {put}
"""

_REPEAT = """
def loop(count):
    turns = range(count // {times})
    start = now()
    for _ in turns:
        {statements}
    return (now() - start) / ({times} * len(turns))
"""

_EACH = """
def loop(things):
    start = now()
    for {each} in things:
        {statement}
    return (now() - start) / len(things)
"""

_WORST = """
def loop(things, done, interruptions):
    worst = looks = 0
    before = interruptions()
    while not done.value:
        for {each} in things:
            start = now()
            {statement}
            took = now() - start
            if took > worst:
                after = interruptions()
                if after == before:
                    worst = took
                before = after
        looks += len(things)
        before = interruptions()
    return looks, worst
"""

_STAMP = struct.Struct("<q")
STAMP_SIZE = _STAMP.size

_TOOLS = {
    "CHUNK": CHUNK,
    "now": time.perf_counter_ns,  # CLOCK_MONOTONIC on Linux: one clock for all processes
    "sleep": time.sleep,
    "pack": _STAMP.pack,
    "unpack": lambda data: _STAMP.unpack_from(data),
}


def _fill(template, statements):
    """The template with each statement in its place, its further lines indented like the first."""
    lines = []
    for line in template.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        fields = {key: text.replace("\n", "\n" + indent) for key, text in statements.items()}
        lines.append(line.format(**fields))
    return "\n".join(lines)


def _compile(template, names, **statements):
    scope = {**_TOOLS, **names}
    exec(compile(_fill(template, statements), "<ipcsys bench loop>", "exec"), scope)
    loop = scope["loop"]
    shadowed = sorted(set(names) & set(loop.__code__.co_varnames))
    if shadowed:
        raise ValueError(f"the loop assigns to the carrier's own {', '.join(shadowed)}")
    return loop


UNROLLED = 20  # so that the loop itself, 10 ns a turn, hides in the figure


_SLICES = 40  # each shorter than what a scheduler gives, so that most are undisturbed


def typical(names, statement, count):
    """Nanoseconds that the statement takes: the median of slices of `count` times in all."""
    statements = "\n".join([statement] * UNROLLED)
    loop = _compile(_REPEAT, names, times=str(UNROLLED), statements=statements)
    part = max(UNROLLED, count // _SLICES)
    return percentile(sorted(loop(part) for _ in range(_SLICES)), 0.5)


def each(each, names, statement):
    """loop(things): nanoseconds for the statement, which finds each of the things as `each`."""
    return _compile(_EACH, names, each=each, statement=statement)


def worst(each, names, statement):
    """loop(things, done, interruptions): the statement for all things again and again until
    done.value; (how often, the most nanoseconds it took while `interruptions()` stood still)."""
    return _compile(_WORST, names, each=each, statement=statement)


def sender(names, put, before):
    return _compile(_SEND, names, put=put, before=before)


def receiver(names, get, after, touch):
    return _compile(_RECEIVE, names, get=get, after=after, touch=touch)


def batch_sender(names, put, before):
    return _compile(_SEND_BATCHES, names, put=put, before=before)


def batch_receiver(names, get, after):
    return _compile(_RECEIVE_BATCHES, names, get=get, after=after)


def stamped_sender(names, put):
    return _compile(_SEND_STAMPED, names, put=put)


def stamped_receiver(names, get):
    return _compile(_RECEIVE_STAMPED, names, get=get)


def ping(names, put, get):
    return _compile(_PING, names, put=put, get=get)


def echo(names, put, get):
    return _compile(_ECHO, names, put=put, get=get)
