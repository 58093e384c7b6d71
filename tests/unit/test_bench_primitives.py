# SPDX-License-Identifier: Apache-2.0
"""`ipcsys bench sync` and the fates of `bench death`: they measure what they say."""

import multiprocessing
import time

import pytest

from ipcsys.bench import fates, machine, primitives, suites
from ipcsys.bench.pairs import Failed
from ipcsys.bench.report import OURS

CPUS = machine.pair_of_cpus()


def ours_and_theirs(kind, *args):
    return primitives.between_processes(kind, *args)


def measured(contender):
    try:
        contender.open()
        return contender.measure()
    finally:
        contender.close()


def test_an_undisturbed_primitive_is_timed():
    for maker in primitives.namesakes("RLock"):
        seconds = measured(primitives.Undisturbed(maker, *primitives.PAIR, 1000, CPUS))
        assert 1e-9 < seconds < 1e-3
    seconds = measured(
        primitives.Undisturbed(ours_and_theirs("Event")[0], *primitives.LOOK, 1000, CPUS)
    )
    assert 1e-9 < seconds < 1e-3


def test_two_processes_count_and_nothing_is_lost():
    for maker in ours_and_theirs("Lock"):
        assert 1e3 < measured(primitives.Counting(maker, 0.05, CPUS)) < 1e8


def test_waits_are_told_one_by_one():
    waits = measured(primitives.Waits(ours_and_theirs("Lock")[0], 0.05, CPUS))
    assert len(waits) > 100 and all(0 <= wait < 60e9 for wait in waits)


def test_a_notify_all_is_timed_and_wakes_all():
    for maker in ours_and_theirs("Condition"):
        assert 1e-7 < measured(primitives.Notifying(maker, 3, 2, CPUS)) < 10


class NoLock:
    """A lock that locks nothing."""

    who = "nobody"

    def get(self):
        return self

    def acquire(self):
        return True

    def release(self):
        pass


class Forgetful(primitives._Fought):
    def measure(self):
        self._counter.value += 5
        self._check(0, (self._counter.value - 4, 0))


def test_lost_increments_are_a_failure():
    with pytest.raises(Failed, match=r"of \d+ increments \d+ are there"):
        measured(Forgetful(NoLock, 0.01, CPUS))


def test_a_round_of_turns_and_of_meetings_is_timed():
    for condition in ours_and_theirs("Condition"):
        assert 1e-7 < measured(primitives.Turns(condition, 20, CPUS)) < 10
    for barrier in ours_and_theirs("Barrier", 4):
        assert 1e-7 < measured(primitives.Meetings(barrier, 4, 5, CPUS)) < 10


def test_a_reader_of_our_rwlock_is_timed():
    maker = primitives.Maker(OURS, primitives.OurSource, "RWLock")
    seconds = measured(primitives.Undisturbed(maker, *primitives.READ, 1000, CPUS))
    assert 1e-9 < seconds < 1e-3


# --- fates ------------------------------------------------------------------------


def fate(start):
    (found,) = [fate for fate in fates.FATES if fate.title.startswith(start)]
    return found


@pytest.mark.parametrize("start", [fate.title.partition(":")[0] for fate in fates.FATES])
def test_ours_goes_on_after_a_death(start):
    took = fates.play(fate(start), fates._HOUSES[OURS](), 20.0)
    assert took is not None and 0 < took < 20e9


@pytest.mark.parametrize("start", [fate.title.partition(":")[0] for fate in fates.FATES])
def test_the_standard_one_never_does_and_the_wait_is_bounded(start):
    started = time.monotonic()
    assert fates.play(fate(start), fates._HOUSES[fates.STANDARD](), 0.3) is None
    assert time.monotonic() - started < 20
    assert multiprocessing.active_children() == []


def test_a_fate_is_a_table_with_both_and_a_note_for_the_wedged():
    table = fates.fate_table(fate("the holder"), 2, CPUS, patience=0.3)
    ours, standard = table.rows
    assert ours.who == OURS and ours.spread.repeats == 2 and ours.latency.count == 2
    assert standard.spread is None and standard.note == "never: gave up after 0.3 s"
    (alone,) = fates.fate_table(fate("the holder"), 1, CPUS, rivals=False).rows
    assert alone.who == OURS


def _fail(_thing):
    raise ValueError


def test_a_survivor_that_fails_is_a_failure_and_no_wedge():
    bad = fates.Fate("t", lambda house: None, _hold_nothing, _fail, parked=False, afterwards=True)
    with pytest.raises(RuntimeError, match="a survivor failed"):
        fates.play(bad, None, 5.0)


def _hold_nothing(_thing):
    pass


def test_the_suite_asks_for_ours_alone_without_rivals():
    run = suites.Run(suites.Settings(rivals=False))
    assert [maker.who for maker in run.beside(primitives.namesakes("Lock"))] == [OURS]
    run = suites.Run(suites.Settings(rivals=True))
    assert len(run.beside(primitives.namesakes("Lock"))) == 3
