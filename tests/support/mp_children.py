# SPDX-License-Identifier: Apache-2.0
"""What the children of tests/process/test_mp_processes.py do: importable under spawn."""

import os
import signal

from ipcsys import mp

_kept = {}


def keep_positionally(total, box):
    """The initializer of a pool's workers."""
    _kept.update(total=total, box=box)


def add_and_put(number):
    with _kept["total"].get_lock():
        _kept["total"].value += number
    _kept["box"].put((os.getpid(), number))
    return number * number


def work(box, answers, total, cells):
    """Answer each number with its square until None comes."""
    for number in iter(box.get, None):
        with total.get_lock():
            total.value += number
        cells[number] += 1.5
        answers.put({"n": number, "square": number * number})
        box.task_done()
    box.task_done()


def put_squares(box, numbers):
    for number in numbers:
        box.put(number * number)


def put_then_die(box, count):
    for number in range(count):
        box.put({"number": number})
    os.kill(os.getpid(), signal.SIGKILL)


def get_for_ever(box, ready):
    ready.put(os.getpid())
    while True:
        box.get()


def put_for_ever(box, ready):
    ready.put(os.getpid())
    while True:
        box.put({"pid": os.getpid(), "text": "x" * 300})


def sum_up(box, answers):
    """Of arrays until None comes: their shape and sum, and whether they are writable."""
    while (array := box.get()) is not None:
        answers.put((array.shape, float(array.sum()), array.flags.writeable))


def make_values(box):
    values = [mp.RawValue("i", number) for number in range(5)]
    for value in values:
        box.put(value)


def hold_and_die(lock, ready):
    lock.acquire()
    ready.set()
    os.kill(os.getpid(), signal.SIGKILL)


def wait_at(condition, ready):
    with condition:
        ready.set()
        condition.wait()


def meet(barrier, rounds):
    for _ in range(rounds):
        barrier.wait()


def wait_for_event(event, answers):
    answers.put(event.wait(20))


def hold_a_value_and_die(total, ready):
    with total.get_lock():
        total.value = 7
        ready.set()
        os.kill(os.getpid(), signal.SIGKILL)
