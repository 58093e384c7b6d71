# SPDX-License-Identifier: Apache-2.0
"""Transactions over mixtures of objects, and reading many of them as of one moment."""

import asyncio
import threading

import pytest

import ipcsys
from ipcsys import Busy, Conflict, Timeout, TransactionError


@pytest.fixture
def segment():
    with ipcsys.Segment("bank", "1 MiB", "4 MiB") as segment:
        yield segment
        assert segment.check() == []


@pytest.fixture
def objects(segment):
    """One of each container; `state()` of them is what a transaction keeps whole."""
    made = (
        segment.construct(ipcsys.SharedMap, "map", {"a": 1}),
        segment.construct(ipcsys.SharedVector, "vector", [1, 2]),
        segment.construct(ipcsys.SharedVector, "typed", [1.0], typecode="d"),
        segment.construct(ipcsys.SharedDeque, "deque", [1, 2]),
    )
    yield made
    for each in made:
        each.close()


def state(objects):
    shared_map, vector, typed, deque = objects
    return shared_map.copy(), list(vector), list(typed), list(deque)


BEFORE = ({"a": 1}, [1, 2], [1.0], [1, 2])


def change(objects, by):
    shared_map, vector, typed, deque = objects
    shared_map["a"] = by
    shared_map[f"new{by}"] = "x" * 1000
    vector.append(by)
    vector[0] = by
    typed.extend([by, by])
    deque.appendleft(by)
    deque.pop()


def changed(by, of=BEFORE):
    shared_map, vector, typed, deque = of
    return (
        shared_map | {"a": by, f"new{by}": "x" * 1000},
        [by, *vector[1:], by], [*typed, by, by], [by, *deque[:-1]],
    )  # fmt: skip


def begin_and_leave(segment, timeout):
    with segment.transaction(timeout=timeout):
        pass


def in_thread(work):
    """The result of work() in another thread; what it raised is raised here."""
    box = []

    def run():
        try:
            box.append((work(), None))
        except BaseException as error:  # noqa: BLE001
            box.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    result, error = box[0]
    if error is not None:
        raise error
    return result


# --- all or nothing ----------------------------------------------------------


def test_a_mixture_commits_whole_and_the_transaction_reads_its_own_writes(segment, objects):
    with segment.transaction():
        change(objects, 7)
        assert state(objects) == changed(7)
        assert len(objects[1]) == 3 and 7 in objects[3] and "new7" in objects[0]
    assert state(objects) == changed(7)


def test_an_exception_undoes_every_object_of_the_mixture(segment, objects):
    with pytest.raises(ZeroDivisionError), segment.transaction():
        change(objects, 7)
        segment.construct(ipcsys.SharedMap, "fresh", {1: 2}).close()
        segment.destroy("typed")
        1 / 0
    assert state(objects) == BEFORE
    assert "fresh" not in segment and "typed" in segment


def test_savepoints_are_undone_alone_and_the_outer_keeps_the_rest(segment, objects):
    with segment.transaction():
        change(objects, 5)
        for by in (6, 7):
            with pytest.raises(ZeroDivisionError), segment.transaction():
                change(objects, by)
                with segment.transaction():
                    change(objects, by + 10)
                assert state(objects) == changed(by + 10, changed(by, changed(5)))
                1 / 0
            assert state(objects) == changed(5)
        with segment.transaction():
            change(objects, 8)
    assert state(objects) == changed(8, changed(5))


def test_an_outer_rollback_takes_released_savepoints_with_it(segment, objects):
    with pytest.raises(ZeroDivisionError), segment.transaction():
        with segment.transaction():
            change(objects, 6)
        1 / 0
    assert state(objects) == BEFORE


def test_objects_of_two_segments_are_two_transactions(segment, objects):
    with ipcsys.Segment("other", "1 MiB") as other:
        far = other.construct(ipcsys.SharedMap, "map")
        with pytest.raises(ZeroDivisionError), segment.transaction():
            change(objects, 7)
            far["stays"] = 1
            1 / 0
        assert state(objects) == BEFORE and far == {"stays": 1}


# --- whose it is -------------------------------------------------------------


def test_another_task_of_the_thread_can_neither_write_nor_begin(segment, objects):
    async def intruder():
        for attempt in (
            lambda: objects[0].update(b=1),
            lambda: objects[1].append(1),
            lambda: objects[3].append(1),
            lambda: segment.transaction(timeout=0).__enter__(),
            lambda: segment.destroy("map"),
            lambda: segment.read().__enter__(),
        ):
            with pytest.raises(TransactionError, match="another asyncio task"):
                attempt()

    async def main():
        with segment.transaction():
            change(objects, 7)
            await asyncio.create_task(intruder())

    asyncio.run(main())
    assert state(objects) == changed(7)


def test_another_thread_waits_and_is_told_who_holds_it_and_since_when(segment, objects):
    import os

    with segment.transaction():
        change(objects, 7)
        with pytest.raises(Timeout, match=rf"process {os.getpid()} \(.*\) is open for \d+\.\d+ s"):
            in_thread(lambda: begin_and_leave(segment, 0.02))
        with pytest.raises(Timeout, match="is open for"):
            in_thread(lambda: begin_and_leave(segment, 0))
    assert state(objects) == changed(7)


def test_transactions_left_out_of_order_or_by_another_thread_stay_open(segment, objects):
    outer, inner = segment.transaction(), segment.transaction()
    outer.__enter__()
    inner.__enter__()
    change(objects, 7)
    with pytest.raises(TransactionError, match="reverse order"):
        outer.__exit__(None, None, None)
    with pytest.raises(TransactionError, match="another thread"):
        in_thread(lambda: inner.__exit__(None, None, None))
    inner.__exit__(None, None, None)
    outer.__exit__(ZeroDivisionError, None, None)
    assert state(objects) == BEFORE


