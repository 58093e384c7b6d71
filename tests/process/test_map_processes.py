# SPDX-License-Identifier: Apache-2.0
"""SharedMap, SharedDeque and AtomicInt between processes, and through kill -9."""

import random
import time

import pytest
from child import Child, until

import ipcsys
from ipcsys import AtomicInt, SharedDeque, SharedMap

WRITE_WHOLE = """
import random
shared = ipcsys.SharedMap(name="m", create=False)
dice = random.Random(os.getpid())
say("ready")
while True:
    number = dice.randrange(1000)
    size = dice.choice([0, 3, 30, 250, 260, 600, 9000])
    key = dice.randrange(8)
    shared[key] = [number, bytes([number % 256]) * size, size]
    if dice.randrange(20) == 0:
        shared.pop(dice.randrange(8), None)
    if dice.randrange(200) == 0:
        shared.clear()
    if dice.randrange(50) == 0:
        shared.update({other: [7, b"\\7" * 300, 300] for other in range(8, 200)})
"""


WRITE_HOT = """
shared = ipcsys.SharedMap(name="m", create=False)
values = [[number, bytes([number]) * 230, 230] for number in range(256)]
say("ready")
while True:
    for value in values:
        shared["hot"] = value
"""


def whole(value):
    number, body, size = value
    return body == bytes([number % 256]) * size


def test_readers_without_the_lock_never_see_a_torn_value():
    with SharedMap({"hot": [0, b"", 0]}, name="m") as shared:
        with Child(WRITE_HOT) as writer:
            writer.expect("ready")
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                assert all(whole(shared["hot"]) for _ in range(1000))
        assert shared.check() == []


def test_readers_see_whole_values_come_go_and_move():
    with SharedMap(name="m") as shared, Child(WRITE_WHOLE) as one, Child(WRITE_WHOLE) as two:
        one.expect("ready")
        two.expect("ready")
        seen = set()
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            for key in range(8):
                value = shared.get(key)
                assert value is None or whole(value)
                seen.add((key, value and value[0]))
            copy = shared.copy()
            assert all(whole(value) for value in copy.values())
            assert len({key in copy for key in range(8, 200)}) == 1  # one update, one clear
        one.kill()
        two.kill()
        assert len(seen) > 100
        assert shared.check() == []


WRITE_PAIRS = """
shared = ipcsys.SharedMap(name="m", create=False)
number = 0
say("ready")
while True:
    number += 1
    shared.update({"left": number, number % 100: number, "right": number})
"""


def test_a_snapshot_is_one_state_of_the_map():
    with SharedMap(name="m") as shared, Child(WRITE_PAIRS) as writer:
        writer.expect("ready")
        until(lambda: "right" in shared)
        states = set()
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            items = dict(shared.items())
            assert items["left"] == items["right"] == items[items["left"] % 100]
            states.add(items["left"])
        assert len(states) > 10


ACKNOWLEDGE = """
shared = ipcsys.SharedMap(name="m", create=False)
number = int(sys.argv[1])
while True:
    number += 1
    shared[f"key {number % 500}"] = [number, "x" * (number % 400)]
    shared["last"] = number
    say(number)
    if number % 7 == 0:
        del shared[f"key {number % 500}"]
    if number % 1000 == 0:
        shared.clear()
"""


def test_a_killed_writer_leaves_the_map_sound_and_what_it_acknowledged():
    dice = random.Random(1)
    with SharedMap({"last": 0}, name="m") as shared:
        said = 0
        for _ in range(12):
            with Child(ACKNOWLEDGE, said) as writer:
                said = int(writer.hear())
                time.sleep(dice.random() * 0.03)
                writer.kill()
                for line in writer.process.stdout:
                    said = int(line) if line.endswith("\n") else said
            assert shared.check() == []
            last = shared.get("last")
            assert last is None or last in (said, said + 1)
            if f"key {said % 500}" in shared:
                assert shared[f"key {said % 500}"] == [said, "x" * (said % 400)]
            shared["last"] = said
            shared["ours"] = said
            assert shared["ours"] == said
        assert said > 100


POP = """
deque = ipcsys.SharedDeque(name="d", create=False)
say("ready")
while True:
    say(deque.popleft(timeout=20))
"""


def test_a_waiting_pop_is_woken_from_another_process():
    with SharedDeque(name="d") as deque, Child(POP) as popper:
        popper.expect("ready")
        for number in range(50):
            if number % 10 == 0:
                time.sleep(0.02)  # let it park
            started = time.monotonic()
            deque.append(number)
            popper.expect(str(number))
            assert time.monotonic() - started < 5


def test_a_killed_waiter_takes_no_value_and_no_wake_up_with_it():
    with SharedDeque(name="d") as deque, Child(POP) as first, Child(POP) as second:
        first.expect("ready")
        second.expect("ready")
        time.sleep(0.05)
        first.kill()
        deque.append("for the second")
        second.expect("for the second")
        assert deque.check() == []


FILL = """
deque = ipcsys.SharedDeque(name="d", create=False)
number = 0
while True:
    deque.push([number, "x" * (number % 60)], timeout=20)
    say(number)
    number += 1
"""


def test_a_killed_producer_loses_nothing_it_acknowledged():
    with SharedDeque(name="d", maxlen=100) as deque:
        for round_ in range(8):
            got = []
            with Child(FILL) as producer:
                end = time.monotonic() + 0.02 * (round_ + 1)
                while time.monotonic() < end or not got:
                    try:
                        got.append(deque.popleft(timeout=0.05))
                    except ipcsys.Empty:
                        continue
                producer.kill()
                said = [int(line) for line in producer.process.stdout if line.endswith("\n")]
            got += list(deque)
            deque.clear()
            assert [number for number, _ in got] == list(range(len(got)))
            assert len(got) in (len(said), len(said) + 1)
            assert deque.check() == []


ADD = """
number = ipcsys.AtomicInt(name="n", create=False)
say("ready")
hear()
for _ in range(20_000):
    number.add(1)
say("done")
"""


def test_no_addition_of_another_process_is_lost():
    number = AtomicInt(name="n")
    with Child(ADD) as one, Child(ADD) as two:
        for child in (one, two):
            child.expect("ready")
        for child in (one, two):
            child.say()
        for _ in range(20_000):
            number += 1
        for child in (one, two):
            child.expect("done")
            child.finish()
    assert number.value == 60_000
    number.close()


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_unnamed_objects_travel_to_child_processes(start):
    import multiprocessing

    context = multiprocessing.get_context(start)
    objects = SharedMap(), SharedDeque(), AtomicInt()
    process = context.Process(target=_greet, args=objects)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    shared, deque, number = objects
    assert shared == {"hello": 1} and list(deque) == ["hello"] and number == 1
    for each in objects:
        each.close()


def _greet(shared, deque, number):
    shared["hello"] = 1
    deque.append("hello")
    number.add(1)
