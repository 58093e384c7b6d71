# SPDX-License-Identifier: Apache-2.0
"""The benchmark: its arithmetic, its pairs of processes, and that it notices what goes wrong."""

import json
import math
import os
import signal
import subprocess
import sys
import time
import types
from importlib.util import find_spec

import leaky
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcsys import _core
from ipcsys.bench import (
    calls,
    carriers,
    death,
    figures,
    locks,
    loops,
    machine,
    mapped,
    maps,
    messages,
    noise,
    records,
    rivals,
    roundtrips,
    sequences,
    shared,
    suites,
)
from ipcsys.bench.contest import Contender, compete
from ipcsys.bench.figures import LESS, MORE, Latency, Spread
from ipcsys.bench.pairs import Failed, Pair
from ipcsys.bench.report import Row, Table

CPUS = machine.pair_of_cpus()


# -- arithmetic --


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=200),
    st.floats(0, 1),
)
def test_a_percentile_is_what_numpy_says(values, share):
    got = figures.percentile(sorted(values), share)
    assert got == pytest.approx(float(numpy.quantile(values, share)), rel=1e-9, abs=1e-3)


def test_a_percentile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no values"):
        figures.percentile([], 0.5)


def test_a_latency_is_told_in_seconds():
    latency = Latency.of_nanoseconds(range(1, 1001))
    assert latency.count == 1000
    assert latency.mean == pytest.approx(500.5e-9)
    assert latency.p50 == pytest.approx(500.5e-9)
    assert latency.p99 == pytest.approx(990.01e-9)
    assert latency.p99_9 == pytest.approx(999.001e-9)
    assert latency.max == pytest.approx(1000e-9)


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50))
def test_a_spread_has_its_median_between_its_ends(values):
    spread = Spread.of(values)
    assert spread.low == min(values) and spread.high == max(values)
    assert spread.median == pytest.approx(float(numpy.median(values)))
    assert spread.repeats == len(values)


def test_an_advantage_counts_the_same_way_for_speeds_and_for_times():
    assert figures.advantage(4e6, 2e6, MORE) == 2.0
    assert figures.advantage(1e-6, 2e-6, LESS) == 2.0
    assert figures.advantage(1.0, 0.0, MORE) == math.inf
    with pytest.raises(ValueError, match="neither"):
        figures.advantage(1, 1, "sideways")


def test_even_spins_are_quiet_and_uneven_ones_are_not():
    quiet = figures.judge([1000, 1001, 1003] * 10)
    assert quiet.verdict == figures.QUIET and quiet.lost < 0.01
    restless = figures.judge([1000] * 9 + [2000])
    assert restless.verdict == figures.RESTLESS
    noisy = figures.judge([1000, 2000, 3000])
    assert noisy.verdict == figures.NOISY
    assert noisy.lost == pytest.approx(0.5)
    assert noisy.worst == pytest.approx(3.0)
    with pytest.raises(ValueError, match="no spins"):
        figures.judge([])


def test_two_cpus_are_two_cores_of_one_package():
    # cpu: (package, core); 0 and 1 are threads of one core, 4 is in another package
    places = {0: (0, 0), 1: (0, 0), 2: (0, 1), 3: (0, 1), 4: (1, 0)}
    assert machine.choose(places) == (0, 2)
    assert machine.choose({0: (0, 0), 1: (0, 0), 4: (1, 0)}) == (0, 4)
    assert machine.choose({0: (0, 0), 1: (0, 0)}) == (0, 1)
    assert machine.choose({3: (0, 0)}) == (3, 3)


def spread(median, width=0.0):
    return Spread(median, median - width, median + width, 3)


def test_a_table_compares_each_rival_with_our_first_row():
    table = Table(
        "work", "messages/s", MORE,
        (
            Row("ipcsys", spread(8e6, 1e5)),
            Row("slow", spread(2e6)),
            Row("close", spread(7.95e6, 1e5)),
            Row("floor", spread(9e6), reference=True),
            Row("broken", failed="it hangs"),
        ),
        size=100,
    )  # fmt: skip
    ratios = [table.advantage_over(row) for row in table.rows]
    assert ratios == [None, 4.0, pytest.approx(8 / 7.95), None, None]
    assert [table.within_noise(row) for row in table.rows] == [False, False, True, False, False]
    assert table.best_rival().who == "close"
    rows = table.to_dict()["rows"]
    assert [row["bytes_per_second"] for row in rows][:2] == [8e8, 2e8]
    assert rows[-1]["failed"] == "it hangs"


def test_a_table_without_our_figure_compares_nothing():
    table = Table("work", "s", LESS, (Row("ipcsys", failed="it hangs"), Row("other", spread(1.0))))
    assert [table.advantage_over(row) for row in table.rows] == [None, None]
    assert table.best_rival() is None


