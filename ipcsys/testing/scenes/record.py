# SPDX-License-Identifier: Apache-2.0
"""Records in a segment: values, layouts, upgrades and migrations."""

import ipcsys
import ipcsys.schema  # noqa: F401 - imported before anything is stepped through
from ipcsys.testing.scenes.segment import _Named


class _Old(ipcsys.Record, name="Tick"):
    symbol: str
    price: float
    size: ipcsys.u8 = 1
    venue: str = "a venue with a block of its own"


class _New(ipcsys.Record, version=2, name="Tick"):
    symbol: str
    last: float = ipcsys.field(renamed_from="price")
    size: int = 1
    note: str = "added, with a block of its own"


class _Migrated(ipcsys.Record, version=2, name="Tick"):
    symbol: str
    cents: int


@_Migrated.migration(from_version=1)
def _to_cents(values):
    values["cents"] = int(values["price"] * 100)


class _Record(_Named):
    """One record: its values are those before the operation, or those after it."""

    before = {"symbol": "a symbol with a block", "price": 1.5, "size": 7, "venue": "v"}
    after = before
    opened = True  # the victim opens it before the operation
    record = None

    def create(self):
        super().create()
        self.segment.construct(_Old, "warm", "X", 1.0)  # the catalogue's tables stay
        self.segment.destroy("warm")
        self.record = self.segment.construct(_Old, "t", **self.before)

    def attach(self):
        super().attach()
        if self.opened:
            self.record = self.segment.find("t", _Old)

    def read(self):
        """The values as they are, whatever the layout."""
        record = self.segment.find("t")
        return None if record is None else record.asdict()

    def own_work(self):
        record = self.segment.find("t")
        if record is not None:
            symbol = record.symbol
            record.symbol = "own " * 100
            assert record.symbol == "own " * 100 and record.check() == []
            record.symbol = symbol

    def verify(self, first, finished):
        found = self.read()
        assert found in (self.before, self.after), found
        assert found == self.after or not (first and finished)
        self.usable()
        self.own_work()
        assert self.read() == found
        return "after" if found == self.after else "before"

    def remove(self):
        if self.record is not None:
            self.record.close()
        super().remove()


class RecordSet(_Record):
    name = "record.set of one word"
    after = _Record.before | {"price": 2.5}

    def operation(self):
        return setattr, self.record, "price", 2.5


class RecordSetText(_Record):
    name = "record.set of a text"
    after = _Record.before | {"venue": "w" * 300}

    def operation(self):
        return setattr, self.record, "venue", "w" * 300


class RecordUpdate(_Record):
    name = "record.update"
    after = _Record.before | {"price": 2.5, "size": 9, "symbol": "short"}

    def operation(self):
        return (lambda: self.record.update(price=2.5, size=9, symbol="short"),)


class RecordConstruct(_Record):
    name = "record.construct"
    before = None
    after = {"symbol": "a symbol with a block", "price": 1.5, "size": 1,
             "venue": "a venue with a block of its own"}  # fmt: skip
    opened = False

    def create(self):
        _Named.create(self)

    def operation(self):
        return self.segment.construct, _Old, "t", "a symbol with a block", 1.5


class RecordDestroy(_Record):
    name = "record.destroy"
    after = None

    def operation(self):
        return self.segment.destroy, "t"


class RecordUpgrade(_Record):
    """The older program, which is the survivor, goes on with it."""

    name = "record.upgrade"
    long = True  # most of its steps are Python's
    after = {"symbol": "a symbol with a block", "last": 1.5, "size": 7,
             "note": "added, with a block of its own"}  # fmt: skip
    opened = False

    def operation(self):
        return self.segment.find, "t", _New

    def own_work(self):
        super().own_work()
        older = self.record if type(self.record) is _Old else self.segment.find("t", _Old)
        assert older.asdict() == self.before
        older.update(price=3.5, venue="elsewhere")
        assert (older.price, older.venue) == (3.5, "elsewhere")
        older.update(self.before)


class RecordRelayout(RecordUpgrade):
    """The same without what Python does for it."""

    name = "record.upgrade in the core"
    long = False

    def attach(self):
        super().attach()
        comparison = ipcsys.schema.Comparison(_New, self.segment.find("t")._layout())
        self.record = self.segment.find("t")
        self.parts = ipcsys.schema.upgraded(self.record, comparison)
        self.layout = self.record._layout()

    def operation(self):
        return self.record._upgrade, self.layout, *self.parts


class RecordMigrate(_Record):
    name = "record.migration"
    long = True
    after = {"symbol": "a symbol with a block", "cents": 150}
    opened = False

    def operation(self):
        return self.segment.find, "t", _Migrated
