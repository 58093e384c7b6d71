# SPDX-License-Identifier: Apache-2.0
"""kill_at: deaths of an operation, one point after the other."""

import os
import platform
import time

import pytest

import ipcsys
from ipcsys.testing import Death, kill_at, killing

pytest_plugins = "pytester"
if platform.machine() != "x86_64":
    pytest.skip("the stepper is x86-64's trap flag", allow_module_level=True)


def test_each_event_is_a_death_and_the_last_call_lives():
    number = ipcsys.AtomicInt(name="number")
    deaths = []
    for death in kill_at(number.add, 1):
        deaths.append((death.point, death.finished, number.value))
    assert [point for point, *_rest in deaths] == list(range(1, len(deaths) + 1))
    assert [finished for _point, finished, _value in deaths] == [False] * (len(deaths) - 1) + [True]
    assert deaths[0][2] == 0 and deaths[-1][2] >= 1
    assert killing.last is None


def test_a_holder_that_is_killed_leaves_the_lock_to_the_next():
    lock, book = ipcsys.Lock(name="door"), ipcsys.SharedMap(name="book")

    def work():
        with lock:
            book["begun"] = 1
            book["done"] = 1

    abandoned = 0
    for death in kill_at(work, before=book.clear, points=12):
        assert lock.acquire(timeout=5), death
        abandoned += lock.abandoned
        assert book.get("begun") or not book.get("done"), death
        assert not death.finished or book == {"begun": 1, "done": 1}
        lock.release()
    assert death.finished and abandoned


def test_a_careless_operation_is_caught():
    here = ipcsys.SharedMap({"coin": 1}, name="here")
    there = ipcsys.SharedMap(name="there")

    def carry():
        there["coin"] = here.pop("coin")

    def restore():
        here["coin"] = 1
        there.clear()

    lost = [death for death in kill_at(carry, before=restore) if not here and not there]
    assert lost and not any(death.finished for death in lost)


def test_a_number_of_points_is_spread_from_the_first_to_the_end():
    number = ipcsys.AtomicInt(name="number")
    values = []
    deaths = [values.append(number.value) or death for death in kill_at(number.add, 1, points=2)]
    assert [death.finished for death in deaths] == [False, True]
    assert deaths[0].point == 1 < deaths[1].point and values == [1, 2]
    (only,) = kill_at(number.add, 1, points=1)
    assert only.point == 1


def test_points_may_be_named_one_by_one():
    number = ipcsys.AtomicInt(name="number")
    deaths = list(kill_at(number.add, 1, points=[1, 10_000]))
    assert [(death.point, death.finished) for death in deaths] == [(1, False), (10_000, True)]
    assert number.value == 1


def test_every_instruction_of_the_core():
    number = ipcsys.AtomicInt(name="number")
    deaths = list(kill_at(number.add, 1, points="instructions"))
    assert len(deaths) > 10 and deaths[-1].finished and deaths[0].kind == "instruction"
    assert 1 <= number.value < len(deaths)


def test_an_operation_that_raises_is_shown():
    with pytest.raises(AssertionError, match="(?s)failed before event 1.*ZeroDivisionError"):
        list(kill_at(lambda: 1 // 0))


def test_an_operation_that_ends_the_process_is_told():
    with pytest.raises(AssertionError, match="wait status 768"):
        list(kill_at(os._exit, 3, points=[1000]))


def test_an_operation_that_hangs_is_ended():
    started = time.monotonic()
    with pytest.raises(AssertionError, match="neither died at event 1000 nor ended within 0.3 s"):
        list(kill_at(time.sleep, 60, points=[1000], timeout=0.3))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("points", ["every", 0, True])
def test_bad_points_are_refused_at_once(points):
    with pytest.raises(ValueError):
        kill_at(int, points=points)


def test_a_death_reads_well():
    assert str(Death("transfer", "event", 3, False)) == "transfer, killed before its event 3"
    assert str(Death("transfer", "event", 3, True)) == "transfer, which ended before event 3"


def test_the_report_of_a_failure_says_which_death_it_was(pytester):
    pytester.makepyfile("""
import ipcsys
from ipcsys.testing import kill_at

def test_it(ipcsys_namespace):
    number = ipcsys.AtomicInt()
    for death in kill_at(number.add, 1, points=[1, 2, 5000]):
        assert number.value == 0

def test_another():
    assert False
""")
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    done.assert_outcomes(failed=2)
    text = done.stdout.str()
    assert text.count("ipcsys.testing.kill_at") == 1 + text.count("import kill_at")
    assert "The last: AtomicInt.add, which ended before event 2" in text
