# SPDX-License-Identifier: Apache-2.0
"""A client of the play: calls without pause, checks each answer, says what it saw."""

import json
import sys
from collections import Counter
from time import monotonic, perf_counter

from ipcsys import Error, Node, PeerDied, RemoteError
from ipcsys.demo.work import expressions, is_right


class Client:
    """Asks the calculators and keeps count."""

    def __init__(self, node):
        self.node = node
        self.right = self.expected_errors = 0
        self.wrong = []  # (expression, answer, got), the first few
        self.wrong_count = 0
        self.deaths = []  # when a call in flight was told that its server had died
        self.microseconds = Counter()

    def ask(self, expression):
        """The answer, from another server where one dies over it: arithmetic may be repeated."""
        while True:
            try:
                return self.node.call("calculator", expression)
            except RemoteError as error:
                return error.type
            except PeerDied:
                self.deaths.append(monotonic())
            except Error as error:
                return f"{type(error).__name__}: {error}"

    def check(self, expression, answer):
        started = perf_counter()
        got = self.ask(expression)
        self.microseconds[int((perf_counter() - started) * 1e6)] += 1
        if is_right(got, answer):
            self.right += 1
            self.expected_errors += isinstance(got, str)
        else:
            self.wrong_count += 1
            if len(self.wrong) < 5:
                self.wrong.append((expression, answer, str(got)))


def main(argv):
    number, seconds = int(argv[0]), float(argv[1])
    work = expressions()
    with Node(f"client-{number}") as node:
        client = Client(node)
        print("ready", flush=True)
        sys.stdin.readline()
        until = monotonic() + seconds
        position = number * 997  # each begins elsewhere
        end = position + len(work)
        while position < end or monotonic() < until:
            client.check(*work[position % len(work)])
            position += 1
        node.call("data-manager", f"inc_{client.right}")
        report = vars(client) | {"statistics": node.statistics._asdict()}
        report["seconds"] = monotonic() - until + seconds
        del report["node"]
        print(json.dumps(report), flush=True)
    return 0
