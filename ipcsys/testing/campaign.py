# SPDX-License-Identifier: Apache-2.0
"""Kill every operation in every state it passes through, and report.

    python -m ipcsys.testing.campaign --all           every instruction
    python -m ipcsys.testing.campaign --op lock       the operations whose names hold "lock"
    python -m ipcsys.testing.campaign --each --op X   one kill for each instruction, compared
    python -m ipcsys.testing.storms --seconds 60      random kills, counted afterwards
    python -m ipcsys.testing.hostility --tries 10000  damaged files
    python -m ipcsys.testing.values --count 10000000  values beside msgpack's

Between two stores to shared memory or system calls a death looks the same to
everybody else, so one kill covers all instructions in between; --all steps
through each operation once and makes sure of it
(docs/decisions/0007-states.md).  Bounded for each operation: at most 20 000
kills, and --seconds; what that leaves out is said in its line.

Runs in a folder of its own under /dev/shm.  Exit status 1 where anything failed.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict

from ipcsys.testing import scenes, sweeping


def _arguments(argv):
    parser = argparse.ArgumentParser(
        prog="python -m ipcsys.testing.campaign", description=__doc__.splitlines()[0]
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--all", action="store_true", help="prove that every instruction is covered")
    choice.add_argument("--each", action="store_true", help="a kill for each instruction as well")
    choice.add_argument("--points", type=int, metavar="N", help="at most N points an operation")
    parser.add_argument("--op", metavar="TEXT", default="", help="only operations so named")
    parser.add_argument("--seconds", type=float, metavar="S", default=600.0,
                        help="at most S for one operation (600)")  # fmt: skip
    parser.add_argument("--jobs", type=int, metavar="N", default=len(os.sched_getaffinity(0)),
                        help="operations at a time (as many as CPUs)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--list", action="store_true", help="name the operations and stop")
    return parser.parse_args(argv)


def _sweep(servers, number, spec, points, seconds, folder):
    server = servers.pop()
    try:
        place = {"IPCSYS_DIR": folder, "IPCSYS_NAMESPACE": f"scene-{number}"}
        return server.sweep(spec, points, seconds, place)
    except AssertionError as error:  # it fails unkilled too
        return sweeping.Report(spec, failures=[["the start", str(error)]])
    finally:
        servers.append(server)


def totals(reports, seconds):
    """What all of them come to, as a dict."""
    return {
        "operations": len(reports),
        "incomplete": sum(not report.complete for report in reports),
        "instructions": sum(report.steps for report in reports),
        "covered": sum(report.covered for report in reports),
        "states": sum(report.states for report in reports),
        "kills": sum(report.points for report in reports),
        "failures": sum(len(report.failures) for report in reports),
        "seconds": round(seconds, 1),
    }


def main(argv=None):
    asked = _arguments(argv)
    wanted = {name: spec for name, spec in scenes.every().items() if asked.op in name}
    if asked.list or not wanted:
        print("\n".join(wanted) or f"no operation is named like {asked.op!r}")
        return 0 if asked.list else 2
    points = "all" if asked.all else "each" if asked.each else asked.points or "events"
    begun, reports = time.monotonic(), []
    folder = tempfile.mkdtemp(prefix="ipcsys-campaign-", dir="/dev/shm")
    jobs = max(1, min(asked.jobs, len(wanted)))
    servers = [sweeping.Server() for _ in range(jobs)]
    try:
        with ThreadPoolExecutor(jobs) as pool:
            found = [
                pool.submit(_sweep, servers, number, spec, points, asked.seconds, folder)
                for number, spec in enumerate(wanted.values())
            ]
            for one in as_completed(found):
                reports.append(one.result())
                _show(reports[-1], asked.json)
    finally:
        for server in servers:
            server.close()
        shutil.rmtree(folder, ignore_errors=True)
    total = totals(reports, time.monotonic() - begun)
    if asked.json:
        print(json.dumps({"total": total}))
    else:
        print(
            f"{total['operations']} operations ({total['incomplete']} of them not to their end), "
            + f"{total['covered']} of {total['instructions']} instructions covered, " * asked.all
            + f"{total['states']} states, {total['kills']} kills, "
            f"{total['failures']} failures, {total['seconds']:.0f} s"
        )
    return 1 if total["failures"] else 0


def _show(report, as_json):
    if as_json:
        print(json.dumps(asdict(report)), flush=True)
        return
    print(report.line(), flush=True)
    for point, what in report.failures:
        print(f"    {report.name} at {point}: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
