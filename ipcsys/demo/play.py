# SPDX-License-Identifier: Apache-2.0
"""The scripted play: a data manager, two calculators, several clients; one calculator dies.

Every actor is a process of its own.  In the middle one calculator is killed
with SIGKILL while a call to it is in flight.  The clients ask the other one
again; no answer may be lost or wrong, and the data manager must have counted
each.  It all happens in a namespace of its own, which is gone afterwards.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from time import monotonic, sleep

from ipcsys import Node, PeerDied, _core

SERVERS = ("calculator-1", "calculator-2")
PATIENCE = 10.0  # seconds until an actor that does not answer is given up


# An actor imports the ipcsys that plays, wherever it was started: in a source
# folder, `-m` would put the bare folder before the installed package.
ENTRANCE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from ipcsys.demo.__main__ import main; sys.exit(main(sys.argv[1:]))"
)


class Actor:
    """One process of the play, spoken to line by line."""

    def __init__(self, namespace, *argv):
        self.name = " ".join(argv)
        self.process = subprocess.Popen(
            [sys.executable, "-c", ENTRANCE, json.dumps(sys.path), *argv],
            env={**os.environ, "IPCSYS_NAMESPACE": namespace},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def listen(self):
        """Its next line."""
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended early with status {self.process.wait()}")
        return line

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self, command):
        """Ask it to end; returns its exit status."""
        self.process.communicate(command + "\n", timeout=PATIENCE)
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def kill_under_a_call(director, victim):
    """Kill it while it works for us; returns the seconds until our call was told."""
    begun = threading.Event()
    noticed = []
    director.on_notification(lambda message: begun.set())

    def call():
        try:
            director.request(victim.name, PATIENCE, timeout=PATIENCE)
        except PeerDied:
            noticed.append(monotonic())

    caller = threading.Thread(target=call)
    caller.start()
    if not begun.wait(PATIENCE):
        raise RuntimeError(f"{victim.name} did not take a request")
    killed = monotonic()
    os.kill(victim.pid, signal.SIGKILL)
    caller.join()
    return killed, noticed[0] - killed if noticed else None


def perform(namespace, seconds, clients):
    """The play; returns what happened."""
    with ExitStack() as stack:
        data_manager = stack.enter_context(Actor(namespace, "data-manager"))
        servers = [stack.enter_context(Actor(namespace, "server", name)) for name in SERVERS]
        for actor in (data_manager, *servers):
            actor.listen()
        loads = [
            stack.enter_context(Actor(namespace, "load", str(number), str(seconds)))
            for number in range(clients)
        ]
        for load in loads:
            load.listen()
        with Node("director", namespace=namespace) as director:
            victim = director.registry.find_by_name(SERVERS[0])
            for load in loads:
                load.tell("go")
            sleep(seconds / 2)
            killed, notice = kill_under_a_call(director, victim)
            reports = [json.loads(load.listen()) for load in loads]
            counted = director.call("data-manager", "get_counter")
            offering = [info.name for info in director.discovery.providers("calculator")]
        statuses = [load.end("") for load in loads]
        statuses += [servers[1].end("q"), data_manager.end("quit")]
    return summary(reports, killed, notice, counted, offering, victim.pid, statuses)


def summary(reports, killed, notice, counted, offering, pid, statuses):
    """The figures, as plain values."""
    times = Counter()
    for report in reports:
        times.update({int(us): count for us, count in report["microseconds"].items()})
    right = sum(report["right"] for report in reports)
    wrong = sum(report["wrong_count"] for report in reports)
    deaths = [when - killed for report in reports for when in report["deaths"]]
    return {
        "clients": len(reports),
        "requests": right + wrong,
        "right": right,
        "wrong": wrong,
        "expected_errors": sum(report["expected_errors"] for report in reports),
        "first_wrong": [item for report in reports for item in report["wrong"]][:5],
        "seconds": max(report["seconds"] for report in reports),
        "calls_per_second": sum(
            (report["right"] + report["wrong_count"]) / report["seconds"] for report in reports
        ),
        "p50_us": percentile(times, 0.50),
        "p99_us": percentile(times, 0.99),
        "killed_pid": pid,
        "notice_ms": None if notice is None else notice * 1e3,
        "repeated_calls": len(deaths),
        "slowest_notice_ms": max(deaths) * 1e3 if deaths else None,
        "servers_left": offering,
        "counted": counted,
        "statuses": statuses,
        "ok": wrong == 0
        and notice is not None
        and counted == right
        and offering == [SERVERS[1]]
        and not any(statuses),
    }


def percentile(times, share):
    """The least value that `share` of the counted ones do not exceed."""
    rest = share * times.total()
    for value in sorted(times):
        rest -= times[value]
        if rest <= 0:
            return value
    return None


def tell(facts):
    """The report for people."""
    notice = facts["notice_ms"]
    heard = "never heard of it" if notice is None else f"knew after {notice:.2f} ms"
    again = facts["repeated_calls"]
    slowest = "" if again == 0 else f" (told within {facts['slowest_notice_ms']:.2f} ms)"
    lines = [
        f"{facts['clients']} clients asked 2 calculators for {facts['seconds']:.1f} s,"
        " each a process of its own; half-way one calculator was killed",
        f"  answers   {facts['right']:,} of {facts['requests']:,} right, {facts['wrong']:,} wrong"
        f" ({facts['expected_errors']:,} are errors, as they should be: 1 / 0 and its like)",
        f"  speed     {facts['calls_per_second']:,.0f} calls a second;"
        f" half took at most {facts['p50_us']} us, 99 % at most {facts['p99_us']} us",
        f"  kill -9   of calculator-1 (pid {facts['killed_pid']}) during a call:"
        f" the caller {heard}",
        f"            clients cut short, who asked again elsewhere: {again}{slowest}",
        f"            calculators left: {', '.join(facts['servers_left']) or 'none'}",
        f"  counter   the data manager, another process, counted {facts['counted']:,} answers",
        *(f"  wrong     {text} is {want}, got {got}" for text, want, got in facts["first_wrong"]),
        "ok" if facts["ok"] else "FAILED",
    ]
    return "\n".join(lines)


def play(as_json, seconds, clients):
    namespace = f"demo-{os.getpid()}-{int(monotonic() * 1e6):x}"
    try:
        facts = perform(namespace, seconds, clients)
    finally:
        shutil.rmtree(_core.folder(namespace), ignore_errors=True)
    print(json.dumps(facts, indent=2) if as_json else tell(facts))
    return 0 if facts["ok"] else 1
