# SPDX-License-Identifier: Apache-2.0
"""A lock that functions which call each other may each take, across processes."""

from multiprocessing import get_context

from ipcsys import RLock, SharedMap


class Account:
    def __init__(self):
        self.lock, self.money = RLock(), SharedMap({"checking": 900, "savings": 0})

    def add(self, where, amount):
        with self.lock:
            self.money[where] = self.money[where] + amount

    def move(self, amount, source, target):
        with self.lock:  # held over both, and taken again by each
            self.add(source, -amount)
            self.add(target, amount)


def save(account):
    for _ in range(100):
        account.move(1, "checking", "savings")


def main():
    account = Account()
    savers = [get_context("spawn").Process(target=save, args=(account,)) for _ in range(3)]
    for saver in savers:
        saver.start()
    for saver in savers:
        saver.join()
    print(dict(account.money))


if __name__ == "__main__":
    main()
