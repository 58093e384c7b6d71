# SPDX-License-Identifier: Apache-2.0
"""`ipcsys rm`: removes names; what live members use only when told to."""

import sys

import click

from ipcsys import _core
from ipcsys.cli.output import json_option, namespace_option, print_json, printable
from ipcsys.errors import Error, InUse


def remove(names, namespace, force):
    """(the names removed, {"name", "error", "message"} of each that was not)."""
    _core.folder(namespace)  # a bad namespace is one failure, not one for each name
    removed, refused = [], []
    for name in names:
        try:
            _core.remove_object(name, namespace, force)
            removed.append(name)
        except Error as error:
            advice = "; --force removes the name all the same" if isinstance(error, InUse) else ""
            kind, message = type(error).__name__, f"{error}{advice}"
            refused.append({"name": name, "error": kind, "message": message})
    return removed, refused


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Also names in use: their users keep what they hold.")
@namespace_option
@json_option
def rm(names, force, namespace, as_json):
    """Remove named objects.

    A name that live members use is refused, unless --force is given.
    """
    removed, refused = remove(names, namespace, force)
    if as_json:
        print_json({"removed": removed, "refused": refused})
    for failure in () if as_json else refused:
        print(f"ipcsys: {printable(failure['message'])}", file=sys.stderr)
    return 1 if refused else 0
