# SPDX-License-Identifier: Apache-2.0
"""A program written for multiprocessing, with one line changed; one of its workers is killed.

With `import multiprocessing as mp` it would hang: the killed worker takes the
lock, and the queue's, along.
"""

import os
import signal

from ipcsys import mp


def work(tasks, results, lock, total):
    for number in iter(tasks.get, None):
        with lock:
            if number == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            total.value += number
        results.put({"number": number, "square": number * number})


def main():
    tasks, results = mp.Queue(), mp.Queue()
    lock, total = mp.Lock(), mp.Value("i", 0)
    workers = [mp.Process(target=work, args=(tasks, results, lock, total)) for _ in range(3)]
    for process in workers:
        process.start()
    for number in range(10):
        tasks.put(number)
    for _ in workers:
        tasks.put(None)
    for process in workers:
        process.join()
    print("ended:", sorted(process.exitcode for process in workers))
    print("done:", sorted(results.get()["number"] for _ in range(9)))
    print("total:", total.value)


if __name__ == "__main__":
    main()
