# SPDX-License-Identifier: Apache-2.0
"""`ipcsys dump` and `ipcsys load`: a segment's objects as JSON lines or MessagePack."""

import contextlib
import sys

import click

import ipcsys
from ipcsys import dumps
from ipcsys.cli.output import json_option, namespace_option, print_json
from ipcsys.cli.schema import opened
from ipcsys.errors import DecodeError


@contextlib.contextmanager
def _output(path):
    if path == "-":
        yield sys.stdout.buffer
    else:
        with open(path, "xb") as file:
            yield file


@click.command()
@click.argument("segment")
@click.option("-o", "--output", metavar="FILE", default="-", help="A new file; default: print.")
@click.option("--format", "format_", type=click.Choice(["json", "msgpack"]), default="json")
@namespace_option
def dump(segment, output, format_, namespace):
    """Write the objects of a segment, of one state, as JSON lines or MessagePack.

    SEGMENT is a name, or the path of a segment's file (with a slash).
    """
    with opened(segment, namespace) as thing, _output(output) as file:
        dumps.dump(thing, file, format_)


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--segment", metavar="NAME", help="Load into this one; default: as in the dump.")
@click.option("--path", metavar="FILE", help="Give the segment a file, or load into that.")
@namespace_option
@json_option
def load(file, segment, path, namespace, as_json):
    """Construct what `ipcsys dump` wrote, all of it or nothing; "-" reads standard input.

    The segment is made where there is none, as large as it was.
    """
    data = file.read()
    head = dumps.head_of(data)
    name = segment if segment is not None else None if path else head.get("segment")
    if name is None and path is None:
        raise DecodeError("the dump is of a segment without a name: give --segment or --path")
    sizes = [head.get(size) for size in ("size", "max_size")]
    if not all(isinstance(size, int) for size in sizes):
        raise DecodeError("the dump does not say how large its segment was")
    with ipcsys.Segment(name, *sizes, path=path, namespace=namespace) as thing:
        count = dumps.load(thing, data)
        if path is not None:
            thing.flush()
        facts = {"segment": thing.name, "path": thing.path, "objects": count}
    if as_json:
        print_json(facts)
    else:
        click.echo(f"{count} objects in {facts['segment']}")
