# SPDX-License-Identifier: Apache-2.0
"""All or nothing, against exceptions and against kill -9."""

import os
import signal
from multiprocessing import get_context

from ipcsys import Segment, SharedMap


def transfer_and_die(amount):
    segment = Segment("example-bank")
    accounts = segment["accounts"]
    with segment.transaction():
        accounts["alice"] -= amount
        os.kill(os.getpid(), signal.SIGKILL)  # between the two halves
        accounts["bob"] += amount


def main():
    # It goes with its last user; without `cleanup` it would stay for the next run.
    with Segment("example-bank", size="1 MiB", cleanup="last") as segment:
        accounts = segment.construct(SharedMap, "accounts")
        accounts.update({"alice": 100, "bob": 0})

        worker = get_context("spawn").Process(target=transfer_and_die, args=(30,))
        worker.start()
        worker.join()
        print("after the kill:     ", accounts["alice"], accounts["bob"])

        try:
            with segment.transaction():
                accounts["alice"] -= 30
                raise RuntimeError("changed my mind")
        except RuntimeError:
            print("after the exception:", accounts["alice"], accounts["bob"])

        with segment.transaction():
            accounts["alice"] -= 30
            accounts["bob"] += 30
        print("after the transfer: ", accounts["alice"], accounts["bob"])


if __name__ == "__main__":
    main()
