# SPDX-License-Identifier: Apache-2.0
"""Two workers wait for a job; the one that is told of it is killed, so the other does it."""

import os
import signal
from multiprocessing import get_context

from ipcsys import Condition, Event, SharedDeque


def work(name, condition, jobs, waits):
    with condition:
        waits.set()
        condition.wait_for(lambda: len(jobs) > 0)
        print(f"the {name} does: {jobs.popleft()}")


def main():
    condition, jobs = Condition(), SharedDeque()
    workers = []
    for name in ("first", "second"):
        waits = Event()
        worker = get_context("spawn").Process(target=work, args=(name, condition, jobs, waits))
        worker.start()
        waits.wait(timeout=20)
        workers.append(worker)

    with condition:
        jobs.append("wash the dishes")
        condition.notify()  # the first: it has waited longest
        os.kill(workers[0].pid, signal.SIGKILL)
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
