# SPDX-License-Identifier: Apache-2.0
"""ipcsys.mp between processes: start methods, pools, killed peers, an unsuspecting program."""

import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor

import mp_children
import pytest

from ipcsys import mp

METHODS = multiprocessing.get_all_start_methods()
SOON = 30.0


@pytest.fixture(params=METHODS)
def context(request):
    yield mp.get_context(request.param)
    if request.param == "forkserver":
        multiprocessing.forkserver._forkserver._stop()
    if request.param != "fork":
        multiprocessing.resource_tracker._resource_tracker._stop()


def start(context, target, *args):
    process = context.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def end(process):
    process.kill()
    process.join(SOON)
    process.close()


def test_queues_values_and_arrays_reach_a_child(context):
    box, answers = context.JoinableQueue(), context.SimpleQueue()
    total, cells = context.Value("i", 0), context.Array("d", 10)
    workers = [start(context, mp_children.work, box, answers, total, cells) for _ in range(2)]
    for number in range(10):
        box.put(number)
    box.join()
    for _ in workers:
        box.put(None)
    got = sorted((answers.get() for _ in range(10)), key=lambda answer: answer["n"])
    assert got == [{"n": n, "square": n * n} for n in range(10)]
    assert total.value == 45 and cells[:] == [1.5] * 10
    for worker in workers:
        worker.join(SOON)
        assert worker.exitcode == 0
        worker.close()


def test_objects_reach_the_workers_of_a_pool_as_initargs(context):
    total, box = context.Value("i", 0), context.Queue()
    with context.Pool(2, mp_children.keep_positionally, (total, box)) as pool:
        assert pool.map(mp_children.add_and_put, range(20)) == [n * n for n in range(20)]
        pool.close()
        pool.join()  # else a worker may be terminated before it took what it was sent
    assert total.value == 190
    assert sorted(box.get(timeout=SOON)[1] for _ in range(20)) == list(range(20))


def test_objects_reach_the_workers_of_a_pool_as_arguments(context):
    """multiprocessing itself refuses this one."""
    box = context.Queue()
    with context.Pool(2) as pool:
        pool.starmap(mp_children.put_squares, [(box, [1, 2]), (box, [3])])
        pool.close()
        pool.join()
    assert sorted(box.get(timeout=SOON) for _ in range(3)) == [1, 4, 9]


def test_objects_reach_the_workers_of_an_executor(context):
    total, box = context.Value("i", 0), context.Queue()
    with ProcessPoolExecutor(
        2, mp_context=context, initializer=mp_children.keep_positionally, initargs=(total, box)
    ) as pool:
        assert list(pool.map(mp_children.add_and_put, range(10))) == [n * n for n in range(10)]
        pool.submit(mp_children.put_squares, box, [7]).result(SOON)
    assert total.value == 45
    assert len([box.get(timeout=SOON) for _ in range(11)]) == 11


def test_what_a_killed_child_put_is_there(context):
    box = context.Queue()
    child = start(context, mp_children.put_then_die, box, 100)
    child.join(SOON)
    assert child.exitcode == -signal.SIGKILL
    assert [box.get(timeout=SOON)["number"] for _ in range(100)] == list(range(100))
    child.close()


@pytest.mark.parametrize("target", [mp_children.get_for_ever, mp_children.put_for_ever])
def test_a_child_killed_within_a_call_does_not_wedge_the_queue(target):
    context, ready, box = mp.get_context("fork"), mp.Queue(), mp.Queue(1000)
    for round_ in range(5):
        child = start(context, target, box, ready)
        assert ready.get(timeout=SOON) == child.pid
        for _ in range(300 * (round_ + 1)):
            try:
                if target is mp_children.get_for_ever:
                    box.put("x", timeout=SOON)
                else:
                    box.get(timeout=SOON)
            except (queue.Full, queue.Empty):
                pytest.fail("the queue stands still beside a living child")
        end(child)
        while not box.empty():
            box.get(timeout=SOON)
        box.put("after")
        assert box.get(timeout=SOON) == "after" and box.check() == []


def test_an_array_of_200_megabytes_passes():
    """Three copies of it in all: the sender's, the queue's, the receiver's."""
    numpy = pytest.importorskip("numpy")
    facts = os.statvfs("/dev/shm")
    if facts.f_bavail * facts.f_frsize < 500 << 20:
        pytest.skip("/dev/shm has less than 500 MiB free")
    context = mp.get_context("fork")
    box, answers = context.Queue(), context.Queue()
    child = start(context, mp_children.sum_up, box, answers)
    array = numpy.zeros((25, 1_000_000))
    array[3, 4], array[-1, -1] = 2.0, 5.0
    box.put(array)
    assert answers.get(timeout=SOON) == ((25, 1_000_000), 7.0, True)
    box.put(array[:2])
    assert answers.get(timeout=SOON) == ((2, 1_000_000), 0.0, True)
    box.put(None)
    child.join(SOON)
    child.close()
    assert box.check() == []


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_what_a_killed_child_held_can_be_had(kind, context):
    lock, ready = getattr(context, kind)(), context.Event()
    child = start(context, mp_children.hold_and_die, lock, ready)
    assert ready.wait(SOON)
    assert lock.acquire(timeout=SOON)
    lock.release()
    end(child)


