# SPDX-License-Identifier: Apache-2.0
"""Queues."""

import contextlib

import ipcsys
from ipcsys.testing.targets.common import ANSWERS, Target


class Queue(Target):
    """Small and large messages; its builder dies having got some of them."""

    name = "queue"
    file = "jobs"

    def build(self):
        self.queue = ipcsys.Queue(name="jobs", max_bytes="4 MiB")
        self.queue.put_many([{"n": n, "fill": "f" * n * 40} for n in range(40)])
        self.queue.put(b"L" * 100_000)
        self.queue.put({"part": bytearray(60_000), "parts": [b"P" * 40_000]})
        self.queue.put_many(range(200))
        self.queue.get_many(15)

    def open(self):
        return ipcsys.Queue(name="jobs", create=False)

    def exercise(self, queue):
        for act in (
            queue.check,
            queue.qsize,
            lambda: [queue.get_nowait() for _ in range(10)],
            lambda: queue.put("p" * 500, timeout=0.05),
            lambda: queue.put(b"M" * 150_000, timeout=0.05),
            lambda: queue.put_many(list(range(100)), timeout=0.05),
            lambda: queue.get_many(20, timeout=0.05),
            lambda: queue.get_into(bytearray(1000), timeout=0.05),
            queue.drain,
            queue.full,
            lambda: queue.get(timeout=0.05),
            queue.task_done,
            queue.check,
        ):
            with contextlib.suppress(*ANSWERS, ValueError):
                act()

    def leave(self, queue):
        queue.close()
        ipcsys.Queue.remove("jobs")
