# SPDX-License-Identifier: Apache-2.0
"""Quotas between processes: whose a block is, and what the dead leave."""

import os

import pytest
from child import Child, until

from ipcsys import QuotaExceeded, Segment, SharedDeque, SharedMap

FILL = """
segment = ipcsys.Segment("shared", create=False)
things = segment["m"]
try:
    for n in range(1000):
        things[os.getpid(), n] = b"c" * 1000
except ipcsys.QuotaExceeded:
    say(n)
hear()
"""


@pytest.fixture
def segment():
    with Segment("shared", "1 MiB", "16 MiB", cleanup="last") as made:
        yield made
        assert made.check() == []


def by_pid(segment):
    return {row.pid: row.used for row in segment.quotas()}


def test_each_process_has_its_own_and_the_dead_leave_theirs_to_the_segment(segment):
    things = segment.construct(SharedMap, "m")
    segment.set_quota("200 KiB")
    with Child(FILL) as one, Child(FILL) as other:
        assert 150 < int(one.hear()) < 200 and 150 < int(other.hear()) < 200
        rows = by_pid(segment)
        assert rows[one.pid] > 190_000 and rows[other.pid] > 190_000
        things["mine"] = b"m" * 150_000
        with pytest.raises(QuotaExceeded):
            things["more"] = b"m" * 150_000
        one.kill()
        until(lambda: set(by_pid(segment)) == {os.getpid(), other.pid})
        assert segment.check() == []
        for key in list(things):  # frees blocks of mine, of the dead one and of the other
            del things[key]
        rows = by_pid(segment)
        assert rows[other.pid] < 25_000 and rows[os.getpid()] < 60_000
        other.say()
        other.finish()


def test_a_consumer_frees_what_counts_for_the_producer(segment):
    queue = segment.construct(SharedDeque, "m")
    segment.set_quota("100 KiB")
    code = """
segment = ipcsys.Segment("shared", create=False)
queue = segment["m"]
for n in range(400):
    while True:
        try:
            queue.append(b"p" * 1000)
            break
        except ipcsys.QuotaExceeded:
            time.sleep(0.001)
say("done")
hear()
"""
    with Child(code) as producer:
        for _ in range(400):  # four times what the producer may have
            assert queue.pop(timeout=20) == b"p" * 1000
        producer.expect("done")
        assert by_pid(segment)[producer.pid] < 20_000
        producer.say()


def test_killed_in_a_transaction_it_has_taken_nothing(segment):
    segment.construct(SharedMap, "m", {"kept": 1})
    segment.set_quota("1 MiB")
    code = """
segment = ipcsys.Segment("shared", create=False)
with segment.transaction():
    segment["m"].update({n: "v" * 500 for n in range(500)})
    say("inside")
    hear()
"""
    used = segment.stats().used
    for _ in range(2):
        with Child(code) as child:
            child.expect("inside")
            child.kill()
        assert segment["m"] == {"kept": 1} and segment.check() == []
        assert segment.stats().used == used
