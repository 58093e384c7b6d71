# SPDX-License-Identifier: Apache-2.0
"""The group of commands, and what becomes of their failures."""

import json
import os
import sys

import click

from ipcsys.cli.bench import bench
from ipcsys.cli.check import check
from ipcsys.cli.demo import demo
from ipcsys.cli.doctor import doctor
from ipcsys.cli.dump import dump, load
from ipcsys.cli.locks import locks
from ipcsys.cli.ls import ls
from ipcsys.cli.output import printable
from ipcsys.cli.rm import rm
from ipcsys.cli.schema import schema
from ipcsys.cli.version import version
from ipcsys.errors import Error

DONE, PROBLEM, USAGE, INTERRUPTED = 0, 1, 2, 130


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.pass_context
def ipcsys(context):
    """Shared memory, messages, locks and services between processes."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(USAGE)


for _command in (bench, check, demo, doctor, dump, load, locks, ls, rm, schema, version):
    ipcsys.add_command(_command)


def _complain(error, message, as_json):
    if as_json:
        print(json.dumps({"error": type(error).__name__, "message": message}), file=sys.stderr)
    else:
        print(f"ipcsys: {message}", file=sys.stderr)


def main(arguments=None):
    """Run one command; the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    as_json = "--json" in arguments
    try:
        status = ipcsys.main(arguments, prog_name="ipcsys", standalone_mode=False)
        sys.stdout.flush()
        return DONE if status is None else status
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "ipcsys"
        _complain(error, f"{error.format_message()} Try '{where} --help'.", as_json)
        return USAGE
    except (click.Abort, KeyboardInterrupt) as error:
        _complain(error, "interrupted", as_json)
        return INTERRUPTED
    except (Error, OSError, click.ClickException) as error:
        if type(error) is BrokenPipeError:  # whoever read our output left; nobody to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            _complain(error, printable(str(error)), as_json)
        return PROBLEM
