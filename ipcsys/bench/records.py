# SPDX-License-Identifier: Apache-2.0
"""A record's fields, read and written, beside a dict's items and an object's slots.

    python -m ipcsys.bench.records
"""

import timeit

from ipcsys.bench import loops
from ipcsys.bench.contest import Idle, OnSource
from ipcsys.bench.messages import token
from ipcsys.bench.pairs import context
from ipcsys.bench.report import OURS

ROUNDS = 50_000
_LATE = 60.0  # seconds that any one turn may take

_READS = {
    "dict['price']": "dictionary['price']",
    "object.price": "plain.price",
    "record.price (float)": "record.price",
    "record.size (u32)": "record.size",
    "record.number (int)": "record.number",
    "record.symbol (str of 3)": "record.symbol",
    "record.text (str of 40)": "record.text",
    "record.asdict()": "record.asdict()",
}
_WRITES = {
    "dict['price'] = x": "dictionary['price'] = 2.5",
    "object.price = x": "plain.price = 2.5",
    "record.price = x (float)": "record.price = 2.5",
    "record.size = x (u32)": "record.size = 7",
    "record.number = x (int)": "record.number = 7",
    "record.symbol = x (str of 3)": "record.symbol = 'XYZ'",
    "record.text = x (str of 40)": "record.text = long",
    "record.update(price=x, size=y)": "record.update(price=2.5, size=7)",
}


class _Plain:
    __slots__ = ("price",)

    def __init__(self):
        self.price = 1.5


# --- in turns with others: ipcsys bench data


class OurRecord:
    who = OURS
    read, write = "thing.price", "thing.price = 2.5"

    def __init__(self):
        self._name = token()

    def get(self):
        from ipcsys import Record

        sample = type("Sample", (Record,), {"__annotations__": {"price": float}})
        return sample(1.5, name=self._name)


class Value:
    who = "multiprocessing.Value"
    read, write = "thing.value", "thing.value = 2.5"

    def __init__(self):
        self._value = context().Value("d", 1.5)

    def get(self):
        return self._value


class Namespace:
    who = "multiprocessing.Manager().Namespace"
    read, write = "thing.price", "thing.price = 2.5"
    share = 20  # of the turns of the others: it takes a hundred times as long

    def __init__(self):
        self._manager = context().Manager()
        self._space = self._manager.Namespace(price=1.5)

    def __getstate__(self):
        return {"_space": self._space}  # the manager itself stays here

    def get(self):
        return self._space

    def close(self):
        self._manager.shutdown()


class Dict:
    """Shared with nobody: the ceiling."""

    who = "dict"
    reference = True
    read, write = "thing['price']", "thing['price'] = 2.5"

    def get(self):
        return {"price": 1.5}


class _User:
    def __init__(self, source, statement):
        self._source, self._statement = source, statement

    def open(self):
        self._thing = self._source.get()
        self.run(1000)

    def run(self, count):
        return loops.typical({"thing": self._thing}, self._statement, count)

    def close(self):
        pass


class Access(OnSource):
    """Seconds for reading or writing one number."""

    def __init__(self, kind, what, count, cpus):
        super().__init__(kind, cpus)
        self._statement = getattr(kind, what)
        self._count = count // getattr(kind, "share", 1)

    def open(self):
        self._start(lambda source: (_User(source, self._statement), Idle()))

    def measure(self):
        return self._pair.run((self._count,), (), _LATE)[0] * 1e-9


KINDS = (OurRecord, Value, Namespace, Dict)


# --- each type of field


def _names():
    import ipcsys

    class Sample(ipcsys.Record):
        price: float = 1.5
        size: ipcsys.u32 = 1
        number: int = 1
        symbol: str = "ABC"
        text: str = "t" * 40

    segment = ipcsys.Segment(None, size="1 MiB")
    record = segment.construct(Sample, "sample")
    return {"dictionary": {"price": 1.5}, "plain": _Plain(), "record": record,
            "segment": segment, "long": "u" * 40}  # fmt: skip


def measure(rounds=ROUNDS, repeats=5):
    """{statement: nanoseconds}: the best of the repeats, without the loop's own time."""
    names = _names()
    statements = {"": "pass", **_READS, **_WRITES}
    best = dict.fromkeys(statements, float("inf"))
    for _ in range(repeats):  # by turns: noise meets all of them
        for said, statement in statements.items():
            seconds = timeit.timeit(statement, globals=names, number=rounds)
            best[said] = min(best[said], seconds / rounds * 1e9)
    names["record"].close()
    names["segment"].close()
    loop = best.pop("")
    return {said: max(0.0, value - loop) for said, value in best.items()}


def main():
    for said, value in measure().items():
        print(f"{said:32} {value:8.1f} ns")


if __name__ == "__main__":
    main()
