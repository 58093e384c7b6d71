# SPDX-License-Identifier: Apache-2.0
"""A counter and a list in shared memory, and a service for those who would rather ask.

    python data_manager.py        inc, get, push N, pop; quit ends it

They outlive this process: start it again, and both are there.
"""

import sys

from ipcsys import AtomicInt, Node, SharedDeque


def main():
    with Node("data-manager") as node:
        counter = node.segment.find_or_construct(AtomicInt, "counter")
        numbers = node.segment.find_or_construct(SharedDeque, "numbers")

        @node.on_request
        def answer(request):
            if request == "get_counter":
                return counter.load()
            if request.startswith("inc_"):
                return counter.add(int(request[4:]))
            raise ValueError("requests are get_counter and inc_N")

        print("inc, get, push N, pop, quit", flush=True)
        for line in sys.stdin:
            match line.split():
                case ["inc"]:
                    print(counter.add(1), flush=True)
                case ["get"]:
                    print(counter.load(), list(numbers), flush=True)
                case ["push", number]:
                    numbers.append(int(number))
                case ["pop"]:
                    print(numbers.popleft() if numbers else "empty", flush=True)
                case ["quit"]:
                    break


if __name__ == "__main__":
    main()
