# SPDX-License-Identifier: Apache-2.0
"""Forked processes that call methods of named objects on order, for state machines."""

import os
import pickle
import select
import signal
import struct


class Actor:
    """A process that has made `kind(*args, name=name)` and calls its methods."""

    def __init__(self, kind, *args, name):
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._orders)
                os.close(self._answers)
                _serve(kind(*args, name=name), orders, answers)
            finally:
                os._exit(0)
        os.close(orders)
        os.close(answers)
        self.busy = False

    def tell(self, method, *args):
        """Have it call; the answer comes by hear()."""
        _send(self._orders, (method, args))
        self.busy = True

    def hear(self, seconds=10):
        """What the call returned, or the class of what it raised; TimeoutError."""
        answer = select.poll()  # select() ends at descriptor 1023
        answer.register(self._answers, select.POLLIN)
        if not answer.poll(seconds * 1000):
            raise TimeoutError(f"no answer in {seconds} s")
        self.busy = False
        return _receive(self._answers)

    def call(self, method, *args):
        self.tell(method, *args)
        return self.hear()

    def end(self):
        """Kill it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._orders)
        os.close(self._answers)


def _serve(thing, orders, answers):
    while (order := _receive(orders)) is not None:
        method, args = order
        try:
            value = getattr(thing, method)(*args)
        except Exception as error:
            value = type(error)
        _send(answers, value)


def _send(pipe, value):
    data = pickle.dumps(value)
    os.write(pipe, struct.pack("I", len(data)) + data)


def _receive(pipe):
    head = os.read(pipe, 4)
    return pickle.loads(os.read(pipe, struct.unpack("I", head)[0])) if head else None
