# SPDX-License-Identifier: Apache-2.0
"""Events without a name travel to child processes: a start signal and an answer each."""

from multiprocessing import get_context

from ipcsys import Event


def run(start, finished):
    start.wait()
    finished.set()


def main():
    start, finished = Event(), [Event() for _ in range(3)]
    context = get_context("spawn")
    runners = [context.Process(target=run, args=(start, line)) for line in finished]
    for runner in runners:
        runner.start()
    print("on your marks")
    start.set()
    for number, line in enumerate(finished, start=1):
        print(f"runner {number} is through:", line.wait(timeout=10))
    for runner in runners:
        runner.join()


if __name__ == "__main__":
    main()