# -- loops --


@given(st.integers(0, 5000))
def test_the_expected_sum_is_that_of_the_messages_sent(count):
    chunks = messages.split(messages.payloads(8), count)
    sent = [data for chunk in chunks for data in chunk]
    assert len(sent) == count
    assert sum(data[0] for data in sent) == messages.expected_sum(count)


def test_a_statement_of_several_lines_keeps_its_place_in_the_loop():
    taken = []
    statement = "if len(taken) < 2:\n    taken.append(data)"
    loop = loops.sender({"taken": taken}, statement, "pass")
    loop([[b"a", b"b"], [b"c"]])
    assert taken == [b"a", b"b"]


def test_a_carrier_may_not_use_a_name_that_the_loop_assigns_to():
    with pytest.raises(ValueError, match="size"):
        loops.receiver({"size": 3, "get": None}, "data = get()", "pass", "0")


# -- pairs --


def test_the_sides_are_two_processes_on_the_cpus_asked_for():
    with Pair(leaky.Side(), leaky.Side(), CPUS) as pair:
        (first, first_cpus), (second, second_cpus) = pair.run(("affinity",), ("affinity",), 30)
        assert len({first, second, os.getpid()}) == 3
        assert (first, second) == pair.pids
        assert (first_cpus, second_cpus) == ({CPUS[0]}, {CPUS[1]})
        assert pair.run((1,), (2,), 30) == (1, 2)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in (first, second))


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("raise", "the side raised RuntimeError: no paper left"),
        ("die", "the side died"),
        ("hang", "the side did not end in time"),
    ],
)
def test_a_side_that_fails_is_named_with_its_reason(what, text):
    with Pair(leaky.Side(), leaky.Side(), CPUS) as pair, pytest.raises(Failed, match=text):
        pair.run(("answer",), (what,), 1.0 if what == "hang" else 30)


def test_who_fails_is_named_and_the_others_go_on():
    class Good(Contender):
        who = "good"
        turns = 0

        def measure(self):
            self.turns += 1
            return self.turns

    class Bad(Contender):
        who = "bad"
        closed = False

        def measure(self):
            raise Failed("it hangs")

        def close(self):
            self.closed = True

    class Quiet:
        def listen(self):
            pass

    bad = Bad()
    good_row, bad_row = compete([Good(), bad], 3, Quiet())
    assert good_row.spread == Spread(2, 1, 3, 3)
    assert (bad_row.spread, bad_row.failed) == (None, "it hangs")
    assert bad.closed


# -- works --


@pytest.mark.parametrize("kind", ["single", "batch", "value"])
@pytest.mark.parametrize(
    "carrier",
    [carriers.Ours, carriers.LookAlike, *carriers.STANDARD],
    ids=lambda carrier: carrier.name,
)
def test_every_message_arrives(carrier, kind):
    if kind != "single" and carrier is carriers.PosixPipe:
        assert carrier.put_batch is None and carrier.put_value is None
        return
    contender = messages.OneWay(carrier, kind, 700, 64, CPUS, 30)
    try:
        contender.open()
        assert contender.measure() > 0
    finally:
        contender.close()


@pytest.mark.parametrize("carrier", [carriers.LookAlike, carriers.StandardQueue])
def test_arrays_arrive_whole(carrier):
    contender = messages.Arrays(carrier, 3, 1_000_000, CPUS)
    try:
        contender.open()
        assert contender.measure() > 0
    finally:
        contender.close()


def test_messages_larger_than_a_pipe_arrive_whole():
    contender = messages.OneWay(carriers.PosixPipe, "single", 20, 300_000, CPUS, 30)
    try:
        contender.open()
        assert contender.measure() > 0
    finally:
        contender.close()


@pytest.mark.parametrize(
    ("carrier", "text"),
    [(leaky.Doubling, "what arrived is not what was sent"), (leaky.Losing, "messages lost")],
)
def test_lost_and_doubled_messages_are_noticed(carrier, text):
    contender = messages.OneWay(carrier, "single", 700, 64, CPUS, 1.0)
    try:
        with pytest.raises(Failed, match=text):
            contender.open()
            contender.measure()
    finally:
        contender.close()


def test_a_delay_is_measured_for_each_message():
    contender = messages.Delay(carriers.Pipe, 50, 64, 100e-6, CPUS)
    try:
        contender.open()
        delays = contender.measure()
    finally:
        contender.close()
    assert len(delays) == 50
    assert all(0 < delay < 10e9 for delay in delays)


def test_a_round_trip_after_idleness_does_not_count_the_idleness():
    contender = roundtrips.RoundTrip(carriers.Pipe, roundtrips.WAIT, 20, 64, CPUS, pause=0.05)
    try:
        contender.open()
        times = contender.measure()
    finally:
        contender.close()
    assert len(times) == 20
    assert figures.percentile(sorted(times), 0.5) < 0.05e9


