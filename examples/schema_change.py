# SPDX-License-Identifier: Apache-2.0
"""A program and its next version use one record at the same time.

The new version adds a field, renames one and widens another; the old one, which
knows nothing of that, goes on reading and writing."""

import subprocess
import sys

import ipcsys

if "new" in sys.argv:

    class Tick(ipcsys.Record, version=2):
        symbol: str
        last: float = ipcsys.field(renamed_from="price")
        size: int = 0  # was a u8
        currency: str = "EUR"
else:

    class Tick(ipcsys.Record, version=1):
        symbol: str
        price: ipcsys.f32
        size: ipcsys.u8 = 0


def new_program():
    with ipcsys.Segment("quotes", create=False) as quotes:
        tick = quotes.find("last", Tick)  # upgraded here, in one transaction
        print("new:", tick)
        tick.update(last=2.25, size=200, currency="USD")


def old_program():
    with ipcsys.Segment("quotes", size="1 MiB", cleanup="last") as quotes:
        tick = quotes.construct(Tick, "last", symbol="X", price=1.5)
        print("old:", tick)
        subprocess.run([sys.executable, __file__, "new"], check=True)
        print("old:", tick)  # the same object, while the program runs
        try:
            tick.size = 1000  # it keeps to its own declaration
        except OverflowError as error:
            print("old:", error)


if __name__ == "__main__":
    new_program() if "new" in sys.argv else old_program()
