# SPDX-License-Identifier: Apache-2.0
"""A status that others read and wait for, and a log that all write to."""

from multiprocessing import get_context

from ipcsys import Segment, SharedCell, SharedString


def work(segment):
    status, log = segment["status"], segment["log"]
    with segment.transaction():  # both, or neither
        status.store({"state": "done", "items": 3})
        log.append("worker: done\n")
    status.notify_all()


def main():
    with Segment(None) as segment:
        status = segment.construct(SharedCell, "status", {"state": "idle"})
        log = segment.construct(SharedString, "log", "main: begin\n")
        worker = get_context("spawn").Process(target=work, args=(segment,))
        worker.start()
        status.wait({"state": "idle"}, timeout=30)
        print(status.load())
        print(log.splitlines(), len(log), log[:4])
        worker.join()


if __name__ == "__main__":
    main()