def test_our_queue_answers_spinning_and_a_node_answers_calls():
    for contender in (
        roundtrips.RoundTrip(carriers.Ours, roundtrips.SPIN, 50, 64, CPUS),
        calls.Call(50, 64, CPUS),
    ):
        try:
            contender.open()
            times = contender.measure()
        finally:
            contender.close()
        assert len(times) == 50 and all(0 < time < 10e9 for time in times)


def measured(contender):
    try:
        contender.open()
        return contender.measure()
    finally:
        contender.close()


def test_atomics_and_maps_are_timed():
    for kind in shared.ATOMICS:
        assert 1e2 < measured(shared.Adds(kind, 500, CPUS)) < 1e9
    kinds = [kind for kind in maps.MAPS if not hasattr(kind, "needs") or find_spec(kind.needs)]
    for kind in kinds:
        assert 1e2 < measured(maps.Gets(kind, 500, CPUS)) < 1e9
    assert 1e2 < measured(maps.Sets(maps.OurMap, 500, CPUS)) < 1e9
    assert 1e-7 < measured(maps.Groups(maps.OurMap, 500, CPUS)) < 1e-1


def test_the_worst_look_up_beside_a_writer_is_found():
    growth = maps.Growth(maps.OurMap, 30_000, CPUS)
    assert 1e-8 < measured(growth) < 10
    assert "M inserts/s beside" in growth.note


def test_an_interrupted_look_up_is_no_worst_one():
    def look():
        time.sleep(0.01 if len(looks) == 1 else 0.001)
        looks.append(1)
        if len(looks) == 4:
            done.value = 1

    looks, done = [], types.SimpleNamespace(value=0)
    loop = loops.worst("key", {"look": look}, "look()")
    # the kernel interrupted the second, the slow one
    assert loop([1, 2], done, lambda: min(len(looks), 2))[1] < 9e6
    looks, done = [], types.SimpleNamespace(value=0)
    assert loop([1, 2], done, lambda: 0) == (4, pytest.approx(10e6, rel=5))


def test_sequences_and_views_are_timed():
    for kinds, statement in (
        (sequences.APPENDED[:1], sequences.APPEND),
        (sequences.INDEXED[2:3], sequences.INDEX),
        (sequences.PASSED[:2], sequences.PASS),
    ):
        for kind in kinds:
            seconds = measured(sequences.Statement(kind, statement, 1000, CPUS))
            assert 1e-9 < seconds < 1e-1
    for kind in shared.ARRAYS:
        assert 1e-7 < measured(shared.Views(kind, 4096, 3, CPUS)) < 1


@pytest.mark.parametrize("what", ["read", "write"])
def test_a_record_s_field_is_timed(what):
    for kind in records.KINDS[:2]:
        assert 1e-9 < measured(records.Access(kind, what, 1000, CPUS)) < 1e-3


def test_a_file_is_opened_after_its_users_were_killed():
    assert 1e-6 < measured(mapped.Reopening(1 << 20, CPUS)) < 5


def test_a_rival_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(suites, "find_spec", lambda name: None)
    run = suites.Run(suites.Settings(rivals=True))
    assert run.available(maps.MAPS) == [maps.OurMap, maps.ManagedDict, maps.PlainDict]
    assert run.available(maps.GROUPED) == [maps.OurMap]
    assert [who for who, _why in run.missing] == ["UltraDict", "lmdb"]
    assert suites.Run(suites.Settings()).available(maps.GROUPED) == [maps.OurMap]


def test_locks_are_timed_alone_and_fought_over():
    for contender, low, high in (
        (locks.Free(locks.Standard, locks.PAIRS, 1000, CPUS), 1e-9, 1e-3),
        (locks.Free(locks.Ours, locks.WITH, 1000, CPUS), 1e-9, 1e-3),
        (locks.Fought(locks.Ours, 0.05, CPUS), 1e3, 1e9),
    ):
        try:
            contender.open()
            assert low < contender.measure() < high
        finally:
            contender.close()


def test_a_survivor_owns_our_lock_soon_after_a_death_and_never_the_standard_one():
    with death.Deaths(locks.Ours, CPUS) as deaths:
        for scene in death.scenes(1, 4 << 20):
            owned, ended = deaths.one(scene, 20.0)
            assert owned is not None and 0 < owned < 10e9
            assert ended > 0
    row = death.standard_row(CPUS, patience=0.2)
    assert row.spread is None
    assert row.note == "never: gave up after 0.2 s"


