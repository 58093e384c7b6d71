# SPDX-License-Identifier: Apache-2.0
"""Who holds what and who waits for whom, within one process and from made-up looks."""

import asyncio
import json
import os
import threading

import pytest
from child import until

import ipcsys
from ipcsys import Event, Lock, _core, aio, sync
from ipcsys.cli import main


def find(label):
    (found,) = [lock for lock in sync.locks() if lock.label == label]
    return found


def test_who_holds_names_the_process_and_the_thread():
    lock = Lock(name="door")
    assert sync.who_holds("door") is None
    with lock:
        holder = sync.who_holds("door")
        assert (holder.pid, holder.thread) == (os.getpid(), os.getpid())
        assert holder.ident == threading.get_ident() and holder.alive
        assert holder.program and holder.seconds is None
    assert sync.who_holds("door") is None


def test_a_thread_that_is_not_the_main_one_is_told_by_its_ident():
    lock, idents = Lock(name="door"), []

    def take():
        lock.acquire()
        idents.append(threading.get_ident())

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    holder = sync.who_holds("door")
    assert holder.ident == idents[0] and holder.thread is None


def test_a_missing_name_and_a_bad_namespace_are_refused():
    with pytest.raises(ipcsys.NotFound, match="no primitive 'nobody'"):
        sync.who_holds("nobody")
    with pytest.raises(ipcsys.InvalidName):
        sync.who_holds("door", namespace="../up")
    ipcsys.Queue(name="number").close()
    with pytest.raises(ipcsys.NotFound):
        sync.who_holds("number")


def test_another_namespace_is_looked_at_when_it_is_asked_for():
    with Lock(name="door", namespace="elsewhere"):
        assert sync.who_holds("door", namespace="elsewhere").pid == os.getpid()
        assert sync.locks() == []


def test_unnamed_locks_have_a_number_and_events_a_state():
    lock, event = Lock(), Event(name="bell")
    lock.acquire()
    (pooled,) = [facts for facts in sync.locks() if facts.name is None]
    assert (pooled.kind, pooled.state, pooled.abandoned) == ("Lock", "held", False)
    assert pooled.label == f"Lock #{pooled.index}" and not pooled.idle
    assert find("bell").state == "clear" and find("bell").idle
    event.set()
    assert find("bell").state == "set"
    lock.release()
    assert find(pooled.label).state == "free"


def waiting(*objects_and_calls):
    threads = [threading.Thread(target=call) for call in objects_and_calls]
    for thread in threads:
        thread.start()
    return threads


def test_waiters_are_listed_with_their_thread_time_and_timeout():
    lock, event = Lock(name="door"), Event(name="bell")
    lock.acquire()
    idents = {}

    def wait_for_lock():
        idents["door"] = threading.get_ident(), threading.get_native_id()
        assert lock.acquire(timeout=30)
        lock.release()

    threads = waiting(wait_for_lock, event.wait)
    until(lambda: find("door").waiters and find("bell").waiters)
    (waiter,) = find("door").waiters
    assert (waiter.ident, waiter.thread) == idents["door"] and waiter.pid == os.getpid()
    assert 0 <= waiter.seconds < 20 and 10 < waiter.left <= 30
    (holder,) = find("door").holders
    assert 0 <= holder.seconds <= waiter.seconds + 1
    (listener,) = find("bell").waiters
    assert listener.left is None and find("bell").holders == ()
    lock.release()
    event.set()
    for thread in threads:
        thread.join(10)
    assert find("door").waiters == find("bell").waiters == () and _core.waits() == []


def test_a_wait_that_ends_by_timeout_leaves_no_record():
    lock = Lock()
    lock.acquire()
    assert not lock.acquire(timeout=0.05)
    assert not Event().wait(0.05)
    assert _core.waits() == []


def test_more_waiting_threads_than_there_are_records_do_no_harm():
    event = Event(name="bell")
    threads = waiting(*[event.wait] * 40)
    until(lambda: len(find("bell").waiters) == 32)
    event.set()
    for thread in threads:
        thread.join(10)
    assert _core.waits() == []


def test_a_thread_that_waits_for_its_own_lock_is_a_cycle_of_one():
    lock = Lock(name="door")

    def twice():
        lock.acquire()
        lock.acquire()

    (thread,) = waiting(twice)
    until(lambda: find("door").waiters)
    (cycle,) = sync.cycles()
    assert cycle.certain and cycle.for_ever
    ((waiter, lock_facts),) = cycle.steps
    assert lock_facts.name == "door" and waiter.thread == thread.native_id
    assert "waits for door, which it holds itself" in str(cycle)
    lock.release()
    thread.join(10)
    assert sync.cycles() == []


