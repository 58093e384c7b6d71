# SPDX-License-Identifier: Apache-2.0
"""Maps beside each other: look-ups, replacements, transactions, growth while others read."""

import gc
import os
import resource
import shutil
import tempfile
import time
from multiprocessing.sharedctypes import RawValue

from ipcsys.bench import loops
from ipcsys.bench.contest import Contender, Idle, OnSource
from ipcsys.bench.figures import percentile
from ipcsys.bench.messages import token
from ipcsys.bench.pairs import Failed, Pair, context
from ipcsys.bench.report import OURS

KEYS = 10_000
VALUE = bytes(range(64))
GROUP = 10  # changes in a transaction
_SLICE = 250
_LATE = 120.0  # seconds that any one turn may take


def spell(number):
    """A key of 16 characters."""
    return f"key {number:012d}"


class OurMap:
    who = OURS
    group = "with transaction(): write(keys)"

    def __init__(self, room=None):
        self._name, self._room = token(), room

    def get(self):
        from ipcsys import SharedMap

        return SharedMap(name=self._name, max_size=self._room)

    def names(self, table):
        return {"table": table, "transaction": table.transaction, "write": _writer_of(table)}

    def close(self):
        from ipcsys import SharedMap

        SharedMap.remove(self._name)


class ManagedDict:
    who = "multiprocessing.Manager().dict"

    def __init__(self):
        self._manager = context().Manager()
        self._map = self._manager.dict()

    def __getstate__(self):
        return {"_map": self._map}  # the manager itself stays here

    def get(self):
        return self._map

    def names(self, table):
        return {"table": table}

    def close(self):
        self._manager.shutdown()


class UltraDict:
    """Reads come from a private copy, which each process brings up to date itself."""

    who = "UltraDict"
    needs = "UltraDict"

    def __init__(self):
        self._name = f"ipcsys-bench-{os.getpid()}-{token()[-6:]}"

    def get(self):
        import UltraDict as package

        return package.UltraDict(
            name=self._name, buffer_size=1 << 22, full_dump_size=1 << 23, auto_unlink=False
        )

    def names(self, table):
        return {"table": table}

    def close(self):
        for suffix in ("", "_memory", "_full", "_register", "_register_memory"):
            path = f"/dev/shm/{self._name}{suffix}"
            if os.path.exists(path):
                os.unlink(path)


class Lightning:
    """A tree in a mapped file on tmpfs, never flushed; keys are bytes from the start."""

    who = "lmdb"
    needs = "lmdb"
    look_up = "transaction().get(key)"
    replace = (
        "change = transaction(write=True)\n"
        "change.put(key, value)\n"
        "change.commit()"
    )  # fmt: skip
    group = "with transaction(write=True) as change: write(change, keys)"

    def __init__(self, room=None):
        self._room = room or 1 << 28
        self._folder = tempfile.mkdtemp(prefix="lmdb-", dir=os.environ.get("IPCSYS_DIR"))

    def get(self):
        import lmdb

        return lmdb.open(self._folder, map_size=self._room, sync=False, writemap=True)

    def names(self, table):
        return {"transaction": table.begin, "write": _put_all}

    @staticmethod
    def key(number):
        return spell(number).encode()

    def fill(self, table, keys):
        with table.begin(write=True) as change:
            _put_all(change, keys)

    def close(self):
        shutil.rmtree(self._folder, ignore_errors=True)


class PlainDict:
    """Shared with nobody: the ceiling."""

    who = "dict"
    reference = True

    def __init__(self, room=None):
        pass

    def get(self):
        return {}

    def names(self, table):
        return {"table": table}

    def close(self):
        pass


MAPS = (OurMap, ManagedDict, UltraDict, Lightning, PlainDict)
GROUPED = (OurMap, Lightning)
GROWING = (OurMap, Lightning, PlainDict)


def _put_all(change, keys):
    put = change.put
    for key in keys:
        put(key, VALUE)


def _writer_of(table):
    def write(keys):
        for key in keys:
            table[key] = VALUE

    return write


def keys_between(source, begin, end):
    make = getattr(source, "key", spell)
    return [make(number) for number in range(begin, end)]


def look_up_of(source):
    return getattr(source, "look_up", "table[key]")


def _fill(source, table, keys):
    if hasattr(source, "fill"):
        source.fill(table, keys)
    else:
        _writer_of(table)(keys)


