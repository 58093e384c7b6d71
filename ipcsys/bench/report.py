# SPDX-License-Identifier: Apache-2.0
"""What a benchmark found, as plain data: rows in tables in one report."""

from dataclasses import asdict, dataclass, field

from ipcsys.bench.figures import MORE, Latency, Noise, Spread, advantage, best

OURS = "ipcsys"


@dataclass(frozen=True)
class Row:
    """One contender's result at one piece of work."""

    who: str
    spread: Spread | None = None
    latency: Latency | None = None
    note: str = ""
    lossy: bool = False  # drops messages when the reader is slow; measured with credits
    reference: bool = False  # stands beside the others to explain them, not to compete
    failed: str = ""  # why there is no figure

    @property
    def ours(self):
        return self.who.startswith(OURS)


@dataclass(frozen=True)
class Table:
    """One piece of work and how each contender did it."""

    work: str
    unit: str  # of every spread in the rows
    better: str = MORE
    rows: tuple[Row, ...] = ()
    note: str = ""
    size: int | None = None  # bytes of a message, where the unit counts messages

    @property
    def ours(self):
        """The row that the others are compared with, None where it has no figure."""
        return next((row for row in self.rows if row.ours and row.spread), None)

    def compared(self, row):
        ours = self.ours
        return ours is not None and not row.ours and row.spread and not row.reference

    def advantage_over(self, row):
        """How many times better ours is; None where that means nothing."""
        if not self.compared(row):
            return None
        return advantage(self.ours.spread.median, row.spread.median, self.better)

    def within_noise(self, row):
        """Do its repeats overlap ours, so that the order of the two may be chance?"""
        return bool(self.compared(row)) and row.spread.overlaps(self.ours.spread)

    def bytes_per_second(self, row):
        return row.spread.median * self.size if self.size and row.spread else None

    def best_rival(self):
        """The row of the best that is not ours, None without one."""
        rivals = [row for row in self.rows if self.compared(row)]
        figure = best([row.spread.median for row in rivals], self.better)
        return next((row for row in rivals if row.spread.median == figure), None)

    def to_dict(self):
        rows = [
            {
                **asdict(row),
                "bytes_per_second": self.bytes_per_second(row),
                "advantage_of_ipcsys": self.advantage_over(row),
                "within_noise": self.within_noise(row),
            }
            for row in self.rows
        ]
        return {**asdict(self), "rows": rows}


@dataclass(frozen=True)
class Report:
    """Everything that one command measured."""

    machine: dict
    noise: Noise
    tables: tuple[Table, ...]
    missing: tuple[tuple[str, str], ...] = ()  # (rival, why it was not measured)
    settings: dict = field(default_factory=dict)

    @property
    def failures(self):
        return [(table.work, row) for table in self.tables for row in table.rows if row.failed]

    def to_dict(self):
        return {
            "machine": self.machine,
            "settings": self.settings,
            "noise": asdict(self.noise),
            "tables": [table.to_dict() for table in self.tables],
            "missing": [{"who": who, "why": why} for who, why in self.missing],
        }
