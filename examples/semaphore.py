# SPDX-License-Identifier: Apache-2.0
"""Two licences for many processes; one of them is killed with a licence in its hands."""

import os
import signal
from multiprocessing import get_context

from ipcsys import AtomicInt, BoundedSemaphore, Event


def convert(licences, done):
    with licences:  # at most two processes are in here
        done.add()


def crash(licences, taken):
    licences.acquire()
    taken.set()
    signal.pause()  # killed here: no release() will ever come


def main():
    licences, done, taken = BoundedSemaphore(2), AtomicInt(0), Event()
    context = get_context("spawn")

    victim = context.Process(target=crash, args=(licences, taken))
    victim.start()
    taken.wait(timeout=10)
    print("free while one is taken:", licences.value)
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()

    workers = [context.Process(target=convert, args=(licences, done)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("conversions:", done.value)

    with licences, licences:  # both, the dead one's too
        print("free while both are taken:", licences.value)


if __name__ == "__main__":
    main()
