# SPDX-License-Identifier: Apache-2.0
"""`ipcsys schema`: the layouts of stored records, and declarations beside them."""

import importlib
import os
import sys

import click

import ipcsys
from ipcsys.cli.output import json_option, namespace_option, print_json, show, table
from ipcsys.errors import MismatchError, NotFound
from ipcsys.schema import NEWER, OLDER, RETIRED, SAME, Comparison, spelling

_VERDICTS = {SAME: "same", OLDER: "older", NEWER: "newer"}


def opened(segment, namespace):
    """A segment by its name, or by the path of its file where that has a slash."""
    if os.sep in segment:
        return ipcsys.Segment(path=segment, namespace=namespace, create=False)
    return ipcsys.Segment(segment, namespace=namespace, create=False)


def layouts(segment, key=None):
    """{key: RecordLayout} of the records in a segment; of one where a key is given."""
    found = {}
    for name in segment.keys() if key is None else [key]:
        try:
            with segment.find(name, ipcsys.Record) or _missing(segment, name, key) as record:
                found[name] = record._layout()
        except MismatchError:  # not a record
            if key is not None:
                raise
        except LookupError:  # destroyed since
            if key is not None:
                raise
    return found


def _missing(segment, name, key):
    raise NotFound(f"there is no {name!r} in segment {segment.name!r}")


def declaration(where):
    """The class that "module:Class" names."""
    module, _, path = where.partition(":")
    if not module or not path:
        raise click.BadParameter(f"{where!r} is not module:Class")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise click.BadParameter(f"cannot import {where}: {error}") from None
    if not isinstance(found, type) or not hasattr(found, "__record_layout__"):
        raise click.BadParameter(f"{where} is not a class derived from ipcsys.Record")
    return found


def facts_of(key, layout):
    return {
        "key": key,
        "name": layout.name,
        "version": layout.version,
        "floor": layout.floor,
        "hash": f"{layout.hash:016x}",
        "bytes": layout.body,
        "fields": [
            {"name": name, "type": spelling(code, count, flags), "former": list(former),
             "retired": bool(flags & RETIRED)}
            for name, code, count, flags, former in layout.fields
        ],
    }  # fmt: skip


def comparison_of(key, comparison):
    fit = _VERDICTS.get(comparison.fit, "migrates" if comparison.usable else "unfit")
    if comparison.fit == NEWER and comparison.steps:
        fit = "migrates"
    return {
        "key": key,
        "stored": comparison.stored.version,
        "declared": comparison.cls.__record_version__,
        "verdict": fit,
        "usable": comparison.usable,
        "problem": comparison.problem(),
        "changes": [
            {"field": change.name, "kinds": change.kinds, "fatal": change.fatal,
             "stored": change.old, "declared": change.new, "text": str(change)}
            for change in comparison.changes
        ],
    }  # fmt: skip


def compared(segment_name, namespace, where, key):
    """What comparison_of() says of each record of the class's name, or under the key."""
    cls = declaration(where)
    with opened(segment_name, namespace) as segment:
        found = layouts(segment, key)
    return [
        comparison_of(name, Comparison(cls, layout))
        for name, layout in found.items()
        if key is not None or layout.name == cls.__record_layout__.name
    ]


@click.group()
def schema():
    """Look at the layouts of stored records, and compare declarations with them."""


_key_option = click.option("--key", metavar="KEY", help="Only the record under this key.")


@schema.command("show")
@click.argument("segment")
@_key_option
@namespace_option
@json_option
def show_command(segment, key, namespace, as_json):
    """Show the fields of the records in SEGMENT (a name, or the path of its file)."""
    with opened(segment, namespace) as found_segment:
        found = [facts_of(name, layout) for name, layout in layouts(found_segment, key).items()]
    if as_json:
        print_json({"segment": segment, "records": found})
        return
    if not found:
        show(f"There are no records in {segment}.")
    for facts in found:
        title = f"{facts['key']}: {facts['name']}, version {facts['version']}"
        if facts["floor"]:
            title += f", from version {facts['floor']} on"
        rows = [
            (field["name"], field["type"], ", ".join(field["former"]),
             "kept for older programs" if field["retired"] else "")
            for field in facts["fields"]
        ]  # fmt: skip
        show(table(title, ("field", "type", "formerly", ""), rows), "")


@schema.command()
@click.argument("segment")
@click.argument("declared", metavar="MODULE:CLASS")
@_key_option
@namespace_option
@json_option
def diff(segment, declared, key, namespace, as_json):
    """Show what differs between MODULE:CLASS and the records in SEGMENT (a name or a path).

    Exit status 0 where nothing does, 1 where something does.
    """
    found = compared(segment, namespace, declared, key)
    if as_json:
        print_json({"segment": segment, "declared": declared, "records": found})
    for facts in [] if as_json else found:
        show(f"{facts['key']}: version {facts['stored']} stored, {facts['declared']} declared")
        for change in facts["changes"]:
            show(f"  {'!' if change['fatal'] else ' '} {change['text']}")
    if not found and not as_json:
        show(f"There are no such records in {segment}.")
    differs = any(facts["changes"] or facts["stored"] != facts["declared"] for facts in found)
    click.get_current_context().exit(1 if differs else 0)


@schema.command()
@click.argument("segment")
@click.argument("declared", metavar="MODULE:CLASS")
@_key_option
@namespace_option
@json_option
def check(segment, declared, key, namespace, as_json):
    """Could a program with MODULE:CLASS use the records in SEGMENT (a name or a path)?

    Changes nothing.  Registered migrations count, but are not run.  Exit status
    0 where it could use all of them, 1 where it would get SchemaError.
    """
    found = compared(segment, namespace, declared, key)
    if as_json:
        print_json({"segment": segment, "declared": declared, "records": found})
    for facts in [] if as_json else found:
        outcome = {
            "same": "fits", "older": "fits, as an older version",
            "newer": "fits, and would be upgraded", "migrates": "fits, and would be migrated",
        }.get(facts["verdict"], facts["problem"])  # fmt: skip
        show(f"{facts['key']}: {outcome}")
    if not found and not as_json:
        show(f"There are no such records in {segment}.")
    click.get_current_context().exit(0 if all(facts["usable"] for facts in found) else 1)
