# SPDX-License-Identifier: Apache-2.0
"""What a storm is made of: ipcsys.testing.storms blows them."""

LATE = 10.0  # seconds without any progress of anybody are a failure
LINE = 64  # bytes of one worker's book: its own cache line


class Book:
    """Numbers of a worker, in memory that survives it."""

    def __init__(self, pages, line):
        # As words: each is written by one store, so that no kill tears it.
        self._words = memoryview(pages).cast("Q")[line * LINE // 8 :]

    def __getitem__(self, index):
        return self._words[index]

    def __setitem__(self, index, number):
        self._words[index] = number

    def close(self):
        self._words.release()


class Storm:
    """What the workers do, and what must be true after each of their lives.

    A worker's `work` runs again and again; it counts its progress in book[0].
    """

    name = ""
    workers = 4

    def __init__(self, tag):
        self.tag = tag

    def create(self):
        """The referee makes the objects (and keeps them open)."""

    def attach(self, role):
        """A worker opens them."""

    def work(self, role, book):
        """One operation of a worker."""
        raise NotImplementedError

    def settle(self, books, lives):
        """All workers are dead, after so many lives: AssertionError unless
        everything adds up."""
        raise NotImplementedError

    def remove(self):
        """The referee takes the objects away."""