def test_a_value_that_a_killed_child_had_locked_goes_on(context):
    total, ready = context.Value("i", 1), context.Event()
    child = start(context, mp_children.hold_a_value_and_die, total, ready)
    assert ready.wait(SOON)
    child.join(SOON)
    with total.get_lock():
        total.value += 1
    assert total.value == 8 and total.get_lock().acquire(timeout=SOON)
    total.get_lock().release()
    end(child)


def test_a_killed_waiter_does_not_eat_a_notification():
    context, ready = mp.get_context("fork"), mp.Event()
    condition = context.Condition()
    for number in range(3):
        ready.clear()
        child = start(context, mp_children.wait_at, condition, ready)
        assert ready.wait(SOON)
        with condition:  # it waits now
            pass
        if number < 2:
            end(child)
    with condition:
        condition.notify()
    child.join(SOON)
    assert child.exitcode == 0
    child.close()


def test_a_barrier_breaks_where_a_party_is_killed_and_not_where_one_ends(context):
    barrier = context.Barrier(2)
    child = start(context, mp_children.meet, barrier, 3)
    for _ in range(3):
        barrier.wait(SOON)
    child.join(SOON)
    assert child.exitcode == 0 and not barrier.broken
    child.close()
    child = start(context, mp_children.meet, barrier, 10)
    barrier.wait(SOON)
    child.kill()
    with pytest.raises(threading.BrokenBarrierError):
        for _ in range(10):
            barrier.wait(SOON)
    end(child)


def test_a_forked_child_makes_its_values_elsewhere():
    context, box = mp.get_context("fork"), mp.Queue()
    first = mp.RawValue("i", 1)
    child = start(context, mp_children.make_values, box)
    values = [box.get(timeout=SOON) for _ in range(5)]
    mine = [mp.RawValue("i", -1) for _ in range(5)]
    assert [value.value for value in values] == [0, 1, 2, 3, 4]
    assert [value.value for value in [first, *mine]] == [1, -1, -1, -1, -1, -1]
    child.join(SOON)
    child.close()


def test_an_event_reaches_a_child(context):
    event, answers = context.Event(), context.Queue()
    child = start(context, mp_children.wait_for_event, event, answers)
    event.set()
    assert answers.get(timeout=SOON) is True
    child.join(SOON)
    child.close()


PROGRAM = """
import sys
{import_line}

def worker(number, tasks, results, lock, total, log):
    for task in iter(tasks.get, None):
        with lock:
            total.value += task
        results.put((task, task ** 2))
    with lock:
        log[number] += 1

def main():
    tasks, results = mp.Queue(), mp.Queue()
    lock, total, log = mp.Lock(), mp.Value("i", 0, lock=False), mp.Array("i", 3)
    done = mp.Event()
    workers = [mp.Process(target=worker, args=(n, tasks, results, lock, total, log))
               for n in range(3)]
    for process in workers:
        process.start()
    for task in range(50):
        tasks.put(task)
    for _ in workers:
        tasks.put(None)
    print(sorted(results.get() for _ in range(50)))
    for process in workers:
        process.join()
    print(total.value, log[:], [process.exitcode for process in workers])
    with mp.Pool(2) as pool:
        print(pool.map(abs, [-3, 4]))
    ours, theirs = mp.Pipe()
    ours.send({{"a": 1}})
    print(theirs.recv(), mp.current_process().name, mp.cpu_count() > 0, done.is_set())

if __name__ == "__main__":
    mp.set_start_method(sys.argv[1])
    main()
"""


@pytest.mark.parametrize("method", METHODS)
def test_a_program_says_the_same_with_either_import(method, tmp_path):
    said = []
    for name, line in [
        ("theirs", "import multiprocessing as mp"), ("ours", "from ipcsys import mp"),
    ]:  # fmt: skip
        program = tmp_path / f"{name}.py"
        program.write_text(PROGRAM.format(import_line=line))
        done = subprocess.run(
            [sys.executable, program, method], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0 and done.stderr == "", done.stderr
        said.append(done.stdout)
    assert said[0] == said[1] and "(49, 2401)" in said[0]
