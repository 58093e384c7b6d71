# SPDX-License-Identifier: Apache-2.0
"""`ipcsys locks`: who holds what, who waits for it, and who waits for each other."""

import time
from dataclasses import asdict

import click

from ipcsys import _core
from ipcsys.cli.output import (
    json_option,
    namespace_option,
    print_json,
    quantity,
    show,
    table,
)


def party(who):
    """A holder or a waiter as text: who, and what is known of the time."""
    if who.pid is None:
        return "a dead process"
    thread = getattr(who, "ident", None) if who.thread is None else who.thread
    words = f"{who.program} {who.pid}"
    if thread is not None and thread != who.pid:
        words += f"/{thread}" if who.thread is not None else f"/{thread:#x}"
    if who.task is not None:
        words += f" task {who.task:#x}"
    if getattr(who, "count", 1) > 1:
        words += f" has {who.count}"
    if who.seconds is not None:
        words += f" for {quantity(who.seconds, 's')}"
    elif getattr(who, "seen", None):
        words += f", seen for {quantity(who.seen, 's')}"
    return words


def waiter(who):
    return party(who) + ("" if who.left is None else f" of {quantity(who.seconds + who.left, 's')}")


def rows_of(locks):
    for lock in locks:
        yield (
            lock.label,
            lock.kind,
            lock.state + (", abandoned" if lock.abandoned and lock.state == "held" else ""),
            "\n".join(map(party, lock.holders)),
            "\n".join(map(waiter, lock.waiters)),
        )


def cycle_facts(cycle):
    steps = [
        {**asdict(waiter), "waits_for": lock.label, "kind": lock.kind}
        for waiter, lock in cycle.steps
    ]
    return {"certain": cycle.certain, "for_ever": cycle.for_ever, "steps": steps}


def cycle_lines(cycle):
    from ipcsys import sync

    if len(cycle.steps) == 1:
        title = "A thread waits for what it holds itself"
    else:
        title = f"{len(cycle.steps)} threads wait for each other"
    if any(waiter.task is not None for waiter, _lock in cycle.steps):
        title = title.replace("A thread", "A task").replace("threads", "threads or tasks")
    title += "" if cycle.certain else ", as far as can be told"
    title += "" if cycle.for_ever else "; a timeout will end it"
    yield f"{title}:"
    for waiter, lock in cycle.steps:
        yield (
            f"    {waiter.program} (pid {waiter.pid}, {sync.waiter_place(waiter)}) waits for"
            f" {lock.label} ({lock.kind}) since {quantity(waiter.seconds, 's')}"
        )


def _has_a_row(lock):
    """Also while it is idle: what has a name, but segments, which `ipcsys ls` lists."""
    return lock.name is not None and lock.kind != "Segment"


@click.command()
@click.option("--all", "everything", is_flag=True,
              help="Also the unnamed ones that nobody has and nobody waits for.")  # fmt: skip
@click.option("--over", metavar="SECONDS", type=click.FloatRange(min=0),
              help="Look twice, so long apart: since when is it seen held where nobody waits.")  # fmt: skip
@namespace_option
@json_option
def locks(namespace, as_json, everything, over):
    """List every lock of a namespace: who holds it, since when, who waits.

    Also events and whatever else one can wait for.  Exit status 1 where
    threads wait for each other, so that none of them can go on.
    """
    from ipcsys import sync

    observer = sync.Observer(namespace)
    if over is not None:
        observer.locks()
        time.sleep(over)
    found, cycles = observer.survey()
    shown = [lock for lock in found if everything or not lock.idle or _has_a_row(lock)]
    hidden = len(found) - len(shown)
    if as_json:
        print_json({
            "folder": _core.folder(namespace),
            "locks": [asdict(lock) for lock in shown],
            "cycles": [cycle_facts(cycle) for cycle in cycles],
            "hidden": hidden,
        })  # fmt: skip
        return 1 if cycles else 0
    columns = ("name", "kind", "state", "holder", "waiting")
    if shown:
        show(table(_core.folder(namespace), columns, rows_of(shown)))
    else:
        show(f"Nothing in {_core.folder(namespace)} has a holder, a waiter or a name.")
    if hidden:
        show(f"And {hidden} without a name, or segments, that nobody has or waits for (--all).")
    for cycle in cycles:
        show("", *cycle_lines(cycle))
    return 1 if cycles else 0
