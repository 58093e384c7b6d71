# SPDX-License-Identifier: Apache-2.0
"""`ipcsys bench`: measures, beside the rivals if asked to, and draws the report."""

import click

from ipcsys.cli.output import json_option, print_json, quantity, show, table

WORKS = (
    "messages",
    "throughput",
    "latency",
    "roundtrip",
    "lock",
    "sync",
    "mp",
    "data",
    "call",
    "memory",
    "death",
    "all",
)

_FEW, _MANY = 10_000, 100_000


def _ratio(found, row):
    ratio = found.advantage_over(row)
    if ratio is None:
        return ""
    return f"{ratio:.2f} x" + (" ?" if found.within_noise(row) else "")


def _remarks(row):
    return "; ".join(filter(None, (row.note, "lossy" if row.lossy else "")))


def _cells(found, row):
    """A row as text, one cell for each of _columns."""
    if row.spread is None:
        return (row.who, "failed" if row.failed else "-", row.failed or _remarks(row))
    spread = row.spread
    cells = [row.who]
    cells += [quantity(value, found.unit) for value in (spread.median, spread.low, spread.high)]
    if found.size:
        cells.append(quantity(found.bytes_per_second(row), "B/s"))
    if any(other.latency for other in found.rows):
        cells += _percentiles(row.latency)
    return (*cells, _ratio(found, row), _remarks(row))


def _percentiles(latency):
    if latency is None:
        return [""] * 5
    values = (latency.mean, latency.p50, latency.p99, latency.p99_9, latency.max)
    return [quantity(value, "s") for value in values]


def _columns(found):
    columns = ["", "median", "lowest", "highest"]
    if found.size:
        columns.append("bytes")
    if any(row.latency for row in found.rows):
        columns += ["mean", "p50", "p99", "p99.9", "max"]
    return [*columns, "ipcsys is", "remarks"]


def draw(found):
    """One table of the report."""
    columns = _columns(found)
    rows = []
    for row in found.rows:
        cells = _cells(found, row)
        blanks = [""] * (len(columns) - len(cells))
        rows.append((*cells[:-1], *blanks, cells[-1]))
    title = found.work + (f" ({found.note})" if found.note else "")
    return table(title, columns, rows, right=columns[1:-1])


def closing_lines(report):
    """What must be known to read the tables."""
    machine, noise = report.machine, report.noise
    yield (
        f"{machine['cpu'] or 'unknown CPU'}, {machine['cpus']} CPUs (used {machine['used']}), "
        f"Linux {machine['kernel']}, Python {machine['python']}; "
        f"{report.settings['repeats']} repeats, interleaved"
    )
    yield (
        f"Noise: {noise.verdict}; {noise.lost:.0%} of the time of a fixed loop went to others, "
        f"the slowest of {noise.samples} took {noise.worst:.1f} x the fastest."
    )
    if any(found.within_noise(row) for found in report.tables for row in found.rows):
        yield "A ratio with ? is within the spread of the repeats: the order may be chance."
    for who, why in report.missing:
        yield f"Not measured: {who}: {why}"


@click.command()
@click.argument("work", type=click.Choice(WORKS), default="messages")
@click.option("--messages", type=click.IntRange(1, 100_000_000),
              help=f"How many, each time.  Default: {_FEW}, with --rivals {_MANY}.")  # fmt: skip
@click.option("--size", type=click.IntRange(1, 64 << 20), default=1024, show_default=True,
              help="Bytes of a message.")  # fmt: skip
@click.option("--repeats", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option("--interval", type=click.FloatRange(1, 1e6), default=50.0, show_default=True,
              help="Microseconds between the messages whose latency is measured.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1, 100_000), default=100, show_default=True,
              help="How many die in `bench death`.")  # fmt: skip
@click.option("--memory", type=click.IntRange(1, 1 << 20), default=1024, show_default=True,
              help="MiB of the large victim of `bench death` and the array of `bench data`.")  # fmt: skip
@click.option("--rivals", is_flag=True, help="The same work on other packages, in turns.")
@json_option
def bench(work, messages, rivals, as_json, interval, memory, **settings):
    """Measure a WORK in real processes that are pinned apart.

    \b
    messages    throughput and latency of a queue (the default)
    throughput  one way, one by one; with --rivals also in batches and as dicts
    latency     from put to get, one message every so often
    roundtrip   there and back: spinning, back to back, after idleness
    lock        acquire and release: free, by `with`, contended
    sync        every primitive beside its namesakes: free, contended, handed over
    mp          ipcsys.mp.Queue: small dicts, numpy arrays of 10 MB (a part of sync)
    data        maps, vectors, deques, atomics, arrays; with --rivals lmdb and UltraDict
    call        a call to a node beside pipes
    memory      allocation and look-up in a segment, inside C
    death       from kill -9 of a lock's holder to the next owner, and what becomes
                of the others where users of locks, queues, conditions, barriers die
    all         all of these
    """
    from ipcsys.bench import suites

    chosen = suites.Settings(
        messages=messages or (_MANY if rivals else _FEW),
        rivals=rivals, interval=interval * 1e-6, memory=memory << 20, **settings,
    )  # fmt: skip
    report = suites.run(work, chosen)
    if as_json:
        print_json(report.to_dict())
    else:
        for found in report.tables:
            show(draw(found), "")
        show(*closing_lines(report))
    return 1 if report.failures else 0
