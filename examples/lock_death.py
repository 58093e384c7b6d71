# SPDX-License-Identifier: Apache-2.0
"""What multiprocessing.Lock cannot do: its owner is killed, and the next one gets it."""

import os
import signal
from multiprocessing import get_context
from time import perf_counter

from ipcsys import Event, Lock


def hold(lock, held):
    lock.acquire()
    held.set()
    signal.pause()  # killed here, with the lock in its hands


def main():
    lock, held = Lock(), Event()
    holder = get_context("spawn").Process(target=hold, args=(lock, held))
    holder.start()
    held.wait(timeout=10)

    os.kill(holder.pid, signal.SIGKILL)
    started = perf_counter()
    with lock:
        print(f"acquired {1e3 * (perf_counter() - started):.2f} ms after the kill")
        print("abandoned by its owner:", lock.abandoned)  # so: check what it guards
    holder.join()


if __name__ == "__main__":
    main()
