# SPDX-License-Identifier: Apache-2.0
"""A list that two processes change, and a vector of numbers sorted in place."""

from multiprocessing import get_context

from ipcsys import SharedVector


def collect(names, readings):
    names.extend(["lift", "pump"])
    readings += [3.5, 1.25]


def main():
    with SharedVector(["fan"]) as names, SharedVector([2.0], typecode="d") as readings:
        child = get_context("spawn").Process(target=collect, args=(names, readings))
        child.start()
        child.join()
        names.insert(0, "motor")
        readings.sort()
        print(names[1:], names[0])
        print(readings, sum(readings))


if __name__ == "__main__":
    main()
