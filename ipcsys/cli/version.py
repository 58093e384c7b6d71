# SPDX-License-Identifier: Apache-2.0
"""`ipcsys version`: what is installed, and on what it runs."""

import platform

import click

import ipcsys
from ipcsys import _core
from ipcsys.cli.output import json_option, print_json


@click.command()
@json_option
def version(as_json):
    """Print the version of ipcsys, of Python and of the system."""
    facts = {
        "ipcsys": ipcsys.__version__,
        "core": _core.__file__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    if as_json:
        print_json(facts)
    else:
        click.echo(f"ipcsys {facts['ipcsys']}, {facts['python']}, {facts['system']}")
