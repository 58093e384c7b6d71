# SPDX-License-Identifier: Apache-2.0
"""Tables, JSON, and the units that figures are written in."""

import json

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text


def json_option(command):
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def namespace_option(command):
    return click.option(
        "--namespace", metavar="NAME", help="Default: $IPCSYS_NAMESPACE, else 'default'."
    )(command)


def print_json(facts):
    click.echo(json.dumps(facts, indent=2))


def printable(text):
    """The text with whatever no terminal can show spelled out."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def table(title, columns, rows, right=()):
    """A rich table; `right` names the columns of figures.  Cells are never markup."""
    drawn = Table(title=Text(title), title_justify="left", title_style="bold", box=None)
    for column in columns:
        drawn.add_column(column, justify="right" if column in right else "left")
    for row in rows:
        drawn.add_row(*(Text(printable(str(cell))) for cell in row))
    return drawn


def show(*things):
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no edge to fold at
    for thing in things:
        console.print(thing)


_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def quantity(value, unit):
    """Three digits and a prefix: 1.25 µs, 3.40 M messages/s."""
    scale, prefix = next(((s, p) for s, p in _PREFIXES if abs(value) >= s * 0.9995), (1, ""))
    figure = value / scale
    digits = 2 if abs(figure) < 9.995 else 1 if abs(figure) < 99.95 else 0
    joint = "" if unit in ("s", "B/s", "B") or not prefix else " "
    return f"{figure:.{digits}f} {prefix}{joint}{unit}".rstrip()


def size_of(count):
    """Bytes in binary units: 1.5 MiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:g} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def age_of(seconds):
    """How long ago: 3 min, 2 h."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"
