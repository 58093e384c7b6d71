# SPDX-License-Identifier: Apache-2.0
"""A task waits for a lock that another process holds; the event loop goes on meanwhile.

The holder is killed, and the task has the lock as soon as the kernel says so."""

import asyncio
import os
import signal
from multiprocessing import get_context

import ipcsys
from ipcsys import aio


def hold(lock, held):
    lock.acquire()
    held.set()
    signal.pause()  # killed here, with the lock in its hands


async def tick(count):
    while True:
        count.append(1)
        await asyncio.sleep(0.01)


async def main():
    lock, held = aio.Lock(), aio.Event()
    holder = get_context("spawn").Process(target=hold, args=(lock.shared, held.shared))
    holder.start()
    await held.wait(timeout=10)

    count = []
    ticker = asyncio.create_task(tick(count))
    print("in time:", await lock.acquire(timeout=0.3))  # the holder lives: not robbed
    asyncio.get_running_loop().call_later(0.1, os.kill, holder.pid, signal.SIGKILL)
    async with lock:
        print("abandoned by its owner:", lock.abandoned)
    print("the loop went on:", len(count) > 10)
    ticker.cancel()
    holder.join()

    jobs = ipcsys.Queue()  # what is there already has a face too
    await aio.wrap(jobs).put("from a task")
    print(jobs.get())


if __name__ == "__main__":
    asyncio.run(main())
