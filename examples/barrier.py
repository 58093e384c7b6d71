# SPDX-License-Identifier: Apache-2.0
"""Workers go through the phases of a computation together; when one is killed, the rest hear of it."""

import os
import signal
from multiprocessing import get_context

from ipcsys import Barrier, BrokenBarrierError, Queue

WORKERS = 3


def say_next():
    print("all are done with a phase", flush=True)  # by the last of them, before any goes on


def work(barrier, results, number, dies):
    try:
        for phase in range(3):
            if dies and phase == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            barrier.wait(timeout=30)
        results.put(f"worker {number} came to its end")
    except BrokenBarrierError:
        results.put(f"worker {number} heard that one is missing")


def main():
    context = get_context("spawn")
    barrier, results = Barrier(WORKERS, action=say_next), Queue()
    workers = [
        context.Process(target=work, args=(barrier, results, number, number == 0))
        for number in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for line in sorted(results.get(timeout=30) for _ in range(WORKERS - 1)):
        print(line)
    for worker in workers:
        worker.join()
    barrier.reset()
    print("usable again:", not barrier.broken)


if __name__ == "__main__":
    main()
