# SPDX-License-Identifier: Apache-2.0
"""Kill every operation at many instructions and report.

    python -m ipcsys.testing.campaign                 every event: store and system call
    python -m ipcsys.testing.campaign --all           every instruction
    python -m ipcsys.testing.campaign --op lock       the operations whose names hold "lock"
    python -m ipcsys.testing.storms --seconds 60      random kills, counted afterwards
    python -m ipcsys.testing.hostility --tries 10000  damaged files
    python -m ipcsys.testing.values --count 10000000  values beside msgpack's

Runs in a folder of its own under /dev/shm.  Exit status 1 where anything failed.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict

from ipcsys.testing import scenes, sweeping


def _arguments(argv):
    parser = argparse.ArgumentParser(
        prog="python -m ipcsys.testing.campaign", description=__doc__.splitlines()[0]
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--all", action="store_true", help="every instruction, not every event")
    choice.add_argument("--points", type=int, metavar="N", help="at most N points an operation")
    parser.add_argument("--op", metavar="TEXT", default="", help="only operations so named")
    parser.add_argument("--seconds", type=float, metavar="S", help="at most S for one operation")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--list", action="store_true", help="name the operations and stop")
    return parser.parse_args(argv)


def main(argv=None):
    asked = _arguments(argv)
    wanted = {name: spec for name, spec in scenes.every().items() if asked.op in name}
    if asked.list or not wanted:
        print("\n".join(wanted) or f"no operation is named like {asked.op!r}")
        return 0 if asked.list else 2
    points = "all" if asked.all else asked.points or "events"
    folder = tempfile.mkdtemp(prefix="ipcsys-campaign-", dir="/dev/shm")
    totals = [0, 0]
    try:
        for number, (name, spec) in enumerate(wanted.items()):
            place = {"IPCSYS_DIR": folder, "IPCSYS_NAMESPACE": f"scene-{number}"}
            try:
                report = sweeping.sweep(spec, points, asked.seconds, place)
            except AssertionError as error:  # it fails unkilled too
                report = sweeping.Report(name, failures=[["the start", str(error)]])
            totals[0] += report.points
            totals[1] += len(report.failures)
            print(json.dumps(asdict(report)) if asked.json else report.line(), flush=True)
            for point, what in [] if asked.json else report.failures:
                print(f"    {name} at {point}: {what}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not asked.json:
        print(f"{len(wanted)} operations, {totals[0]} kills, {totals[1]} failures")
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit(main())
