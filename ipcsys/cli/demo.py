# SPDX-License-Identifier: Apache-2.0
"""`ipcsys demo`: the demonstration, and its three roles by hand."""

import click

from ipcsys.cli.output import json_option


@click.group(invoke_without_command=True)
@click.option("--seconds", type=click.FloatRange(0.5, 60), default=4.0, show_default=True,
              help="How long the clients work.")  # fmt: skip
@click.option("--clients", type=click.IntRange(1, 32), default=3, show_default=True,
              help="How many clients ask at the same time.")  # fmt: skip
@json_option
@click.pass_context
def demo(context, seconds, clients, as_json):
    """Calculators, their clients and a data manager; one server is killed at work.

    Without a role the whole play runs and every answer is checked.  The roles
    are for three terminals.
    """
    if context.invoked_subcommand is not None:
        return None
    from ipcsys import demo as play

    return play.run(json=as_json, seconds=seconds, clients=clients)


def _role(name, part, help_text):
    @demo.command(name, help=help_text)
    @click.argument("words", nargs=-1, metavar="[NAME]")
    def role(words):
        from ipcsys import demo as play

        return getattr(play, part)(words)

    return role


_role("server", "server", "A calculator; the command q ends it.")
_role("client", "client", "Expressions in, answers out; the command quit ends it.")
_role("data-manager", "data_manager",
      "A shared counter and list: inc, get, push N, pop; quit ends it.")  # fmt: skip
