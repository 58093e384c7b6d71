# SPDX-License-Identifier: Apache-2.0
"""Storms over several objects of one segment, in transactions that keep a sum."""

import os
import random

import ipcsys
from ipcsys.testing.storming import LATE, Storm


class Accounts(Storm):
    """Money moves between accounts in transactions; the sum stays, and each
    worker's own line in the map says how often it moved."""

    name = "segment"
    accounts = 12
    each = 1000

    def create(self):
        self.segment = ipcsys.Segment(self.tag, "512 KiB", "16 MiB")
        self.map = self.segment.construct(
            ipcsys.SharedMap, "accounts", {n: self.each for n in range(self.accounts)}
        )
        self.journal = self.segment.construct(ipcsys.SharedDeque, "journal")

    def attach(self, role):
        self.segment = ipcsys.Segment(self.tag, create=False)
        self.map, self.journal = self.segment["accounts"], self.segment["journal"]
        self.dice = random.Random(os.getpid())
        self.moves = 0

    def work(self, role, book):
        source, target = self.dice.sample(range(self.accounts), 2)
        amount = self.dice.randrange(10)
        with self.segment.transaction(timeout=LATE):
            self.map[source] -= amount
            self.map[target] += amount
            self.map[f"worker {role}"] = self.map.get(f"worker {role}", 0) + 1
            self.journal.append((source, target, "n" * self.dice.randrange(60)))
            if len(self.journal) > 50:
                self.journal.clear()
            if self.dice.random() < 0.05:
                self.map["bulk"] = "b" * self.dice.randrange(5000)
        book[0] += 1
        self.moves += 1
        if self.moves % 64 == 0:
            assert sum(self.map[n] for n in range(self.accounts)) != 0

    def settle(self, books, lives):
        assert self.segment.check() == []
        found = self.map.copy()
        assert sum(found[n] for n in range(self.accounts)) == self.accounts * self.each, found
        told = sum(book[0] for book in books)
        done = sum(found.get(f"worker {role}", 0) for role in range(self.workers))
        assert told <= done <= told + lives, f"{told} were told, {done} are recorded"

    def remove(self):
        self.map.close()
        self.journal.close()
        self.segment.close()
        ipcsys.Segment.remove(self.tag)


class Transfers(Storm):
    """Amounts move between a map, a vector, a typed vector and a deque, in
    transactions with savepoints that are undone; two of the workers only read,
    and never see another sum."""

    name = "transfers"
    workers = 5
    readers = 2
    places = 8
    each = 100

    @property
    def total(self):
        return 4 * self.places * self.each

    def create(self):
        amounts = [self.each] * self.places
        self.segment = ipcsys.Segment(self.tag, "512 KiB", "16 MiB")
        self.objects = (
            self.segment.construct(ipcsys.SharedMap, "map", enumerate(amounts)),
            self.segment.construct(ipcsys.SharedVector, "vector", amounts),
            self.segment.construct(ipcsys.SharedVector, "typed", amounts, typecode="q"),
            self.segment.construct(ipcsys.SharedDeque, "deque", amounts),
        )

    def attach(self, role):
        self.segment = ipcsys.Segment(self.tag, create=False)
        self.objects = [self.segment[key] for key in ("map", "vector", "typed", "deque")]
        self.dice = random.Random(os.getpid())

    def work(self, role, book):
        if role >= self.workers - self.readers:
            self.look()
        else:
            self.move()
        book[0] += 1

    def move(self):
        (source, here), (target, there) = (
            (self.dice.choice(self.objects), self.dice.randrange(self.places)) for _ in range(2)
        )
        amount = self.dice.randrange(10)
        with self.segment.transaction(timeout=LATE):
            source[here] -= amount
            if self.dice.random() < 0.3:
                self.try_in_vain(target)
            target[there] += amount
            if self.dice.random() < 0.3:  # the others see it there, or not at all
                self.objects[3].rotate(1)
                self.objects[1].append(self.objects[1].pop(0))

    def try_in_vain(self, target):
        try:
            with self.segment.transaction():
                target[0] += 1000
                self.objects[0]["more"] = 1000
                raise LookupError
        except LookupError:
            pass

    def sum(self):
        amounts, *rows = self.objects
        return sum(amounts.values()) + sum(map(sum, rows))

    def look(self):
        if self.dice.random() < 0.5:
            with self.segment.read(timeout=LATE):
                found = self.sum()
        else:
            for view in self.segment.read(timeout=LATE):
                with view:
                    found = self.sum()
        assert found == self.total, found

    def settle(self, books, lives):
        assert self.segment.check() == []
        found = self.sum()
        assert found == self.total, found

    def remove(self):
        for each in self.objects:
            each.close()
        self.segment.close()
        ipcsys.Segment.remove(self.tag)
