# SPDX-License-Identifier: Apache-2.0
"""One lock by name: four processes add to a number, and nothing is lost."""

from multiprocessing import get_context

from ipcsys import Lock, SharedMap


def work(times):
    lock, counter = Lock(name="example-door"), SharedMap(name="example-counter")
    for _ in range(times):
        with lock:  # read, change, write: as one
            counter["n"] = counter.get("n", 0) + 1


def main():
    with SharedMap(name="example-counter", create=True) as counter:
        context = get_context("spawn")
        workers = [context.Process(target=work, args=(500,)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print("counted:", counter["n"])
    SharedMap.remove("example-counter")
    Lock.remove("example-door")


if __name__ == "__main__":
    main()
