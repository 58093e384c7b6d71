# SPDX-License-Identifier: Apache-2.0
"""Segments, and how what stands in them is used."""

import contextlib

import ipcsys
from ipcsys.testing.targets.common import ANSWERS, Target


class Segment(Target):
    """Its builder dies inside a transaction."""

    name = "segment"
    file = "shop"

    def build(self):
        self.segment = ipcsys.Segment("shop", "128 KiB", "1 MiB")
        self.map = self.segment.construct(ipcsys.SharedMap, "stock")
        for number in range(40):
            self.map[number] = "v" * number * 7
        self.deque = self.segment.construct(ipcsys.SharedDeque, "log", range(30))
        self.segment.construct(ipcsys.AtomicInt, "count", 5)
        self.segment.construct(ipcsys.SharedArray, "pixels", (4, 5), "u2")
        self.transaction = self.segment.transaction()
        self.transaction.__enter__()
        self.map[3] = "w" * 600
        del self.map[5]
        self.deque.append("x")

    def open(self):
        return ipcsys.Segment("shop", create=False)

    def exercise(self, segment):
        for act in (
            segment.check,
            # A damaged type number may make another kind of object of it.
            lambda: exercise_map(of_kind(ipcsys.SharedMap, segment["stock"])),
            lambda: exercise_deque(of_kind(ipcsys.SharedDeque, segment["log"])),
            lambda: of_kind(ipcsys.AtomicInt, segment["count"]).add(3),
            lambda: segment.construct(ipcsys.SharedMap, "more", {1: "y" * 5000}),
            lambda: memoryview(of_kind(ipcsys.SharedArray, segment["pixels"])).tobytes(),
            lambda: segment.destroy("pixels"),
            lambda: segment.destroy("log"),
            lambda: [segment.find(key) for key in segment],
            segment.stats,
            lambda: grow(segment),
            segment.check,
        ):
            with contextlib.suppress(*ANSWERS):
                act()

    def leave(self, segment):
        segment.close()


def of_kind(kind, found):
    if not isinstance(found, kind):
        raise KeyError(f"a {type(found).__name__}, not a {kind.__name__}")
    return found


def grow(segment):
    with segment.transaction(timeout=1):
        segment.construct(ipcsys.SharedMap, "large", {1: "z" * 300_000})


def exercise_map(shared):
    for act in (
        lambda: shared.copy(),
        lambda: len(shared),
        lambda: look_up(shared, list(shared)),
        lambda: shared.update({number: b"u" * 90 for number in range(30, 60)}),
        lambda: [shared.pop(number) for number in range(0, 40, 3)],
        lambda: shared.check(),
        lambda: shared.clear(),
    ):
        with contextlib.suppress(*ANSWERS):
            act()


def look_up(shared, keys):
    for key in keys:
        with contextlib.suppress(TypeError):  # damaged bytes may read as a list
            shared[key]


def exercise_deque(shared):
    for act in (
        lambda: list(shared),
        lambda: shared.extend(range(40)),
        lambda: [shared.popleft() for _ in range(10)],
        lambda: shared[3],
        lambda: shared.appendleft("l" * 4000),
        lambda: [shared.pop() for _ in range(10)],
        lambda: shared.check(),
        lambda: shared.clear(),
    ):
        with contextlib.suppress(*ANSWERS):
            act()