class _User:
    """A process with the map, full, that runs one statement for many keys."""

    def __init__(self, source, statement, group):
        self._source, self._statement, self._group = source, statement, group

    def open(self):
        table = self._source.get()
        keys = keys_between(self._source, 0, KEYS)
        _fill(self._source, table, keys)
        # neither in the order of insertion nor in that of memory
        keys = [keys[number * 7919 % KEYS] for number in range(KEYS)]
        names = {**self._source.names(table), "value": VALUE}
        self._turns, each = keys, "key"
        if self._group > 1:
            self._turns = [keys[at : at + self._group] for at in range(0, KEYS, self._group)]
            each = "keys"
        self._loop = loops.each(each, names, self._statement)

    def run(self, count):
        """Nanoseconds: the median of short slices, most of which nobody disturbs."""
        self._loop(self._turns)  # another's turn has emptied the caches
        part = max(1, _SLICE // self._group)
        starts = range(0, min(count, len(self._turns)), part)
        return percentile(sorted(self._loop(self._turns[at : at + part]) for at in starts), 0.5)

    def close(self):
        del self._loop  # and with it the table: UltraDict's has a semaphore of its own
        gc.collect()


class _Stated(OnSource):
    default, attribute, group = "", "", 1

    def __init__(self, kind, count, cpus):
        super().__init__(kind, cpus)
        self._statement, self._count = getattr(kind, self.attribute, self.default), count

    def open(self):
        self._start(lambda source: (_User(source, self._statement, self.group), Idle()))

    def _nanoseconds(self):
        return self._pair.run((self._count,), (), _LATE)[0]


class Gets(_Stated):
    """Look-ups a second of one process, each with a key of its own."""

    default, attribute = "table[key]", "look_up"

    def measure(self):
        return 1e9 / self._nanoseconds()


class Sets(_Stated):
    """Replacements a second of one process."""

    default, attribute = "table[key] = value", "replace"

    def measure(self):
        return 1e9 / self._nanoseconds()


class Groups(_Stated):
    """Seconds for a transaction of GROUP replacements."""

    attribute, group = "group", GROUP

    def measure(self):
        return self._nanoseconds() * 1e-9


# --- growing while others read ----------------------------------------------------

READ = 1000  # keys that are there from the start and looked up meanwhile


class _Grower:
    """Inserts one by one, or by batches where a transaction costs too much for that."""

    def __init__(self, source, done, pid):
        self._source, self._done, self._pid = source, done, pid

    def open(self):
        self._table = self._source.get()
        self._pid.value = os.getpid()

    def run(self, begin, end):
        """Seconds for the keys from `begin` to `end`."""
        start = time.perf_counter()
        try:
            for at in range(begin, end, 100):
                _fill(self._source, self._table, keys_between(self._source, at, min(at + 100, end)))
        finally:
            self._done.value = 1
        return time.perf_counter() - start

    def close(self):
        pass


class _Reader:
    """Times each look-up until the grower is done."""

    def __init__(self, source, done, grower):
        self._source, self._done, self._grower = source, done, grower

    def open(self):
        table = self._source.get()
        self._keys = keys_between(self._source, 0, READ)
        _fill(self._source, table, self._keys)
        self._loop = loops.worst("key", self._source.names(table), look_up_of(self._source))

    def run(self):
        return self._loop(self._keys, self._done, self._interruptions)

    def _interruptions(self):
        """How often the kernel took the CPU away from this process or the grower's."""
        with open(f"/proc/{self._grower.value}/status") as facts:
            (theirs,) = (line for line in facts if line.startswith("nonvoluntary_ctxt"))
        mine = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        return mine + int(theirs.split()[1])

    def close(self):
        pass


class Growth(Contender):
    """Seconds that the worst look-up took while another process inserted `count` keys.

    Those during which the kernel gave either's CPU to somebody else do not count:
    a stopped process is waited for.  What is left of the machine's own stops, a virtual CPU's that is not told of
    them say, shows in the plain dict beside."""

    def __init__(self, kind, count, cpus):
        self.who, self._kind, self._count, self._cpus = kind.who, kind, count, cpus
        self.reference = getattr(kind, "reference", False)

    def measure(self):
        source = self._kind(room=self._count * 512 + (1 << 25))
        try:
            return self._grow(source, RawValue("b", 0)) * 1e-9
        finally:
            source.close()

    def _grow(self, source, done):
        pid = RawValue("i", 0)
        with Pair(_Reader(source, done, pid), _Grower(source, done, pid), self._cpus) as pair:
            (looks, undisturbed), seconds = pair.run((), (READ, READ + self._count), _LATE)
        if looks < 100:
            raise Failed(f"only {looks} look-ups while it grew")
        self.note = f"{self._count / seconds / 1e6:.2f} M inserts/s beside {looks} look-ups"
        return undisturbed