def test_a_wait_for_another_thread_of_the_process_is_no_cycle():
    lock = Lock(name="door")
    lock.acquire()
    (thread,) = waiting(lock.acquire)
    until(lambda: find("door").waiters)
    assert sync.cycles() == []
    lock.release()
    thread.join(10)


def test_two_threads_that_wait_for_each_other_are_a_cycle_of_two(capsys):
    first, second, both = Lock(name="first"), Lock(name="second"), threading.Barrier(2)

    def cross(one, other, seconds):
        with one:
            both.wait()
            other.acquire(timeout=seconds)

    threads = waiting(lambda: cross(first, second, -1), lambda: cross(second, first, 60))
    until(lambda: len(_core.waits()) == 2)
    (cycle,) = sync.cycles()
    assert len(cycle.steps) == 2 and cycle.certain and not cycle.for_ever
    assert {lock.name for _waiter, lock in cycle.steps} == {"first", "second"}
    assert main(["locks", "--json"]) == 1
    (shown,) = json.loads(capsys.readouterr().out)["cycles"]
    assert [step["waits_for"] for step in shown["steps"]] in (
        ["first", "second"], ["second", "first"],
    )  # fmt: skip
    assert main(["locks"]) == 1
    out = capsys.readouterr().out
    assert "2 threads wait for each other; a timeout will end it:" in out
    first.release()  # whoever waits for it goes on, and then the other
    for thread in threads:
        thread.join(10)


def test_locks_shows_named_ones_and_busy_ones_and_counts_the_rest(capsys):
    keep = [Lock() for _ in range(5)]
    keep[2].acquire()
    Lock(name="door")
    assert main(["locks"]) == 0
    out = capsys.readouterr().out
    assert "door" in out and "Lock #2" in out and "Lock #1" not in out
    assert "And 4 without a name, or segments," in out
    assert main(["locks", "--all"]) == 0
    assert "Lock #1" in capsys.readouterr().out


