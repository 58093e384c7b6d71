# SPDX-License-Identifier: Apache-2.0
"""What a notebook shows of a shared object: `_repr_html_` of maps, vectors, deques,
arrays and segments.

Of a large object the first things and their number; every text is escaped and
cut, so what comes out is bounded whatever lies in the object.
"""

import itertools
import reprlib
from html import escape

ROWS = 20  # of a map, a sequence or a segment
_TEXT = 120  # characters of a key or value

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = _TEXT
_shorten.maxdict = _shorten.maxlist = _shorten.maxtuple = _shorten.maxset = 10

_BAR = (
    '<div style="width:20em;border:1px solid #888">'
    '<div style="width:{:.1f}%;height:0.8em;background:#4a90d9"></div></div>'
)


def html(shared):
    """The object as HTML for a notebook; a closed or destroyed one as its repr."""
    from ipcsys import Error, Record, Segment, SharedArray, SharedMap

    drawings = (
        (SharedMap, _map), (SharedArray, _array), (Segment, _segment), (Record, _record),
    )  # fmt: skip
    draw = next((draw for kind, draw in drawings if isinstance(shared, kind)), _sequence)
    try:
        return _preformatted(repr(shared)) if shared.closed else draw(shared)
    except Error as error:  # destroyed meanwhile, damaged: say so where it would have stood
        return _preformatted(f"<{type(shared).__name__}: {error}>")


def _text(value):
    text = _shorten.repr(value)
    return escape(text if len(text) <= 4 * _TEXT else text[: 4 * _TEXT] + "…")


def _preformatted(text):
    return f"<pre>{escape(text)}</pre>"


def _caption(shared, *facts):
    name = "" if shared.name is None else f" {shared.name!r}"
    return ", ".join((f"{type(shared).__name__}{name}", *facts))


def _table(caption, heads, rows, more):
    """`rows` of texts that are escaped already; `more` counts what is left out."""
    lines = ["<table>", f"<caption>{escape(caption)}</caption>"]
    lines.append("<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>")
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    if more > 0:
        lines.append(f'<tr><td colspan="{len(heads)}">… and {more} more</td></tr>')
    return "\n".join((*lines, "</table>"))


def _map(shared):
    items = shared.items()
    length = len(shared)
    rows = [(_text(key), _text(value)) for key, value in itertools.islice(items, ROWS)]
    caption = _caption(shared, f"{length} items")
    return _table(caption, ("key", "value"), rows, length - len(rows))


def _sequence(shared):
    length = len(shared)
    values = list(itertools.islice((shared[place] for place in range(length)), ROWS))
    rows = [(str(place), _text(value)) for place, value in enumerate(values)]
    facts = [f"{length} values"]
    if getattr(shared, "typecode", None) is not None:
        facts.append(f"typecode {shared.typecode!r}")
    if getattr(shared, "maxlen", None) is not None:
        facts.append(f"maxlen {shared.maxlen}")
    return _table(_caption(shared, *facts), ("", "value"), rows, length - len(rows))


def _record(shared):
    fields = shared.asdict()
    rows = [(escape(key), _text(value)) for key, value in itertools.islice(fields.items(), ROWS)]
    caption = _caption(shared, f"{len(fields)} fields")
    return _table(caption, ("field", "value"), rows, len(fields) - len(rows))


def _array(shared):
    try:
        text = repr(shared.numpy())
    except ImportError:
        return _preformatted(repr(shared))
    if len(text) > 20_000:  # wide records, long strings
        text = text[:20_000] + "…"
    facts = f"shape {shared.shape}", f"dtype {shared.dtype}", f"{_size(shared.nbytes)}"
    return f"<div>{escape(_caption(shared, *facts))}</div>{_preformatted(text)}"


def _segment(shared):
    stats = shared.stats()
    facts = (
        f"{_size(stats.used)} used of {_size(stats.size)}",
        f"may grow to {_size(stats.max_size)}",
        f"{stats.objects} objects",
        f"{stats.members} members",
    )
    share = 100 * stats.used / stats.size if stats.size else 0.0
    keys = shared.keys()
    rows = [_described(shared, key) for key in keys[:ROWS]]
    table = _table(_caption(shared, *facts), ("key", "type", "holds"), rows, len(keys) - len(rows))
    return _BAR.format(min(100.0, share)) + table


def _described(segment, key):
    """A row of the table of objects; one that cannot be opened here is named all the same."""
    try:
        found = segment.find(key)
    except Exception as error:  # a Record's class that is not here, a newer version's type
        return _text(key), "?", escape(str(error)[:_TEXT])
    if found is None:
        return _text(key), "gone", ""
    try:
        holds = f"{len(found)} items" if hasattr(found, "__len__") else _text(found)
    except Exception as error:
        holds = escape(str(error)[:_TEXT])
    return _text(key), escape(type(found).__name__), holds


def _size(count):
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
