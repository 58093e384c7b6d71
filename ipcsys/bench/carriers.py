# SPDX-License-Identifier: Apache-2.0
"""Ways to carry messages from one process to another: ours and the standard library's.

A carrier is made in the parent, pickled to both sides, and says in single
statements how its users put and get (ipcsys.bench.loops compiles them in).
Each is given its fastest reasonable setting; what that is stands in its class.
"""

import os

from ipcsys.bench.report import OURS

SPACE = 1 << 20  # bytes of room for each carrier that lets one choose
BATCH = 256


class Carrier:
    """One direction of one contender."""

    name = ""
    needs = None  # a module that may be missing
    lossy = False  # drops instead of waiting: `before` and `after` keep credits
    note = ""
    reference = False
    before = after = before_batch = "pass"

    put = "put(data)"
    get = "data = get()"
    put_batch = "put(batch)"
    get_batch = "batch = get()"
    put_value = "put(data)"
    get_value = "data = get()"
    spin_get = None  # polls without ever sleeping, where that is offered
    wait_get = None  # sleeps until there is something, where `get` does not

    def __init__(self, token, size):
        """In the parent.  `token` is unique; `size` the largest message, in bytes."""
        self.token = token
        self.size = size

    def sender(self):
        """In the sending process: the names that the put statements use."""
        raise NotImplementedError

    def receiver(self):
        """In the receiving process: the names that the get statements use."""
        raise NotImplementedError

    def rewind(self):
        """In the receiver, before each run."""

    def remove(self):
        """In the parent, after all runs: whatever outlives the processes."""


class Ours(Carrier):
    name = OURS
    put_batch = "put_many(batch)"
    get_batch = f"batch = get_many({BATCH})"
    spin_get = "while empty(): pass\ndata = get()"

    def _open(self):
        from ipcsys import Queue

        room = max(SPACE, 8 * self.size)
        self._queue = Queue(name=self.token, max_bytes=room)
        return self._queue

    def sender(self):
        queue = self._open()
        return {"put": queue.put, "put_many": queue.put_many}

    def receiver(self):
        queue = self._open()
        return {"get": queue.get, "get_many": queue.get_many, "empty": queue.empty}


class Pipe(Carrier):
    name = "multiprocessing.Pipe"
    put = "send_bytes(data)"
    get = "data = receive_bytes()"
    put_batch = "send(batch)"
    get_batch = "batch = receive()"
    put_value = "send(data)"
    get_value = "data = receive()"

    def __init__(self, token, size):
        super().__init__(token, size)
        import multiprocessing

        self._reader, self._writer = multiprocessing.Pipe(duplex=False)

    def sender(self):
        return {"send": self._writer.send, "send_bytes": self._writer.send_bytes}

    def receiver(self):
        return {"receive": self._reader.recv, "receive_bytes": self._reader.recv_bytes}

    def remove(self):
        self._reader.close()
        self._writer.close()


class SimpleQueue(Carrier):
    name = "multiprocessing.SimpleQueue"

    def __init__(self, token, size):
        super().__init__(token, size)
        from ipcsys.bench.pairs import context

        self._queue = context().SimpleQueue()

    def sender(self):
        return {"put": self._queue.put}

    def receiver(self):
        return {"get": self._queue.get}

    def remove(self):
        self._queue.close()


class StandardQueue(SimpleQueue):
    name = "multiprocessing.Queue"

    def __init__(self, token, size):
        Carrier.__init__(self, token, size)
        from ipcsys.bench.pairs import context

        self._queue = context().Queue()


class LookAlike(StandardQueue):
    """Our queue in the place of the last one: unbounded, any picklable object."""

    name = "ipcsys.mp.Queue"

    def __init__(self, token, size):
        Carrier.__init__(self, token, size)
        from ipcsys import mp

        self._queue = mp.Queue()


class PosixPipe(Carrier):
    """Bare reads and writes: the floor of whatever sleeps in the kernel."""

    name = "os.pipe"
    note = "bare bytes of one agreed size"
    reference = True
    put = "while (rest := len(data) - write(out, data)) > 0: data = data[-rest:]"
    get = (
        "data = read(into, length)\n"
        "while len(data) < length: data += read(into, length - len(data))"
    )  # fmt: skip
    put_batch = put_value = get_batch = get_value = None

    def __init__(self, token, size):
        super().__init__(token, size)
        from multiprocessing.connection import Connection

        # Connections, because those can be handed to a spawned child.
        reader, writer = os.pipe()
        self._reader, self._writer = Connection(reader), Connection(writer)

    def sender(self):
        return {"write": os.write, "out": self._writer.fileno()}

    def receiver(self):
        return {"read": os.read, "into": self._reader.fileno(), "length": self.size}

    def remove(self):
        self._reader.close()
        self._writer.close()


STANDARD = (Pipe, SimpleQueue, StandardQueue, PosixPipe)
