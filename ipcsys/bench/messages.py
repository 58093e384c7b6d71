# SPDX-License-Identifier: Apache-2.0
"""One way from one process to another: how many a second, and how long each takes."""

import itertools
import os
import time

from ipcsys.bench import loops
from ipcsys.bench.carriers import BATCH
from ipcsys.bench.contest import Contender, Timed
from ipcsys.bench.pairs import Failed, Pair

_tokens = itertools.count(1)


def token():
    """A name that nobody else uses."""
    return f"ipcsys-bench-{os.getpid()}-{next(_tokens)}"


def payloads(size):
    """Different messages, so that the receiver's sum tells lost ones from doubled ones."""
    return [bytes((number,)) + b"\xa5" * (size - 1) for number in range(loops.CHUNK)]


def values():
    """Small dicts such as programs send each other."""
    return [
        {"id": number, "name": f"item {number}", "price": number * 0.25, "sold": number % 2 == 0}
        for number in range(loops.CHUNK)
    ]


def split(messages, count):
    """`count` messages as chunks, the last one cut short."""
    whole, rest = divmod(count, len(messages))
    return [messages] * whole + ([messages[:rest]] if rest else [])


def expected_sum(count):
    """What the receiver's touched bytes, or ids, add up to."""
    whole, rest = divmod(count, loops.CHUNK)
    return whole * sum(range(loops.CHUNK)) + sum(range(rest))


class Sender:
    """The half that sends; gives the moment when it began."""

    def __init__(self, carrier, kind):
        self._carrier, self._kind = carrier, kind

    def open(self):
        carrier = self._carrier
        names = carrier.sender()
        if self._kind == "batch":
            self._loop = loops.batch_sender(names, carrier.put_batch, carrier.before_batch)
        else:
            put = carrier.put_value if self._kind == "value" else carrier.put
            self._loop = loops.sender(names, put, carrier.before)
        self._messages = values() if self._kind == "value" else payloads(carrier.message)

    def run(self, count):
        return self._loop(split(self._messages, count))

    def close(self):
        pass


class Receiver:
    """The half that receives and touches; gives the moment when it had all, and their sum
    (of batches, how many were what was sent)."""

    def __init__(self, carrier, kind):
        self._carrier, self._kind = carrier, kind

    def open(self):
        carrier = self._carrier
        names = carrier.receiver()
        if self._kind == "batch":
            self._loop = loops.batch_receiver(names, carrier.get_batch, carrier.after)
        elif self._kind == "value":
            self._loop = loops.receiver(names, carrier.get_value, carrier.after, "data['id']")
        else:
            self._loop = loops.receiver(names, carrier.get, carrier.after, "data[0]")
        carrier.rewind()

    def run(self, count):
        if self._kind == "batch":
            cycle = b"".join(payloads(self._carrier.message)) * 2  # what any batch is a part of
            result = self._loop(count, cycle, self._carrier.message)
        else:
            whole, rest = divmod(count, loops.CHUNK)
            result = self._loop([loops.CHUNK] * whole + [rest])
        self._carrier.rewind()  # all have arrived, so the sender no longer looks
        return result

    def close(self):
        pass


class _OnCarrier(Contender):
    """What contenders on one carrier share."""

    def __init__(self, carrier_class, size, room):
        self.who, self.note = carrier_class.name, carrier_class.note
        self.lossy, self.reference = carrier_class.lossy, carrier_class.reference
        self._class, self._size, self._room = carrier_class, size, room
        self._carrier = self._pair = None

    def _start(self, first, second, cpus):
        self._pair = Pair(first, second, cpus)

    def _make_carrier(self):
        self._carrier = self._class(token(), self._room)
        self._carrier.message = self._size
        return self._carrier

    def close(self):
        if self._pair is not None:
            self._pair.close()
        if self._carrier is not None:
            self._carrier.remove()


