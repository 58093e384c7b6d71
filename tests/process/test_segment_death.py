# SPDX-License-Identifier: Apache-2.0
"""Segments between processes: what a kill leaves, who waits for whom, and handles that travel."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from child import Child, until

import ipcsys
from ipcsys import AtomicInt, Segment, SharedDeque, SharedMap, TransactionError

CHANGE_AND_HANG = """
seg = ipcsys.Segment("bank", create=False)
table, items = seg["m"], seg["d"]
with seg.transaction():
    table["a"] = "half done"
    del table["b"]
    items.append("half done")
    seg.construct(ipcsys.SharedMap, "new", {"x": 1})
    seg.destroy("doomed")
    with seg.transaction():
        table["nested"] = 1
    say("inside")
    hear()
say("left")
hear()
"""


@pytest.fixture
def bank():
    with Segment("bank", "256 KiB", "1 MiB") as segment:
        segment.construct(SharedMap, "m", {"a": 1, "b": 2})
        segment.construct(SharedDeque, "d", [1, 2])
        segment.construct(SharedMap, "doomed", {"y": 1})
        yield segment
        assert segment.check() == []


def contents(segment):
    return dict(segment["m"]), list(segment["d"]), list(segment)


def test_kill_minus_nine_inside_a_transaction_undoes_it(bank):
    before, facts = contents(bank), bank.stats()
    for _ in range(3):
        with Child(CHANGE_AND_HANG) as child:
            child.expect("inside")
            child.kill()
        assert contents(bank) == before == ({"a": 1, "b": 2}, [1, 2], ["m", "d", "doomed"])
        assert bank.check() == [] and bank.stats() == facts
        assert bank["doomed"]["y"] == 1


def test_a_newcomer_undoes_it_as_well(bank):
    before = contents(bank)
    with Child(CHANGE_AND_HANG) as child:
        child.expect("inside")
        child.kill()
    with Child('seg = ipcsys.Segment("bank"); say(dict(seg["m"]), seg.check())') as newcomer:
        newcomer.expect("{'a': 1, 'b': 2} []")
    assert contents(bank) == before


def test_what_a_transaction_committed_outlives_the_process(bank):
    with Child(CHANGE_AND_HANG) as child:
        child.expect("inside")
        child.say()
        child.expect("left")
        child.kill()
    assert contents(bank) == (
        {"a": "half done", "nested": 1}, [1, 2, "half done"], ["m", "d", "new"],
    )  # fmt: skip


def test_a_waiter_is_told_for_whom_and_goes_on_soon_after_the_kill(bank):
    table = bank["m"]
    with Child(CHANGE_AND_HANG) as child:
        child.expect("inside")
        with pytest.raises(ipcsys.Timeout, match=str(child.pid)), bank.transaction(timeout=0.05):
            pass
        died = []

        def kill():
            time.sleep(0.05)
            died.append(time.monotonic())
            child.process.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        with bank.transaction(timeout=10):
            waited = time.monotonic() - died[0]
            assert table["a"] == 1
        killer.join()
    assert waited < 0.5, waited  # usually well under 1 ms; this machine may be busy


def test_a_stopped_writer_is_waited_for_and_never_undone(bank):
    with Child(CHANGE_AND_HANG) as child:
        child.expect("inside")
        child.stop()
        for _ in range(3):
            with pytest.raises(ipcsys.Timeout), bank.transaction(timeout=0.1):
                pass
        (told,) = json.loads(
            subprocess.run(
                [sys.executable, "-m", "ipcsys", "ls", "--json"],
                capture_output=True, text=True, timeout=60, check=True,
            ).stdout
        )["objects"]  # fmt: skip
        assert told["writer"]["pid"] == child.pid and told["writer"]["seconds"] > 0.3
        child.go_on()
        child.say()
        child.expect("left")
        assert bank["m"]["a"] == "half done"


def test_ctrl_c_ends_the_wait_for_a_transaction(bank):
    waiter_code = """
seg = ipcsys.Segment("bank", create=False)
say("waiting")
try:
    with seg.transaction():
        say("wrong")
except KeyboardInterrupt:
    say("interrupted")
