# SPDX-License-Identifier: Apache-2.0
"""The queues of ipcsys.mp: one C type, and what multiprocessing calls its kinds."""

from queue import Empty, Full

from ipcsys._core import MpQueue as Queue

__all__ = ["Empty", "Full", "JoinableQueue", "Queue", "SimpleQueue"]


class JoinableQueue(Queue):
    """multiprocessing.JoinableQueue: a Queue whose task_done() and join() are meant to be used."""

    __slots__ = ()


class SimpleQueue(Queue):
    """multiprocessing.SimpleQueue: put(), get(), empty() and close(); get() waits for ever."""

    __slots__ = ()

    def __init__(self, *, ctx=None):
        super().__init__()