class OneWay(_OnCarrier):
    """Messages a second; kind is "single", "batch" or "value"."""

    def __init__(self, carrier_class, kind, count, size, cpus, seconds=60.0):
        room = {"single": size, "batch": BATCH * (size + 16), "value": 256}[kind]
        super().__init__(carrier_class, size, room)
        self._kind, self._cpus, self._seconds = kind, cpus, seconds
        self._count = max(BATCH, count // BATCH * BATCH) if kind == "batch" else count

    def open(self):
        carrier = self._make_carrier()
        self._start(Sender(carrier, self._kind), Receiver(carrier, self._kind), self._cpus)
        self._transfer(min(self._count, 4 * BATCH))

    def measure(self):
        return self._count / self._transfer(self._count)

    def _transfer(self, count):
        start, (end, total) = self._pair.run((count,), (count,), self._seconds)
        expected = count if self._kind == "batch" else expected_sum(count)
        if total != expected:
            raise Failed(f"what arrived is not what was sent: {total}, not {expected}")
        return (end - start) * 1e-9


class StampedSender:
    """Sends one message every so often, its own moment inside."""

    def __init__(self, carrier):
        self._carrier = carrier

    def open(self):
        self._loop = loops.stamped_sender(self._carrier.sender(), self._carrier.put)

    def run(self, count, interval):
        self._loop(count, interval, b"\xa5" * (self._carrier.message - loops.STAMP_SIZE))

    def close(self):
        pass


class StampedReceiver:
    def __init__(self, carrier):
        self._carrier = carrier

    def open(self):
        carrier = self._carrier
        self._loop = loops.stamped_receiver(carrier.receiver(), carrier.wait_get or carrier.get)
        carrier.rewind()

    def run(self, count):
        return self._loop(count)

    def close(self):
        pass


class Delay(_OnCarrier, Timed):
    """From the moment before put to the moment after get, one message every `interval` seconds."""

    def __init__(self, carrier_class, count, size, interval, cpus):
        size = max(size, loops.STAMP_SIZE)
        super().__init__(carrier_class, size, size)
        self._count, self._interval, self._cpus = count, round(interval * 1e9), cpus
        self._seconds = 30.0 + 4 * count * interval

    def open(self):
        carrier = self._make_carrier()
        self._start(StampedSender(carrier), StampedReceiver(carrier), self._cpus)
        self._run(min(self._count, 100))

    def measure(self):
        return self._run(self._count)

    def _run(self, count):
        return self._pair.run((count, self._interval), (count,), self._seconds)[1]


class ArraySender:
    """Sends one array over and over, marked anew each time."""

    def __init__(self, carrier, size):
        self._carrier, self._size = carrier, size

    def open(self):
        self._names = self._carrier.sender()

    def run(self, count):
        import numpy

        put, data = self._names["put"], numpy.zeros(self._size // 8)
        start = time.perf_counter_ns()
        for number in range(count):
            data[-1] = number
            put(data.copy())  # a feeder thread may still read the last one
        return start

    def close(self):
        pass


class ArrayReceiver:
    """Receives arrays and reads them whole; gives the moment when it had all, and a sum."""

    def __init__(self, carrier):
        self._carrier = carrier

    def open(self):
        self._names = self._carrier.receiver()

    def run(self, count):
        get = self._names["get"]
        total = sum(float(get().sum()) for _ in range(count))
        return time.perf_counter_ns(), total

    def close(self):
        pass


class Arrays(_OnCarrier):
    """Numpy arrays a second."""

    def __init__(self, carrier_class, count, size, cpus):
        super().__init__(carrier_class, size, size)
        self._count, self._cpus = count, cpus

    def open(self):
        carrier = self._make_carrier()
        self._start(ArraySender(carrier, self._size), ArrayReceiver(carrier), self._cpus)
        self._transfer(2)

    def measure(self):
        return self._count / self._transfer(self._count)

    def _transfer(self, count):
        start, (end, total) = self._pair.run((count,), (count,), 120.0)
        if total != count * (count - 1) / 2:
            raise Failed(f"what arrived is not what was sent: {total}")
        return (end - start) * 1e-9
