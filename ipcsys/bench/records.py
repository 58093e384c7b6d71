# SPDX-License-Identifier: Apache-2.0
"""A record's fields, read and written, beside a dict's items and an object's slots.

    python -m ipcsys.bench.records
"""

import timeit

ROUNDS = 50_000

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
