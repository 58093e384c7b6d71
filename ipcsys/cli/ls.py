# SPDX-License-Identifier: Apache-2.0
"""`ipcsys ls`: who is in a namespace, and what lies in it."""

import os
import time

import click

from ipcsys import _core
from ipcsys.cli.output import (
    age_of,
    json_option,
    namespace_option,
    print_json,
    show,
    size_of,
    table,
)


def look(namespace):
    """The members but for this process, and the named objects."""
    members = [facts for facts in _core.members(namespace) if facts["pid"] != os.getpid()]
    return {
        "folder": _core.folder(namespace),
        "members": members,
        "objects": sorted(_core.objects(namespace), key=lambda facts: facts["name"]),
    }


def member_rows(members, now):
    return [
        (
            facts["slot"],
            facts["pid"],
            facts["program"],
            f"{age_of(now - facts['joined'])} ago",
            "yes" if facts["bell"] else "no",
        )
        for facts in members
    ]


def object_rows(objects):
    return [
        (facts["name"], facts["kind"], size_of(facts["size"]), facts["users"]) for facts in objects
    ]


@click.command()
@namespace_option
@json_option
def ls(namespace, as_json):
    """List the living members of a namespace and its named objects."""
    found = look(namespace)
    if as_json:
        print_json(found)
        return
    members, objects = found["members"], found["objects"]
    show(f"Namespace {found['folder']}")
    if members:
        columns = ("slot", "pid", "program", "since", "bell")
        rows = member_rows(members, time.time())
        show("", table(f"Members: {len(members)}", columns, rows, right=("slot", "pid")))
    if objects:
        columns = ("name", "kind", "size", "users")
        rows = object_rows(objects)
        show("", table(f"Objects: {len(objects)}", columns, rows, right=("size", "users")))
    if not members and not objects:
        show("Nobody is here, and nothing has a name.")
