# SPDX-License-Identifier: Apache-2.0
"""There and back between two processes, each side answering as soon as it hears."""

from ipcsys.bench import loops
from ipcsys.bench.contest import Timed
from ipcsys.bench.messages import token
from ipcsys.bench.pairs import Pair

SPIN, WAIT = "spin", "wait"


def _statement(carrier, manner):
    return carrier.spin_get if manner == SPIN else carrier.wait_get or carrier.get


class Ping:
    """Asks and times each answer."""

    def __init__(self, there, back, manner):
        self._there, self._back, self._manner = there, back, manner

    def open(self):
        names = {**self._there.sender(), **self._back.receiver()}
        self._loop = loops.ping(names, self._there.put, _statement(self._back, self._manner))
        self._back.rewind()

    def run(self, count, pause):
        return self._loop(count, b"\xa5" * self._there.size, pause)

    def close(self):
        pass


class Echo:
    """Answers with what it got."""

    def __init__(self, there, back, manner):
        self._there, self._back, self._manner = there, back, manner

    def open(self):
        names = {**self._there.receiver(), **self._back.sender()}
        self._loop = loops.echo(names, self._back.put, _statement(self._there, self._manner))
        self._there.rewind()

    def run(self, count):
        self._loop(count)

    def close(self):
        pass


class RoundTrip(Timed):
    """Seconds for there and back; `pause` seconds of idleness before each."""

    def __init__(self, carrier_class, manner, count, size, cpus, pause=0.0):
        self.who, self.reference = carrier_class.name, carrier_class.reference
        self._class, self._manner, self._count = carrier_class, manner, count
        self._size, self._cpus, self._pause = size, cpus, pause
        self._carriers, self._pair = (), None

    def open(self):
        self._carriers = tuple(self._class(token(), self._size) for _ in range(2))
        sides = (side(*self._carriers, self._manner) for side in (Ping, Echo))
        self._pair = Pair(*sides, self._cpus)
        self._run(min(self._count, 200))

    def measure(self):
        return self._run(self._count)

    def _run(self, count):
        seconds = 30.0 + 10 * count * (self._pause + 1e-4)
        return self._pair.run((count, self._pause), (count,), seconds)[0]

    def close(self):
        if self._pair is not None:
            self._pair.close()
        for carrier in self._carriers:
            carrier.remove()
