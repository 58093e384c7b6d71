# SPDX-License-Identifier: Apache-2.0
"""SharedArray in a Segment: other processes' views keep the memory, their deaths do not."""

import multiprocessing
import os
import signal
import time

import pytest

import ipcsys
from ipcsys import AtomicInt, Segment, SharedArray, SharedMap

numpy = pytest.importorskip("numpy")


def _fill(segment, value):
    segment["a"].numpy()[:] = value


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_child_sees_the_same_items(start):
    with Segment(None) as segment:
        array = segment.construct(SharedArray, "a", (10, 10))
        context = multiprocessing.get_context(start)
        for args in ((segment, 2.5), (segment, 3.0)):
            child = context.Process(target=_fill, args=args)
            child.start()
            child.join(30)
            assert child.exitcode == 0 and (array.numpy() == args[1]).all()


def _look(array, turn):
    view = array.numpy()
    turn.store(1)
    turn.notify()
    turn.wait(1, 30)
    turn.store(3 if (view == 7).all() else 4)
    turn.notify()
    if turn.wait(3, 30):
        return


@pytest.mark.parametrize("end", ["exit", "kill"])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_memory_goes_with_the_last_process_that_looks(start, end):
    with Segment(None, "1 MiB", "8 MiB") as segment:
        segment.construct(SharedArray, "first", 1).close()
        segment.destroy("first")
        before = segment.stats().used
        turn = AtomicInt()
        array = segment.construct(SharedArray, "a", 5000)
        array.numpy()[:] = 7
        child = multiprocessing.get_context(start).Process(target=_look, args=(array, turn))
        child.start()
        assert turn.wait(0, 30)
        array.close()
        segment.destroy("a")
        others = segment.construct(SharedMap, "m", {n: "x" * 900 for n in range(200)})
        assert segment.stats().used > before
        turn.store(2)
        turn.notify()
        turn.wait(2, 30)
        assert turn.load() == 3, "the memory was given away under a view"
        if end == "kill":
            os.kill(child.pid, signal.SIGKILL)
        turn.store(5)
        turn.notify()
        child.join(30)
        segment.destroy("m")
        others.close()
        limit = time.monotonic() + 10
        while segment.stats().used != before and time.monotonic() < limit:
            ipcsys.Segment(None, "64 KiB").close()  # whoever comes by clears the dead away
            segment.construct(SharedArray, "next", 1).close()
            segment.destroy("next")
        assert segment.stats().used == before and segment.check() == []
