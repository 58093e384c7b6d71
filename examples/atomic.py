# SPDX-License-Identifier: Apache-2.0
"""Workers count without a lock, and the last one wakes who waits for the count."""

from multiprocessing import get_context

from ipcsys import AtomicBool, AtomicFloat, AtomicInt

WORKERS = 3


def work(ready, total, done):
    ready.wait(False)  # sleeps while it is False
    for _ in range(1000):
        total.add(0.5)
    if done.add(1) == WORKERS:
        done.notify()


def main():
    ready, total, done = AtomicBool(), AtomicFloat(), AtomicInt()
    context = get_context("spawn")
    workers = [context.Process(target=work, args=(ready, total, done)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    ready.store(True)
    ready.notify_all()
    while (seen := done.load()) < WORKERS:
        done.wait(seen)
    print("total:", total.load())
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
