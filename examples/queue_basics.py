# SPDX-License-Identifier: Apache-2.0
"""queue.Queue between processes: same methods, any process that knows the name."""

from multiprocessing import get_context

from ipcsys import Queue


def work(count):
    jobs = Queue(name="example-jobs")
    results = Queue(name="example-results")
    for _ in range(count):
        job = jobs.get(timeout=10)
        results.put({"job": job, "square": job * job})


def main():
    with Queue(name="example-jobs") as jobs, Queue(name="example-results") as results:
        worker = get_context("spawn").Process(target=work, args=(3,))
        worker.start()
        for number in (2, 3, 4):
            jobs.put(number)
        for _ in range(3):
            print(results.get(timeout=10))
        worker.join()
    Queue.remove("example-jobs")
    Queue.remove("example-results")


if __name__ == "__main__":
    main()
