# SPDX-License-Identifier: Apache-2.0
"""SharedString, SharedBytes and SharedCell between processes."""

import multiprocessing
import os
import signal

import pytest

from ipcsys import SharedBytes, SharedCell, SharedString


def _work(text, octets, cell, rounds):
    for number in range(rounds):
        text.append("ab")
        octets.extend(b"xyz")
        while True:
            seen = cell.load()
            if cell.compare_exchange(seen, {"count": seen["count"] + 1, "pad": "p" * (number % 90)}):
                break
    cell.notify_all()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_no_change_of_any_process_is_lost_or_torn(start):
    context = multiprocessing.get_context(start)
    text, octets, cell = SharedString(), SharedBytes(), SharedCell({"count": 0, "pad": ""})
    workers = [context.Process(target=_work, args=(text, octets, cell, 150)) for _ in range(2)]
    for worker in workers:
        worker.start()
    while (seen := cell.load())["count"] < 300:
        assert set(seen["pad"]) <= {"p"} and str(text).replace("ab", "") == ""
        assert bytes(octets).replace(b"xyz", b"") == b""
        cell.wait(seen, 0.05)
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert text == "ab" * 300 and octets == b"xyz" * 300
    assert text.check() == octets.check() == cell.check() == []


def _hold(text, ready):
    with text.transaction():
        text.set("half done")
        ready.store(True)
        ready.notify()
        signal.pause()


def test_what_a_killed_process_left_open_is_undone():
    text, ready = SharedString(None, "whole"), SharedCell(False)
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(text, ready))
    process.start()
    assert ready.wait(False, 30)
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert text == "whole" and text.check() == []
    text += "!"
    assert text == "whole!"
