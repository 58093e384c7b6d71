# SPDX-License-Identifier: Apache-2.0
"""Carriers of other packages, the extra `bench`; each as its own documentation uses it."""

import contextlib
import os
import shutil
import tempfile
from importlib.util import find_spec
from multiprocessing.sharedctypes import RawValue
from pickle import dumps, loads

from ipcsys.bench.carriers import BATCH, SPACE, STANDARD, Carrier, Ours
from ipcsys.bench.loops import CHUNK


class ZeroMQ(Carrier):
    """PUSH to PULL over ipc://, with room for as many messages as fit the common space."""

    name = "pyzmq"
    needs = "zmq"
    put_value = "put_object(data)"
    get_value = "data = get_object()"
    put_batch = "put_object(batch)"
    get_batch = "batch = get_object()"

    def __init__(self, token, size):
        super().__init__(token, size)
        self._folder = tempfile.mkdtemp(prefix="zmq-", dir=os.environ.get("IPCSYS_DIR"))

    def _socket(self, kind):
        import zmq

        self._context = zmq.Context()
        socket = self._context.socket(kind)
        socket.sndhwm = socket.rcvhwm = max(1000, SPACE // self.size)
        return socket, f"ipc://{self._folder}/socket"

    def sender(self):
        import zmq

        socket, address = self._socket(zmq.PUSH)
        socket.bind(address)
        return {"put": socket.send, "put_object": socket.send_pyobj}

    def receiver(self):
        import zmq

        socket, address = self._socket(zmq.PULL)
        socket.connect(address)
        return {"get": socket.recv, "get_object": socket.recv_pyobj}

    def remove(self):
        shutil.rmtree(self._folder, ignore_errors=True)


class Kickmsg(Carrier):
    """A channel of one subscriber, which drops when that lags: the sender watches its progress."""

    name = "kickmsg"
    needs = "kickmsg"
    lossy = True
    note = "no back-pressure of its own: runs on credits, 256 messages at a time"
    before = f"while position - seen.value > room - {CHUNK}: pass"
    before_batch = f"while position - seen.value > (room - 2) * {BATCH}: pass"
    after = "seen.value = position"
    get = "data = receive(60.0)"
    put_batch = "put(dumps(batch))"
    get_batch = "batch = loads(receive(60.0))"
    put_value = "put(dumps(data))"
    get_value = "data = loads(receive(60.0))"
    spin_get = "while (data := take()) is None: pass"

    def __init__(self, token, size):
        super().__init__(token, size)
        self._seen = RawValue("q", 0)
        slots = SPACE // max(64, size)
        self._room = max(2 * CHUNK, 1 << slots.bit_length() - 1)

    def _open(self):
        import kickmsg

        config = kickmsg.Config()
        config.max_subscribers = 1
        config.sub_ring_capacity = self._room
        config.pool_size = 2 * self._room
        config.max_payload_size = max(64, self.size)
        kind = kickmsg.ChannelType.PubSub
        return kickmsg.SharedRegion.create_or_open(f"/{self.token}", kind, config, "ipcsys-bench")

    def sender(self):
        import kickmsg

        put = kickmsg.Publisher(self._open()).send
        return {"put": put, "dumps": dumps, "seen": self._seen, "room": self._room}

    def receiver(self):
        import kickmsg

        end = kickmsg.Subscriber(self._open())
        return {
            "receive": end.receive, "take": end.try_receive, "loads": loads, "seen": self._seen,
        }  # fmt: skip

    def rewind(self):
        self._seen.value = 0

    def remove(self):
        import kickmsg

        kickmsg.unlink_shm(f"/{self.token}")


class Cloudtoid(Carrier):
    """A byte queue that says False when it is full: its users try again, as ours wait inside."""

    name = "cloudtoid-interprocess"
    needs = "cloudtoid_interprocess"
    put = "while not offer(data): pass"
    get = "while (data := take()) is None: pass"
    put_batch = (
        "sent = offer_many(batch)\nwhile sent < len(batch): sent += offer_many(batch[sent:])"
    )
    get_batch = (
        "batch = []\n"
        f"while len(batch) < {BATCH}:\n"
        "    if (data := take()) is not None: batch.append(data)"
    )  # fmt: skip
    put_value = "encoded = dumps(data)\nwhile not offer(encoded): pass"
    get_value = "while (encoded := take()) is None: pass\ndata = loads(encoded)"
    spin_get = get
    wait_get = "data = receive()"

    def __init__(self, token, size):
        super().__init__(token, size)
        root = os.environ.get("IPCSYS_DIR", "/dev/shm")
        self._folder = tempfile.mkdtemp(prefix="cloudtoid-", dir=root)

    def _end(self, kind):
        import cloudtoid_interprocess as package

        room = max(SPACE, 8 * self.size)
        return getattr(package, kind)(self.token, room, self._folder)

    def sender(self):
        end = self._end("Publisher")
        return {"offer": end.try_send, "offer_many": end.try_send_batch, "dumps": dumps}

    def receiver(self):
        end = self._end("Subscriber")
        return {"take": end.try_receive, "receive": end.receive, "loads": loads}

    def remove(self):
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):  # the semaphore that it leaves behind
            os.unlink(f"/dev/shm/sem.ct3ip.{self.token}")


NOT_INSTALLED = "the module {} is not installed; pip install 'ipcsys[bench]'"
PACKAGES = (ZeroMQ, Kickmsg, Cloudtoid)


def contenders(rivals):
    """(the carriers that can run, the rivals that cannot and why)."""
    wanted = (Ours, *STANDARD, *PACKAGES) if rivals else (Ours,)
    missing = [
        (carrier.name, NOT_INSTALLED.format(carrier.needs))
        for carrier in wanted
        if carrier.needs and find_spec(carrier.needs) is None
    ]
    absent = {who for who, _why in missing}
    return [carrier for carrier in wanted if carrier.name not in absent], missing
