# SPDX-License-Identifier: Apache-2.0
"""A call to an idle node, from request to reply, to stand beside pipes."""

import time

from ipcsys.bench.contest import Timed
from ipcsys.bench.messages import token
from ipcsys.bench.pairs import Pair
from ipcsys.bench.report import OURS


class Server:
    """A node that answers with what it was asked, on threads of its own."""

    def __init__(self, name):
        self._name = name

    def open(self):
        from ipcsys import Node

        self._node = Node(self._name, workers=1)
        self._node.on_request(lambda data: data)
        self._node.start()

    def run(self):
        """Its own threads serve."""

    def close(self):
        self._node.stop()


class Client:
    def __init__(self, name, size):
        self._server, self._size = name, size

    def open(self):
        from ipcsys import Node

        self._node = Node(f"{self._server}-client", workers=1)
        self._node.start()

    def run(self, count, pause):
        request, data = self._node.request, b"\xa5" * self._size
        times, now = [], time.perf_counter_ns
        for _ in range(count):
            if pause:
                time.sleep(pause)
            start = now()
            request(self._server, data)
            times.append(now() - start)
        return times

    def close(self):
        self._node.stop()


class Call(Timed):
    who = f"{OURS} Node.request"

    def __init__(self, count, size, cpus, pause=0.0):
        self._count, self._size, self._cpus, self._pause = count, size, cpus, pause
        self._pair = None

    def open(self):
        name = token()
        self._pair = Pair(Client(name, self._size), Server(name), self._cpus)
        self._run(min(self._count, 200))

    def measure(self):
        return self._run(self._count)

    def _run(self, count):
        seconds = 30.0 + 10 * count * (self._pause + 1e-4)
        return self._pair.run((count, self._pause), (), seconds)[0]

    def close(self):
        if self._pair is not None:
            self._pair.close()
