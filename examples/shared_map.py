# SPDX-License-Identifier: Apache-2.0
"""A dict that several processes read and write, in a segment that all find by name."""

from multiprocessing import get_context

from ipcsys import Segment, SharedMap


def fill(city, degrees):
    segment = Segment("example-weather")
    weather = segment["temperatures"]
    weather[city] = degrees


def main():
    # It goes with its last user; without `cleanup` it would stay for the next run.
    with Segment("example-weather", size="1 MiB", cleanup="last") as segment:
        weather = segment.construct(SharedMap, "temperatures")
        spawn = get_context("spawn")
        workers = [
            spawn.Process(target=fill, args=pair) for pair in (("Oslo", -4.5), ("Lima", 21.0))
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(sorted(weather.items()))


if __name__ == "__main__":
    main()