# --- with segment.read() -----------------------------------------------------


def test_a_read_block_holds_writers_back_and_cannot_write(segment, objects):
    with segment.read():
        assert state(objects) == BEFORE
        with pytest.raises(Timeout):
            in_thread(lambda: begin_and_leave(segment, 0.02))
        for attempt in (
            lambda: change(objects, 7),
            lambda: objects[1].append(1),
            lambda: objects[2].append(1.0),
            lambda: objects[3].append(1),
            lambda: objects[3].popleft(),
            lambda: objects[0].clear(),
            lambda: segment.destroy("map"),
            lambda: segment.construct(ipcsys.SharedMap, "fresh"),
            lambda: segment.construct(ipcsys.Lock, "lock"),
        ):
            with pytest.raises(TransactionError, match=r"inside read\(\)"):
                attempt()
        with segment.transaction():  # harmless as long as it only reads
            assert state(objects) == BEFORE
    change(objects, 7)
    assert state(objects) == changed(7)


def test_a_read_block_inside_a_transaction_sees_its_writes_and_ends_alone(segment, objects):
    with segment.transaction():
        change(objects, 7)
        with segment.read():
            assert state(objects) == changed(7)
            with pytest.raises(TransactionError, match=r"inside read\(\)"):
                objects[0]["b"] = 1
        for view in segment.read():
            with view:
                assert state(objects) == changed(7)
        objects[0]["b"] = 1
    assert objects[0]["b"] == 1


def test_reading_in_a_loop_holds_nobody_back_and_reads_again_after_a_commit(segment, objects):
    seen = []
    for view in segment.read():
        with view:
            first = objects[0]["a"]
            if len(seen) < 3:
                in_thread(lambda: change(objects, 100 + len(seen)))
            seen.append(first)
            pair = first, objects[1][0]
    assert seen == [1, 100, 101, 102] and pair == (102, 102)


def test_a_view_raises_conflict_at_the_first_read_that_is_too_young(segment, objects):
    (view,) = (view for _, view in zip(range(1), segment.read(), strict=False))
    with pytest.raises(StopIteration):
        with view:
            assert objects[0]["a"] == 1
            in_thread(lambda: objects[3].append(9))
            for read in (
                lambda: objects[0]["a"],
                lambda: len(objects[0]),
                lambda: list(objects[0].items()),
                lambda: objects[1][0],
                lambda: list(objects[1]),
                lambda: objects[2][0],
                lambda: list(objects[2]),
                lambda: objects[3][0],
                lambda: list(objects[3]),
                lambda: segment.find("map"),
                lambda: segment.keys(),
            ):
                with pytest.raises(Conflict):
                    read()
            raise StopIteration
    assert issubclass(Conflict, Busy)


def test_a_loop_of_views_ends_under_the_lock_however_busy_the_writers(segment, objects):
    rounds = 0
    for view in segment.read():
        with view:
            rounds += 1
            first = objects[0]["a"]
            try:
                in_thread(lambda: begin_and_leave(segment, 0.01))
                held = False
            except Timeout:
                held = True
            if not held:
                in_thread(lambda: objects[0].update(a=first + 1))
            assert objects[0]["a"] == first
    assert rounds == 9 and held


def test_a_view_waits_for_an_open_transaction_only_until_its_timeout(segment, objects):
    begun, enough = threading.Event(), threading.Event()

    def writer():
        with segment.transaction():
            change(objects, 7)
            begun.set()
            enough.wait(20)

    thread = threading.Thread(target=writer)
    thread.start()
    begun.wait(20)
    with pytest.raises(Busy, match="being changed"):
        for view in segment.read(timeout=0.02):
            with view:
                objects[0]["a"]
    with pytest.raises(Timeout, match="is open for"), segment.read(timeout=0.02):
        pass
    enough.set()
    thread.join()
    for view in segment.read(timeout=1):
        with view:
            assert state(objects) == changed(7)


def test_a_view_belongs_to_its_thread_and_leaves_others_alone(segment, objects):
    for view in segment.read():
        with view:
            assert objects[0]["a"] == 1
            in_thread(lambda: objects[1].append(3))
            assert in_thread(lambda: list(objects[1])) == [1, 2, 3]
            with pytest.raises(TransactionError, match="another thread"):
                in_thread(lambda: view.__exit__(None, None, None))
            break
    assert list(objects[1]) == [1, 2, 3]


def test_a_view_that_is_forgotten_does_not_stay_open(segment, objects):
    for view in segment.read():
        view.__enter__()
        break
    del view
    objects[1].append(3)
    assert list(objects[1]) == [1, 2, 3]


def test_an_exception_of_the_block_comes_through_and_a_view_is_entered_once(segment, objects):
    with pytest.raises(ZeroDivisionError):
        for view in segment.read():
            with view:
                1 / 0
    with pytest.raises(ZeroDivisionError), segment.read() as held:
        1 / 0
    with pytest.raises(TransactionError, match="once"), held:
        pass
    with pytest.raises(TransactionError, match="not open"):
        held.__exit__(None, None, None)
    with pytest.raises(TransactionError, match="each view"):
        for _view in segment.read():
            pass


@pytest.mark.parametrize("timeout", [-1, "1", float("nan")])
def test_bad_timeouts_of_read(segment, timeout):
    with pytest.raises((TypeError, ValueError)):
        segment.read(timeout=timeout)


def test_read_on_a_closed_segment_is_refused(segment):
    with ipcsys.Segment("second", "64 KiB") as second:
        view = second.read()
    with pytest.raises(ipcsys.Closed):
        second.read()
    with pytest.raises(ipcsys.Closed), view:
        pass
