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
    quantity,
    show,
    size_of,
    table,
)


def look(namespace):
    """The members but for this process, and the named objects."""
    objects = sorted(_core.objects(namespace), key=lambda facts: facts["name"])
    # Members after the objects: a writer who is missing among them is dead.
    everybody = {facts["owner"]: facts for facts in _core.members(namespace)}
    for facts in objects:
        facts["writer"] = writer_of(facts["writer"], everybody)
    return {
        "folder": _core.folder(namespace),
        "members": [facts for facts in everybody.values() if facts["pid"] != os.getpid()],
        "objects": objects,
    }


def writer_of(writer, everybody):
    """Who has a transaction open, for how long: a dict, None where nobody.

    `pid` is None where it died: the next to write undoes what it had begun.
    `seconds` is None where it is one call's, and over in a moment unless its
    process is stopped; `thread` is what threading.get_ident() said there.
    """
    if writer is None:
        return None
    owner, seconds, thread = writer
    member = everybody.get(owner, {"pid": None, "program": ""})
    return {
        "owner": owner,
        "pid": member["pid"],
        "program": member["program"],
        "thread": thread or None,
        "seconds": seconds,
    }


def writer_words(writer):
    if writer is None:
        return ""
    who = "a dead process" if writer["pid"] is None else f"{writer['program']} {writer['pid']}"
    return who + ("" if writer["seconds"] is None else f" for {quantity(writer['seconds'], 's')}")


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
        (
            facts["name"],
            facts["kind"],
            size_of(facts["size"]),
            facts["users"],
            writer_words(facts["writer"]),
        )
        for facts in objects
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
        columns = ("name", "kind", "size", "users", "transaction of")
        rows = object_rows(objects)
        show("", table(f"Objects: {len(objects)}", columns, rows, right=("size", "users")))
    if not members and not objects:
        show("Nobody is here, and nothing has a name.")
