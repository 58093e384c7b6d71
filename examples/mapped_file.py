# SPDX-License-Identifier: Apache-2.0
"""A segment in a file: what is committed survives kill -9, what is flushed a reboot."""

import os
import signal
import tempfile

import ipcsys


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "orders.ipcsys")
        worker = os.fork()
        if worker == 0:
            segment = ipcsys.Segment("orders", path=path)
            orders = segment.construct(ipcsys.SharedMap, "orders")
            orders["lamp"] = 2
            segment.flush()
            orders["chair"] = 4
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(worker, 0)

        with ipcsys.Segment(path=path) as segment:
            print("after kill -9:", dict(segment["orders"]))

        ipcsys.Segment.remove("orders")  # the live memory goes, as at a reboot
        with ipcsys.Segment(path=path) as segment:
            print("after a reboot:", dict(segment["orders"]))
        ipcsys.Segment.remove(path=path)


if __name__ == "__main__":
    main()
