# SPDX-License-Identifier: Apache-2.0
"""A queue between processes: nothing is lost, whoever dies, stops or only leaves."""

import contextlib
import functools
import itertools
import multiprocessing
import operator
import os
import queue
import random
import time

import pytest
from child import Child, until

from ipcsys import Queue

METHODS = ["fork", "spawn", "forkserver"]


def test_a_message_outlives_its_senders_handle():
    with Queue(name="mailbox") as sender:
        sender.put({"to": "whom it may concern"})
    with Queue(name="mailbox", create=False) as receiver:
        assert receiver.get_nowait() == {"to": "whom it may concern"}


def test_a_message_outlives_its_sender():
    receiver = Queue(name="mailbox")
    with Child("ipcsys.Queue(name='mailbox').put(b'x' * 100_000); say('put'); hear()") as sender:
        sender.expect("put")
        sender.kill()
    assert receiver.get_nowait() == b"x" * 100_000
    assert receiver.check() == []


def produce(box, first, count):
    for number in range(first, first + count):
        if number % 50 == 0:
            box.put(b"%d " % number + b"x" * 40_000)
        elif number % 3 == 0:
            box.put(number)
        else:
            box.put(b"%d" % number)


def number_of(item):
    return item if isinstance(item, int) else int(item.split()[0])


def consume(box, results):
    mine = []
    while (item := box.get(timeout=30)) is not None:
        mine.append(number_of(item))
    results.put(mine)