"""
    with bank.transaction(), Child(waiter_code) as waiter:
        waiter.expect("waiting")
        time.sleep(0.1)
        waiter.process.send_signal(signal.SIGINT)
        waiter.expect("interrupted")


# --- a storm: money moves between accounts, clerks are killed all the time

CLERK = """
import random
seg = ipcsys.Segment("storm", create=False)
accounts, log, done = seg["accounts"], seg["log"], seg["done"]
draw = random.Random(int(sys.argv[1]))
say("at work")
while True:
    a, b, sum_ = draw.randrange(20), draw.randrange(20), draw.randrange(100)
    with seg.transaction():
        accounts[a] = accounts[a] - sum_
        accounts[b] = accounts[b] + sum_
        log.append((a, b, sum_, "x" * draw.randrange(300)))
        if len(log) > 50:
            log.popleft()
        key = f"note-{draw.randrange(5)}"
        if not seg.destroy(key):
            seg.construct(ipcsys.SharedMap, key, {i: "y" * 50 for i in range(draw.randrange(20))})
        if draw.random() < 0.1:
            try:
                with seg.transaction():
                    accounts[a] = "nonsense"
                    raise KeyError
            except KeyError:
                pass
    done.add()
"""


def test_money_is_conserved_however_often_clerks_are_killed():
    draw = random.Random(5)
    with Segment("storm", "256 KiB", "4 MiB") as segment:
        accounts = segment.construct(SharedMap, "accounts", dict.fromkeys(range(20), 1000))
        segment.construct(SharedDeque, "log")
        done = segment.construct(AtomicInt, "done")
        for round_ in range(8):
            clerks = [Child(CLERK, round_ * 10 + i) for i in range(3)]
            try:
                for clerk in clerks:
                    clerk.expect("at work")
                time.sleep(draw.random() * 0.05)
            finally:
                for clerk in clerks:
                    clerk.__exit__(None, None, None)  # kills
            values = list(accounts.values())
            assert all(type(value) is int for value in values) and sum(values) == 20000
            assert segment.check() == []
        assert done.load() > 100
        for key in segment:
            segment.destroy(key)
        stats = segment.stats()
        assert segment.check() == [] and stats.objects == 0 and stats.used < 1000


# --- handles that travel


def _add_one(segment, table, number):
    with segment.transaction():
        table["n"] = table.get("n", 0) + 1
    assert segment["m"]["n"] >= 1
    number.add()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("name", ["travels", None])
def test_segments_and_their_objects_travel_to_children(method, name):
    context = multiprocessing.get_context(method)
    with Segment(name, "64 KiB") as segment:
        table, number = segment.construct(SharedMap, "m"), segment.construct(AtomicInt, "n")
        children = [
            context.Process(target=_add_one, args=(segment, table, number)) for _ in range(3)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(30)
            assert child.exitcode == 0
        assert table["n"] == number == 3
        until(lambda: segment.stats().members == 1)


def test_a_forked_child_has_no_part_in_its_parents_transaction():
    with Segment(size="64 KiB") as segment:
        table = segment.construct(SharedMap, "m")
        with segment.transaction() as transaction:
            table["a"] = 1
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    transaction.__exit__(None, None, None)
                except TransactionError:
                    try:
                        with segment.transaction(timeout=0.05):
                            status = 2
                    except ipcsys.Timeout:
                        status = 0
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            table["b"] = 2
        assert dict(table) == {"a": 1, "b": 2}


def test_growth_by_one_process_is_seen_by_the_others(bank):
    grow = """
seg = ipcsys.Segment("bank", create=False)
seg["m"]["big"] = b"z" * 500_000
say(seg.stats().size)
"""
    with Child(grow) as child:
        size = int(child.hear())
    assert size > 500_000 and bank["m"]["big"] == b"z" * 500_000
    assert bank.stats().size == size


def test_the_death_of_the_last_user_takes_the_segment_along():
    code = 'seg = ipcsys.Segment("last", "64 KiB", cleanup="last"); say("open"); hear()'
    with Child(code) as child:
        child.expect("open")
        child.kill()
    ipcsys._core.sweep()
    with pytest.raises(ipcsys.NotFound):
        Segment("last", create=False)


def test_an_exception_that_ends_the_program_undoes_its_transaction(bank):
    code = """
seg = ipcsys.Segment("bank", create=False)
with seg.transaction():
    seg["m"]["a"] = 5
    sys.exit(3)
"""
    with Child(code) as child:
        assert child.process.wait(20) == 3
    assert bank["m"]["a"] == 1 and sys.exc_info() == (None, None, None)
