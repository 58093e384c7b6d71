# SPDX-License-Identifier: Apache-2.0
"""`ipcsys check`: do the shared bytes keep their own rules?"""

import os

import click

import ipcsys
from ipcsys import _core
from ipcsys.cli.output import json_option, namespace_option, print_json, show, table
from ipcsys.errors import CorruptionError, FormatError, MismatchError, NotFound

_TYPES = {"queue": "Queue", "segment": "Segment"}


def problems_of(facts, namespace):
    """What is wrong with one named object, as lines."""
    if facts["kind"] == "unknown":
        return ["not a file of ipcsys: other first bytes, another owner, or another mode"]
    if facts["kind"] not in _TYPES:
        return []
    kind = getattr(ipcsys, _TYPES[facts["kind"]])
    try:
        with kind(name=facts["name"], namespace=namespace, create=False) as thing:
            return list(thing.check())
    except (CorruptionError, FormatError, MismatchError) as error:
        return [str(error)]


def everything(namespace):
    """The named objects and the files that are none, by name."""
    objects = {facts["name"]: facts for facts in _core.objects(namespace)}
    for name in os.listdir(_core.folder(namespace)):
        if not name.startswith("."):
            # Not in the list: another's, a symbolic link, or open to more than its owner.
            objects.setdefault(name, {"name": name, "kind": "unknown"})
    return [objects[name] for name in sorted(objects)]


def look(name, namespace):
    """{"name", "kind", "problems"} of what was checked."""
    objects = everything(namespace)
    if name is not None:
        objects = [facts for facts in objects if facts["name"] == name]
        if not objects:
            raise NotFound(f"there is no {name!r} in {_core.folder(namespace)}")
        found = []
    else:
        found = [
            {"name": "", "kind": "members", "problems": _core.check_members(namespace)},
            {"name": "", "kind": "unnamed objects", "problems": _core.check_cells(namespace)},
        ]
    for facts in objects:
        problems = problems_of(facts, namespace)
        found.append({"name": facts["name"], "kind": facts["kind"], "problems": problems})
    return found


@click.command()
@click.argument("name", required=False)
@namespace_option
@json_option
def check(name, namespace, as_json):
    """Check the members and every object of a namespace, or one object.

    Exit status 1 where something is wrong.
    """
    found = look(name, namespace)
    if as_json:
        print_json({"folder": _core.folder(namespace), "checked": found})
    else:
        rows = [
            (facts["name"] or facts["kind"], facts["kind"] if facts["name"] else "", line)
            for facts in found
            for line in facts["problems"] or ["sound"]
        ]
        show(table(_core.folder(namespace), ("what", "kind", "finding"), rows))
    return 1 if any(facts["problems"] for facts in found) else 0