@pytest.mark.parametrize("method", METHODS)
def test_many_producers_and_consumers_lose_nothing(method):
    context, each = multiprocessing.get_context(method), 2000
    box, results = Queue(max_bytes="1 MiB"), Queue()
    producers = [
        context.Process(target=produce, args=(box, i * each, each), daemon=True) for i in range(3)
    ]
    consumers = [
        context.Process(target=consume, args=(box, results), daemon=True) for _ in range(2)
    ]
    for process in producers + consumers:
        process.start()
    for process in producers:
        process.join(60)
    box.put_many([None] * len(consumers))
    lists = [results.get(timeout=60) for _ in consumers]
    for process in producers + consumers:
        process.join(30)
        assert process.exitcode == 0
    assert sorted(functools.reduce(operator.iadd, lists, [])) == list(range(3 * each))
    for mine in lists:  # what one producer put, each consumer saw in that order
        for i in range(3):
            from_one = [number for number in mine if number // each == i]
            assert from_one == sorted(from_one)
    assert box.check() == []


def answer(requests, answers):
    while (item := requests.get(timeout=30)) is not None:
        answers.put(item * 2)


@pytest.mark.parametrize("method", METHODS)
def test_the_parent_may_drop_its_handle_before_the_child_has_one(method):
    context = multiprocessing.get_context(method)
    requests, answers = Queue(), Queue()
    process = context.Process(target=answer, args=(requests, answers), daemon=True)
    process.start()
    keep = pickled_through(requests)
    del requests
    keep.put(21)
    assert answers.get(timeout=30) == 42
    keep.put(None)
    process.join(30)
    assert process.exitcode == 0


def pickled_through(box):
    """A queue sent through a queue."""
    courier = Queue()
    courier.put(box)
    return courier.get()


def test_a_waiting_get_hears_another_process():
    box = Queue(name="box")
    code = "box = ipcsys.Queue(name='box'); say('ready'); say(box.get(timeout=20))"
    with Child(code) as child:
        child.expect("ready")
        time.sleep(0.2)
        box.put("here")
        child.expect("here")
        child.finish()


def test_a_waiting_put_hears_another_process():
    box = Queue(1, name="box")
    box.put(1)
    code = "box = ipcsys.Queue(name='box'); say('ready'); box.put(2, timeout=20); say('put')"
    with Child(code) as child:
        child.expect("ready")
        time.sleep(0.2)
        assert box.get() == 1
        child.expect("put")
        child.finish()
    assert box.get() == 2


PRODUCER = """
box = ipcsys.Queue(name="box")
number = int(sys.argv[1])
while True:
    box.put(b"%d " % number + b"x" * (50_000 if number % 31 == 0 else number % 500))
    number += 1
    say(number)  # all below it were acknowledged
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_producer_loses_nothing_it_was_told_is_in(seed):
    box, expected = Queue(name="box", max_bytes="4 MiB"), 0
    for life in range(3):
        with Child(PRODUCER, expected) as producer:
            producer.hear()
            deadline = time.monotonic() + random.Random(seed * 10 + life).uniform(0.01, 0.12)
            while time.monotonic() < deadline:
                with contextlib.suppress(queue.Empty):
                    assert number_of(box.get(timeout=0.02)) == expected
                    expected += 1
            producer.process.kill()
            lines = producer.process.stdout.read().split()
            acknowledged = max(map(int, lines), default=0)
        for item in box.drain():
            assert number_of(item) == expected
            expected += 1
        assert acknowledged <= expected <= acknowledged + 1
        assert box.check() == []
        box.put(b"%d" % expected)  # and it goes on working for others
        assert number_of(box.get()) == expected


CONSUMER = """
box = ipcsys.Queue(name="box")
while True:
    say(int(box.get().split()[0]))
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_consumer_loses_at_most_the_message_it_was_taking(seed):
    box, total = Queue(name="box", max_bytes="4 MiB"), 0
    heard = set()
    for life in range(3):
        with Child(CONSUMER) as consumer:
            deadline = time.monotonic() + random.Random(seed * 10 + life).uniform(0.05, 0.2)
            while time.monotonic() < deadline:
                with contextlib.suppress(queue.Full):
                    size = 50_000 if total % 31 == 0 else total % 500
                    box.put(b"%d " % total + b"x" * size, timeout=0.01)
                    total += 1
            consumer.kill()
            lines = consumer.process.stdout.read().split("\n")
            heard.update(int(line) for line in lines[:-1])
        assert box.check() == []
        rest = {number_of(item) for item in box.drain()}
        assert not rest & heard
        heard |= rest
        # One it took, and one more that it had not finished telling of.
        assert len(set(range(total)) - heard) <= 2 * (life + 1)
        assert box.qsize() == 0 and box.check() == []


def test_a_stopped_consumer_is_not_robbed_and_the_rest_go_on():
    box = Queue(name="box")
    with Child(CONSUMER) as stopped, Child(CONSUMER) as other:
        box.put(b"0")
        box.put(b"1")
        until(lambda: box.qsize() == 0)
        stopped.stop()
        box.put_many([b"%d" % i for i in range(2, 500)])
        until(lambda: box.qsize() == 0, 20)
        stopped.go_on()
        box.put(b"500")
        until(lambda: box.qsize() == 0)
        stopped.kill()
        other.kill()


def test_sleepers_that_are_killed_take_nobodys_wake_up():
    box = Queue(name="box")
    with contextlib.ExitStack() as stack:
        code = "box = ipcsys.Queue(name='box'); say('ready'); say(box.get(timeout=20))"
        children = [stack.enter_context(Child(code)) for _ in range(4)]
        for child in children:
            child.expect("ready")
        time.sleep(0.3)
        for child in children[:3]:
            child.stop()
        for number in range(4):
            box.put(number)
        for child in children[:3]:
            child.kill()
        assert children[3].hear() in "0123"
        assert box.check() == []


STORM = """
import random
box = ipcsys.Queue(name="box")
me, dice = int(sys.argv[1]), random.Random(int(sys.argv[1]))
number = 0
while True:
    size = dice.choice([0, 0, 0, 100, 5000, 40_000])
    box.put(b"%d %d " % (me, number) + b"x" * size)
    number += 1
"""


def test_a_storm_of_killed_producers_leaves_order_and_a_sound_queue():
    box = Queue(name="box", max_bytes="2 MiB")
    dice, last, lives = random.Random(7), {}, itertools.count()
    with contextlib.ExitStack() as stack:
        storm = [stack.enter_context(Child(STORM, next(lives))) for _ in range(3)]
        end = time.monotonic() + 4
        received = 0
        while time.monotonic() < end:
            for item in box.get_many(50, timeout=5):
                me, number, rest = item.split(b" ")
                assert number == b"%d" % (last.get(me, -1) + 1)
                assert rest == b"x" * len(rest)
                last[me] = int(number)
                received += 1
            if dice.random() < 0.02 and received:
                victim = dice.randrange(3)
                storm[victim].kill()
                storm[victim] = stack.enter_context(Child(STORM, next(lives)))
        for child in storm:
            child.kill()
        assert received > 500
    for item in box.drain():
        me, number, _ = item.split(b" ")
        assert number == b"%d" % (last.get(me, -1) + 1)
        last[me] = int(number)
    assert box.check() == [] and box.qsize() == 0
    box.put(b"y" * box.max_message)
    assert box.get() == b"y" * box.max_message


def test_a_forked_child_uses_what_it_inherited():
    box, back = Queue(), Queue()
    pid = os.fork()
    if pid == 0:
        try:
            back.put(box.get(timeout=20) + 1)
        finally:
            os._exit(0)
    box.put(1)
    assert back.get(timeout=20) == 2
    os.waitpid(pid, 0)


def test_an_unnamed_queue_goes_with_its_last_user(namespace_folder):
    code = "box = ipcsys.Queue(); box.put(b'x' * 1_000_000); say('made'); hear()"
    before = space_used(namespace_folder)
    with Child(code) as child:
        child.expect("made")
        assert space_used(namespace_folder) >= before + 1_000_000
        child.kill()
    Queue().close()  # joins, and clears away what the dead one left
    assert space_used(namespace_folder) < before + 1_000_000


def space_used(folder):
    files = {}
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                facts = os.stat(os.path.join(path, name))
                files[facts.st_ino] = facts.st_blocks * 512
    return sum(files.values())