def test_locks_as_json(capsys, namespace_folder):
    lock = Lock(name="door")
    lock.acquire()
    assert main(["locks", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"folder", "locks", "cycles", "hidden"}
    assert (found["folder"], found["cycles"], found["hidden"]) == (namespace_folder, [], 0)
    (door,) = found["locks"]
    (holder,) = door.pop("holders")
    assert door == {
        "name": "door", "index": None, "kind": "Lock", "state": "held", "abandoned": False,
        "waiters": [], "segment": None,
    }  # fmt: skip
    assert set(holder) == {
        "owner", "pid", "program", "thread", "ident", "seconds", "count", "task", "seen",
    }  # fmt: skip


def test_locks_of_an_empty_namespace_says_so(capsys):
    assert main(["locks"]) == 0
    assert "Nothing in" in capsys.readouterr().out
    assert main(["locks", "--namespace", "../up", "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["error"] == "InvalidName"


def test_an_rwlock_names_its_readers_and_its_writer():
    with ipcsys.RWLock(name="table") as table, ipcsys.RWLock() as pooled:
        assert find("table").state == "free" and find("table").idle
        with table.read(), table.read():
            (reader,) = find("table").holders
            assert (reader.pid, reader.count, reader.ident) == (os.getpid(), 2, threading.get_ident())
            assert find("table").state == "read"
        with pooled.write():
            (facts,) = [facts for facts in sync.locks() if facts.name is None]
            assert (facts.kind, facts.state) == ("RWLock", "written")
            assert facts.holders[0].pid == os.getpid()
        with table.write():
            assert sync.who_holds("table").pid == os.getpid()
        assert sync.who_holds("table") is None


def test_a_semaphore_tells_what_is_free_and_who_has_how_many():
    slots, pooled = ipcsys.Semaphore(5, name="slots"), ipcsys.BoundedSemaphore(2)
    assert (find("slots").state, find("slots").idle) == ("5 free", True)
    assert slots.acquire() and slots.acquire() and pooled.acquire()
    assert find("slots").state == f"{slots.value} free" == "3 free"
    (holder,) = find("slots").holders
    assert (holder.pid, holder.count, holder.ident) == (os.getpid(), 2, threading.get_ident())
    (facts,) = [facts for facts in sync.locks() if facts.name is None]
    assert (facts.kind, facts.state) == ("BoundedSemaphore", "1 free")
    assert [holder.count for holder in facts.holders] == [1]
    slots.release(2)
    pooled.release()
    assert find("slots").idle and not find("slots").abandoned


def test_who_waits_for_a_notification_is_listed_and_no_certain_part_of_a_cycle():
    changed = ipcsys.Condition(name="changed")

    def wait():
        with changed:
            changed.wait(30)

    (thread,) = waiting(wait)
    until(lambda: find("changed").waiters)
    (waiter,) = find("changed").waiters
    assert waiter.thread == thread.native_id and find("changed").holders == ()
    with changed:
        assert find("changed").state == "held" and sync.cycles() == []
        changed.notify()
    thread.join(10)


def in_thread(call):
    """A thread that has done the call and is still there; what ends it."""
    done, end, idents = threading.Event(), threading.Event(), []

    def run():
        call()
        idents.append(threading.get_ident())
        done.set()
        end.wait(30)

    thread = threading.Thread(target=run)
    thread.start()
    assert done.wait(30)
    return idents[0], lambda: (end.set(), thread.join(30))


def test_of_a_semaphore_the_thread_is_named_that_surely_has_a_permit():
    slots = ipcsys.Semaphore(3, name="slots")
    here = threading.get_ident()
    ident, end = in_thread(slots.acquire)
    assert find("slots").holders[0].ident == ident
    slots.acquire()
    assert (find("slots").holders[0].ident, find("slots").holders[0].count) == (here, 2)
    slots.release()  # which of them that was is not known any more
    assert (find("slots").holders[0].ident, find("slots").holders[0].count) == (None, 1)
    slots.acquire()
    assert find("slots").holders[0].ident == here
    end()
    slots.release(2)
    assert find("slots").holders == ()


def test_of_an_rwlock_the_reading_and_the_writing_thread_are_named():
    with ipcsys.RWLock(name="table") as table:
        here = threading.get_ident()
        ident, end = in_thread(table.acquire_read)
        assert find("table").holders[0].ident == ident
        table.acquire_read()
        assert find("table").holders[0].ident == here
        table.release_read()
        assert find("table").holders[0].ident is None  # one of the two read ended
        table.release_read()
        end()
        ident, end = in_thread(table.acquire_write)
        assert find("table").holders[0].ident == ident
        assert find("table").holders[0].thread is None
        end()
        table.downgrade()
        assert find("table").holders[0].ident == here
        assert table.upgrade()
        assert find("table").holders[0].ident == here
        table.release_write()


def test_a_thread_that_waits_to_write_what_it_reads_is_a_cycle_of_one():
    with ipcsys.RWLock(name="table") as table:
        (thread,) = waiting(lambda: (table.acquire_read(), table.acquire_write(timeout=30)))
        until(lambda: find("table").waiters)
        (cycle,) = sync.cycles()
        assert cycle.certain and len(cycle.steps) == 1
        table.release_read()
        thread.join(10)
        table.release_write()


def test_who_takes_what_others_release_is_in_no_cycle():
    jobs, both = ipcsys.Semaphore(0, name="jobs"), threading.Barrier(2)
    jobs.release(2)
    threads = waiting(*[lambda: (jobs.acquire(), both.wait(30), jobs.acquire())] * 2)
    until(lambda: len(find("jobs").waiters) == 2)
    assert find("jobs").holders[0].count == 2 and sync.cycles() == []
    jobs.release(2)
    for thread in threads:
        thread.join(10)


def test_an_observer_tells_for_how_long_it_has_seen_who_holds():
    lock, observer = Lock(name="door"), sync.Observer()

    def seen():
        (found,) = [each for each in observer.locks() if each.name == "door"]
        return [holder.seen for holder in found.holders]

    lock.acquire()
    assert find("door").holders[0].seen is None
    assert seen() == [0.0]
    (first,) = seen()
    until(lambda: seen()[0] > first)
    lock.release()
    assert seen() == []
    lock.acquire()
    assert seen() == [0.0]


def test_locks_over_some_time_says_since_when_it_is_seen_held(capsys):
    with Lock(name="door"):
        assert main(["locks", "--over", "0.02", "--json"]) == 0
        (door,) = json.loads(capsys.readouterr().out)["locks"]
        assert door["holders"][0]["seen"] >= 0.02 and door["holders"][0]["seconds"] is None
        assert main(["locks", "--over", "0.02"]) == 0
        assert "seen for" in capsys.readouterr().out


def test_a_transaction_whose_thread_has_ended_names_process_thread_and_time():
    with ipcsys.Segment("plant", "1 MiB") as segment:
        assert sync.who_holds("plant") is None and find("plant").state == "free"
        transactions, idents = [], []

        def begin():
            transactions.append(segment.transaction())
            transactions[0].__enter__()
            idents.append(threading.get_ident())

        (thread,) = waiting(begin)
        thread.join()
        holder = sync.who_holds("plant")
        assert (holder.pid, holder.ident, holder.thread) == (os.getpid(), idents[0], None)
        assert holder.seconds >= 0 and find("plant").state == "written"
        with pytest.raises(ipcsys.TransactionError):
            transactions[0].__exit__(None, None, None)
        assert sync.who_holds("plant").ident == idents[0]


def test_a_lock_whose_thread_has_ended_names_process_and_thread():
    for name, kind in {"door": Lock, "gate": ipcsys.RLock}.items():
        thing, idents = kind(name=name), []
        (thread,) = waiting(lambda: (thing.__enter__(), idents.append(threading.get_ident())))
        thread.join()
        holder = sync.who_holds(name)
        assert (holder.pid, holder.ident, holder.thread) == (os.getpid(), idents[0], None)


def test_a_transaction_and_a_lock_that_wait_for_each_other_are_a_cycle():
    lock, both = Lock(name="door"), threading.Barrier(2)
    with ipcsys.Segment("plant", "1 MiB") as segment:

        def changes():
            with segment.transaction():
                both.wait(30)
                with lock:
                    pass

        def holds():
            lock.acquire()  # released from outside
            both.wait(30)
            with segment.transaction(timeout=30):
                pass

        threads = waiting(changes, holds)
        until(lambda: find("door").waiters and find("plant").waiters)
        (waiter,) = find("plant").waiters
        assert waiter.ident == threads[1].ident and 0 < waiter.left <= 30
        (cycle,) = sync.cycles()
        assert cycle.certain and not cycle.for_ever
        assert {found.label for _waiter, found in cycle.steps} == {"door", "plant"}
        lock.release()
        threads[0].join(10)
        threads[1].join(10)


def test_an_idle_segment_takes_no_row_of_its_own(capsys):
    with ipcsys.Segment("plant", "1 MiB") as segment:
        assert main(["locks"]) == 0
        assert "plant" not in capsys.readouterr().out
        with segment.transaction():
            assert main(["locks"]) == 0
        out = capsys.readouterr().out
        assert "plant" in out and "written" in out


# --- tasks ----------------------------------------------------------------------


async def shown(label, waiters=1):
    """The facts once that many wait."""
    end = asyncio.get_running_loop().time() + 20
    while len(find(label).waiters) < waiters:
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.002)
    return find(label)


def number(task=None):
    return _core.async_task(task or asyncio.current_task())


@pytest.mark.parametrize("kind, take", [
    ("Lock", "acquire"), ("RLock", "acquire"), ("Semaphore", "acquire"),
    ("RWLock", "acquire_write"), ("RWLock", "acquire_read"),
])  # fmt: skip
def test_a_task_that_waits_is_listed_and_so_is_the_one_that_holds(kind, take):
    async def main():
        face = getattr(aio, kind)(name="door")
        await (face.acquire_write() if kind == "RWLock" else face.acquire())
        assert [holder.task for holder in find("door").holders] == [number()]
        assert find("door").holders[0].ident is None
        task = asyncio.create_task(getattr(face, take)(timeout=30))
        found = await shown("door")
        (waiter,) = found.waiters
        assert (waiter.task, waiter.pid) == (number(task), os.getpid())
        assert waiter.ident == threading.get_ident() and 10 < waiter.left <= 30
        assert sync.cycles() == []
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert find("door").waiters == () and _core.waits() == []
        face.release_write() if kind == "RWLock" else face.release()
        task = asyncio.create_task(getattr(face, take)())
        await task
        assert [holder.task for holder in find("door").holders] == [number(task)]

    asyncio.run(main())


def test_tasks_that_wait_for_events_conditions_and_barriers_are_listed():
    async def main():
        event, condition = aio.Event(name="bell"), aio.Condition(name="changed")
        barrier = aio.Barrier(2, name="gate")

        async def notified():
            async with condition:
                await condition.wait()

        tasks = [asyncio.create_task(each()) for each in (event.wait, notified, barrier.wait)]
        for label, task in zip(("bell", "changed", "gate"), tasks, strict=True):
            assert [waiter.task for waiter in (await shown(label)).waiters] == [number(task)]
            assert (await shown(label)).waiters[0].left is None
        event.set()
        async with condition:
            condition.notify()
        await barrier.wait()
        await asyncio.gather(*tasks)
        assert _core.waits() == []

    asyncio.run(main())


def test_two_tasks_that_wait_for_each_other_are_a_certain_cycle(capsys):
    async def main_task():
        locks = aio.Lock(name="first"), aio.Lock(name="second")
        both = asyncio.Event()

        async def cross(one, other):
            async with one:
                if find("first").holders and find("second").holders:
                    both.set()
                await both.wait()
                await other.acquire()
                other.release()

        tasks = [asyncio.create_task(cross(*pair)) for pair in (locks, locks[::-1])]
        await shown("first"), await shown("second")
        (cycle,) = sync.cycles()
        assert cycle.certain and cycle.for_ever
        assert {waiter.task for waiter, _lock in cycle.steps} == set(map(number, tasks))
        assert main(["locks"]) == 1
        out = capsys.readouterr().out
        assert "2 threads or tasks wait for each other:" in out and f"task {number(tasks[0]):#x}" in out
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main_task())


def test_tasks_that_wait_for_a_third_one_are_no_cycle():
    async def main():
        locks = aio.Lock(name="first"), aio.Lock(name="second")
        async with locks[0], locks[1]:
            tasks = [asyncio.create_task(lock.acquire()) for lock in locks]
            await shown("first"), await shown("second")
            assert sync.cycles() == []
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_more_waiting_tasks_than_there_are_records_do_no_harm():
    async def main():
        event = aio.Event(name="bell")
        tasks = [asyncio.create_task(event.wait()) for _ in range(40)]
        await shown("bell", 16)
        (thread,) = waiting(event.shared.wait)  # there is room for threads
        assert len((await shown("bell", 17)).waiters) == 17
        event.set()
        await asyncio.gather(*tasks)
        thread.join(10)
        assert _core.waits() == []

    asyncio.run(main())


# --- looks that are made up -----------------------------------------------------


def member(owner):
    return {"owner": owner, "pid": 1000 + owner, "program": "p", "main_ident": 0}


def wait(owner, ident, place, **facts):
    return {
        "owner": owner, "thread": ident, "ident": ident, "task": 0, "file": 0, "place": place, "since": 1,
        "seconds": 1.0, "left": None, "holder": 0, "holder_seconds": 0.0, **facts,
    }  # fmt: skip


def held(place, *holders, **facts):
    return {
        "name": f"l{place}", "index": None, "kind": "Lock", "state": "held", "file": 0,
        "place": place, "holders": [(*holder, 1) for holder in holders], "abandoned": False,
        **facts,
    }  # fmt: skip


@pytest.fixture
def made_up(monkeypatch):
    def make(waits, locks, owners):
        monkeypatch.setattr(_core, "waits", lambda namespace: waits)
        monkeypatch.setattr(_core, "locks", lambda namespace: locks)
        monkeypatch.setattr(_core, "members", lambda namespace: list(map(member, owners)))
        return sync.cycles()

    return make


def test_a_ring_of_three_is_one_cycle_wherever_one_begins(made_up):
    waits = [wait(9, 9, 1)] + [wait(owner, owner, owner % 3 + 1) for owner in (1, 2, 3)]
    locks = [held(place, (place, place)) for place in (1, 2, 3)]
    (cycle,) = made_up(waits, locks, (1, 2, 3, 9))
    assert len(cycle.steps) == 3 and cycle.certain


def test_where_the_holders_thread_is_unknown_the_cycle_is_not_certain(made_up):
    waits = [wait(1, 1, 2), wait(2, 5, 1)]
    (cycle,) = made_up(waits, [held(1, (1, 1)), held(2, (2, 0))], (1, 2))
    assert not cycle.certain


def test_one_of_several_holders_is_not_certain_either(made_up):
    waits = [wait(1, 1, 2), wait(2, 2, 1)]
    (cycle,) = made_up(waits, [held(1, (1, 1)), held(2, (2, 2), (3, 3))], (1, 2, 3))
    assert not cycle.certain


def test_a_cycle_by_way_of_a_condition_is_not_certain(made_up):
    waits = [wait(1, 1, 2), wait(2, 2, 1)]
    locks = [held(1, (1, 1), kind="Condition"), held(2, (2, 2))]
    (cycle,) = made_up(waits, locks, (1, 2))
    assert not cycle.certain


def test_a_long_chain_without_end_is_no_cycle(made_up):
    waits = [wait(owner, owner, owner + 1) for owner in range(1, 3000)]
    locks = [held(place, (place, place)) for place in range(1, 3002)]
    assert made_up(waits, locks, range(1, 3002)) == []


def test_a_cycle_that_is_gone_at_the_second_look_is_not_told(made_up, monkeypatch):
    looks = iter([[wait(1, 1, 1)], []])
    locks = [held(1, (1, 1))]
    monkeypatch.setattr(_core, "waits", lambda namespace: next(looks))
    monkeypatch.setattr(_core, "locks", lambda namespace: locks)
    monkeypatch.setattr(_core, "members", lambda namespace: [member(1)])
    assert sync.cycles() == []
