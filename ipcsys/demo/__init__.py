# SPDX-License-Identifier: Apache-2.0
"""The demonstration: calculators, their clients and a data manager, as real processes.

    calculator    arithmetic from text
    work          expressions.txt, and whether an answer is right
    roles         the three roles, played by hand in three terminals
    play          the scripted play, in which one server is killed

`python -m ipcsys.demo [server | client | data-manager]` is the same as
`ipcsys demo` without its dependencies.
"""

__all__ = ["client", "data_manager", "run", "server"]


def run(json=False, seconds=4.0, clients=3):
    """The whole play; returns the exit status: 0 where every answer was right."""
    from ipcsys.demo.play import play

    return play(json, seconds, clients)


def server(argv=()):
    """A calculator; the command `q` ends it."""
    from ipcsys.demo.roles import server

    return server(list(argv))


def client(argv=()):
    """Expressions in, answers out; the command `quit` ends it."""
    from ipcsys.demo.roles import client

    return client(list(argv))


def data_manager(argv=()):
    """A shared counter and list: `inc`, `get`, `push N`, `pop`; `quit` ends it."""
    from ipcsys.demo.roles import data_manager

    return data_manager(list(argv))
