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

    def advantages(self):
        """For each row, how many times better our first row is; None where that means nothing."""
        ours = next((row for row in self.rows if row.ours and row.spread), None)
        return [
            None
            if ours is None or row is ours or row.spread is None
            else advantage(ours.spread.median, row.spread.median, self.better)
            for row in self.rows
        ]

    def unsure(self):
        """For each row, whether its repeats overlap ours, so that the order may be chance."""
        ours = next((row for row in self.rows if row.ours and row.spread), None)
        return [
            ours is not None
            and row is not ours
            and row.spread is not None
            and row.spread.overlaps(ours.spread)
            for row in self.rows
        ]

    def best_rival(self):
        """The median of the best row that is not ours, None without one."""
        rivals = [row.spread.median for row in self.rows if row.spread and not row.ours]
        return best(rivals, self.better)

    def to_dict(self):
        rows = []
        for row, ratio, unsure in zip(self.rows, self.advantages(), self.unsure(), strict=True):
            rows.append({**asdict(row), "advantage_of_ipcsys": ratio, "within_noise": unsure})
        return {
            "work": self.work, "unit": self.unit, "better": self.better,
            "note": self.note, "rows": rows,
        }  # fmt: skip


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