def test_the_core_times_its_memory_and_leaves_nothing():
    costs = _core.measure_memory(1000)
    assert set(costs) == {"pair_alone", "pair_grouped", "find"}
    assert all(0 < cost < 1e6 for cost in costs.values())
    assert _core.objects() == []
    for rounds in (0, -1, 10**10):
        with pytest.raises(ValueError, match="rounds must be"):
            _core.measure_memory(rounds)


def test_a_large_victim_takes_no_more_than_a_quarter_of_what_is_free():
    assert death.affordable_memory(8 << 20) == 8 << 20
    assert 0 < death.affordable_memory(1 << 60) < os.sysconf("SC_PHYS_PAGES") * 4096


def test_the_run_leaves_no_folder_and_the_environment_as_it_was(monkeypatch, tmp_path):
    for before in (str(tmp_path), None):
        if before is None:
            monkeypatch.delenv("IPCSYS_DIR")
        else:
            monkeypatch.setenv("IPCSYS_DIR", before)
        with machine.scratch() as folder:
            assert os.environ["IPCSYS_DIR"] == folder
            os.mkdir(os.path.join(folder, "default"))
        assert not os.path.exists(folder)
        assert os.environ.get("IPCSYS_DIR") == before


def test_the_next_run_clears_what_a_killed_one_left_and_nothing_else(monkeypatch, tmp_path):
    monkeypatch.setenv("IPCSYS_DIR", str(tmp_path))
    monkeypatch.setattr(machine, "YOUNG", 0.0)
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        with machine.scratch():
            os.write(told, b"1")
            signal.pause()
    assert os.read(ready, 1) == b"1"
    (held,) = os.listdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / f"ipcsys-bench-{os.getpid()}-1").write_text("of one that runs")
    (tmp_path / "ipcsys-bench-4194305-1").write_text("of nobody: there is no such pid")
    kept = {held, "mine", f"ipcsys-bench-{os.getpid()}-1"}
    with machine.scratch():
        pass
    assert set(os.listdir(tmp_path)) == kept, "it runs still"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with machine.scratch():
        pass
    assert set(os.listdir(tmp_path)) == kept - {held}
    os.close(ready)
    os.close(told)


def test_listening_leaves_the_process_where_it_was():
    allowed = os.sched_getaffinity(0)
    listener = noise.Listener(CPUS)
    start = time.monotonic()
    listener.listen()
    assert time.monotonic() - start < 5
    assert os.sched_getaffinity(0) == allowed
    assert listener.judge().samples > 0


def test_every_rival_is_measured_or_named_as_missing(monkeypatch):
    monkeypatch.setattr(rivals, "find_spec", lambda name: None)
    running, missing = rivals.contenders(True)
    assert {who for who, _why in missing} == {package.name for package in rivals.PACKAGES}
    assert all("pip install 'ipcsys[bench]'" in why for _who, why in missing)
    assert running == [carriers.Ours, *carriers.STANDARD]
    monkeypatch.setattr(rivals, "find_spec", lambda name: object())
    running, missing = rivals.contenders(True)
    assert missing == [] and set(rivals.PACKAGES) < set(running)


# -- the command --


def bench(*words):
    command = [sys.executable, "-m", "ipcsys", "bench", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=110)


def test_the_command_prints_tables_and_what_the_machine_was_like():
    done = bench("lock", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    assert "multiprocessing.Lock" in done.stdout and "threading.Lock" in done.stdout
    assert "Noise:" in done.stdout
    assert done.stderr == ""


def test_the_command_prints_one_json_document():
    done = bench("lock", "--repeats", "2", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["settings"]["repeats"] == 2
    assert report["noise"]["verdict"] in (figures.QUIET, figures.RESTLESS, figures.NOISY)
    free = report["tables"][0]
    assert free["rows"][0]["who"] == "ipcsys"
    assert free["rows"][0]["spread"]["repeats"] == 2
    assert free["rows"][1]["advantage_of_ipcsys"] > 0


def test_the_plain_command_measures_our_queue_alone():
    done = bench("--messages", "1000", "--size", "64", "--repeats", "1", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    throughput, latency = json.loads(done.stdout)["tables"]
    (row,) = throughput["rows"]
    assert row["who"] == "ipcsys"
    assert row["bytes_per_second"] == pytest.approx(64 * row["spread"]["median"])
    (row,) = latency["rows"]
    times = row["latency"]
    assert times["count"] == 1000
    assert 0 < times["p50"] <= times["p99"] <= times["p99_9"] <= times["max"]
    assert 0 < times["mean"] <= times["max"]


@pytest.mark.parametrize(
    "words", [("nonsense",), ("--messages", "0"), ("--size", "-1"), ("--repeats", "x")]
)
def test_wrong_usage_is_one_sentence_and_status_2(words):
    done = bench(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("ipcsys: Invalid value for") and "Traceback" not in done.stderr
    assert done.stdout == ""
