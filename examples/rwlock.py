# SPDX-License-Identifier: Apache-2.0
"""Many read prices, one writes them: readers never see half an update, even when the writer dies."""

import os
import signal
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory

from ipcsys import Event, RWLock

ROUNDS = 200


def read(lock, memory):
    for _ in range(ROUNDS):
        with lock.read():  # many at once
            bid, ask = memory.buf[0], memory.buf[1]
        assert ask == (bid + 1) % 256, "half an update"


def write(lock, memory):
    for bid in range(ROUNDS):
        with lock.write():  # alone
            memory.buf[0] = bid
            memory.buf[1] = (bid + 1) % 256


def die_writing(lock, memory, inside):
    with lock.write():
        memory.buf[0] = 99
        inside.set()
        signal.pause()  # killed here, between the two stores


def main():
    context = get_context("fork")
    lock, inside, memory = RWLock(), Event(), SharedMemory(create=True, size=2)
    memory.buf[1] = 1
    try:
        work = [context.Process(target=read, args=(lock, memory)) for _ in range(3)]
        work.append(context.Process(target=write, args=(lock, memory)))
        for process in work:
            process.start()
        for process in work:
            process.join()
        print("whole updates only:", all(process.exitcode == 0 for process in work))

        victim = context.Process(target=die_writing, args=(lock, memory, inside))
        victim.start()
        inside.wait(10)
        os.kill(victim.pid, signal.SIGKILL)
        with lock.read():
            print("left in the middle:", lock.abandoned)
            lock.upgrade()  # nobody writes between the look and the repair
            memory.buf[1] = (memory.buf[0] + 1) % 256
        print("mended:", not lock.abandoned)
        victim.join()
    finally:
        memory.close()
        memory.unlink()


if __name__ == "__main__":
    main()
