# SPDX-License-Identifier: Apache-2.0
"""ipcsys.mp in one process: multiprocessing's names, manners, exceptions and values."""

import ctypes
import functools
import inspect
import multiprocessing
import multiprocessing.queues
import pickle
import queue
import subprocess
import sys
import threading
import time

import pytest

import ipcsys
from ipcsys import mp


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("no")


class Bomb:
    """Goes in, and does not come out."""

    def __reduce__(self):
        return int, ("not a number",)


# --- names --------------------------------------------------------------------


def test_every_public_name_of_multiprocessing_is_there():
    assert set(multiprocessing.__all__) <= set(mp.__all__) == set(mp.__all__) & set(dir(mp))
    for name in mp.__all__:
        getattr(mp, name)
    assert issubclass(mp.Process, multiprocessing.Process)
    assert mp.process is multiprocessing.process
    assert mp.queues.Empty is queue.Empty and mp.sharedctypes.typecode_to_type["i"] is ctypes.c_int
    with pytest.raises(AttributeError, match="nothing_such"):
        mp.nothing_such  # noqa: B018


def test_the_package_offers_it_as_an_attribute():
    assert ipcsys.mp is mp and "mp" in dir(ipcsys)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_context_makes_ours_and_starts_theirs(method):
    context, plain = mp.get_context(method), multiprocessing.get_context(method)
    assert isinstance(context, type(plain)) and context is mp.get_context(method)
    assert context.get_start_method() == method and context.get_context() is context
    assert issubclass(context.Process, plain.Process)
    assert type(context.Queue()) is mp.Queue and type(context.SimpleQueue()) is mp.SimpleQueue
    assert type(context.JoinableQueue()) is mp.JoinableQueue
    assert context.get_context("fork") is mp.get_context("fork")


def test_an_unknown_start_method_is_refused_as_by_multiprocessing():
    with pytest.raises(ValueError, match="cannot find context for 'teleport'"):
        mp.get_context("teleport")


@pytest.mark.parametrize("name", ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition",
                                  "Event", "Barrier", "Queue", "JoinableQueue", "SimpleQueue", "Value", "Array", "RawValue",
                                  "RawArray"])  # fmt: skip
def test_a_context_method_has_the_signature_of_multiprocessings(name):
    ours = inspect.signature(getattr(mp.get_context("fork"), name))
    assert str(ours) == str(inspect.signature(getattr(multiprocessing, name)))


# --- queues -------------------------------------------------------------------


def test_a_queue_has_the_signatures_of_multiprocessings():
    for name in ("put", "get", "put_nowait", "get_nowait"):
        ours, theirs = (
            [(p.name, p.default) for p in inspect.signature(getattr(kind, name)).parameters.values()]
            for kind in (mp.Queue, multiprocessing.queues.Queue)
        )
        assert ours == theirs


def test_any_false_block_and_any_negative_timeout_is_a_try():
    box = mp.Queue(1)
    box.put(obj="first", block=True, timeout=-1)
    for args in [(2, False), (2, False, 5), (2, True, -5), (2, True, 0)]:
        with pytest.raises(queue.Full):
            box.put(*args)
    assert box.get(True, -1) == "first"
    for args in [(False,), (False, 5), (True, -5), (True, 0)]:
        with pytest.raises(queue.Empty):
            box.get(*args)


def test_what_pickling_raises_is_raised_in_put_as_it_is():
    box = mp.Queue()
    with pytest.raises(RuntimeError, match="no"):
        box.put(Unpicklable())
    with pytest.raises((pickle.PicklingError, AttributeError)):
        box.put(lambda: None)
    assert box.empty()
    box.put(Bomb())
    with pytest.raises(ValueError, match="invalid literal") as caught:
        box.get()
    assert not isinstance(caught.value, ipcsys.Error) and box.empty()


def test_closing_has_the_manners_of_multiprocessing():
    box = mp.Queue()
    with pytest.raises(AssertionError, match="not closed"):
        box.join_thread()
    box.cancel_join_thread()
    box.close()
    box.close()
    box.join_thread()
    for call in (lambda: box.put(1), box.get):
        with pytest.raises(ValueError, match="is closed"):
            call()
    with pytest.raises(OSError, match="is closed"):
        box.empty()


def test_parts_that_are_one_object_come_out_as_one_object():
    box, part = mp.Queue(), [1]
    for value in ([part, part], {"a": part, "b": (part,)}, [{"x": part}, {"y": part}]):
        box.put(value)
    first, second, third = box.get(), box.get(), box.get()
    assert first[0] is first[1]
    assert second["a"] is second["b"][0]
    assert third[0]["x"] is third[1]["y"]
    loop = []
    loop.append(loop)
    box.put(loop)
    loop = box.get()
    assert loop[0] is loop


def test_parts_that_others_refer_to_are_no_reason_to_pickle():
    held = [{"n": 1}, {"n": 2}]
    assert pickle.dumps(held)  # keep the names alive
    box = mp.Queue()
    box.put(held)
    assert box.get() == held


def test_a_queue_that_seems_unbounded_names_its_limit_instead_of_waiting_for_ever():
    box = mp.Queue(max_bytes="1 MiB")
    assert not box.full()
    start = time.monotonic()
    with pytest.raises(queue.Full, match="max_bytes of 1048576"):
        for _ in range(100):
            box.put(b"x" * 30_000)
    assert 0.9 < time.monotonic() - start < 30
    with pytest.raises(queue.Full):
        box.put_nowait(b"x" * 30_000)


def test_the_task_counter_of_a_joinable_queue():
    box = mp.JoinableQueue()
    box.put("task")
    box.get()
    box.task_done()
    box.join()
    with pytest.raises(ValueError, match="too many times"):
        box.task_done()


def test_a_simple_queue_has_no_arguments():
    box = mp.SimpleQueue()
    assert box.empty()
    box.put({"a": 1})
    assert box.get() == {"a": 1}
    with pytest.raises(TypeError):
        mp.SimpleQueue(5)
    box.close()


def test_connections_and_sockets_travel_through_a_queue():
    box = mp.Queue()
    ours, theirs = mp.Pipe()
    box.put(theirs)
    arrived = box.get()
    arrived.send("hello")
    assert ours.recv() == "hello"
    for end in (ours, theirs, arrived):
        end.close()
    multiprocessing.resource_sharer.stop()


# --- locks --------------------------------------------------------------------


@pytest.mark.parametrize("kind", [mp.Lock, mp.RLock, mp.Condition, mp.Semaphore])
def test_acquire_has_multiprocessings_rules(kind):
    lock = kind()
    assert lock.acquire(False, 5) is True
    found = []

    def elsewhere():
        for given in [{"block": False}, {"block": False, "timeout": 9}, {"timeout": -3},
                      {"timeout": 0}, {"block": True, "timeout": 0.01}]:  # fmt: skip
            found.append(lock.acquire(**given))
        with pytest.raises(TypeError):
            lock.acquire(blocking=False)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [False] * 5
    lock.release()
    with lock as taken:
        assert taken is True


def test_releasing_what_is_not_held_raises_as_multiprocessing_does():
    with pytest.raises(ValueError, match="released too many times"):
        mp.Lock().release()
    with pytest.raises(AssertionError):
        mp.RLock().release()
    condition = mp.Condition()
    for call in (condition.wait, condition.notify, condition.notify_all, condition.release):
        with pytest.raises(AssertionError):
            call()


def test_semaphores_show_and_bound_their_value():
    free, bounded = mp.Semaphore(2), mp.BoundedSemaphore(2)
    assert repr(free) == "<Semaphore(value=2)>"
    assert repr(bounded) == "<BoundedSemaphore(value=2, maxvalue=2)>"
    with free, bounded:
        assert free.get_value() == bounded.get_value() == 1 and not free._semlock._is_zero()
    free.release()
    assert free.get_value() == 3
    with pytest.raises(ValueError, match="released too many times"):
        bounded.release()
    assert mp.Semaphore(0)._is_zero() and mp.Semaphore(0).acquire(timeout=-1) is False
    with pytest.raises(ValueError):
        mp.Semaphore(-1)
    free.close()
    assert repr(free) == "<Semaphore(closed)>"


def test_any_thread_may_release_a_lock():
    lock = mp.Lock()
    lock.acquire()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    assert lock.acquire(False)


def in_thread(function, name):
    thread = threading.Thread(target=function, name=name)
    thread.start()
    thread.join()


def test_a_lock_names_its_holder():
    lock, said = mp.Lock(), []
    assert repr(lock) == "<Lock(owner=None)>"
    with lock:
        assert repr(lock) == "<Lock(owner=MainProcess)>"
        in_thread(lambda: said.append(repr(lock)), "T1")
    in_thread(lambda: lock.acquire() and said.append(repr(lock)), "T1")
    assert said == ["<Lock(owner=SomeOtherThread)>", "<Lock(owner=MainProcess|T1)>"]
    lock.close()
    assert repr(lock) == "<Lock(owner=closed)>"


def test_an_rlock_names_its_holder_and_depth():
    lock, said = mp.RLock(), []
    assert repr(lock) == "<RLock(None, 0)>"
    with lock, lock:
        assert repr(lock) == "<RLock(MainProcess, 2)>"
        in_thread(lambda: said.append(repr(lock)), "T1")
    assert said == ["<RLock(SomeOtherThread, nonzero)>"]
    condition = mp.Condition()
    assert repr(condition) == "<Condition(<RLock(None, 0)>, 0)>"
    with condition:
        assert repr(condition) == "<Condition(<RLock(MainProcess, 1)>, 0)>"
    assert repr(mp.Condition(mp.Lock())) == "<Condition(<Lock(owner=None)>, 0)>"


@pytest.mark.parametrize("lock", [mp.Lock, mp.RLock, lambda: None])
def test_a_condition_waits_with_any_lock_of_ours(lock):
    condition, items = mp.Condition(lock()), []

    def produce():
        with condition:
            items.append("item")
            condition.notify()

    with condition:
        assert condition.wait(0.01) is False
        thread = threading.Thread(target=produce)
        thread.start()
        assert condition.wait_for(lambda: items, 10) == ["item"]
    thread.join()


def test_an_event_shows_itself_as_multiprocessings():
    event = mp.Event()
    assert repr(event) == f"<Event at {id(event):#x} unset>"
    event.set()
    assert repr(event) == f"<Event at {id(event):#x} set>" and event.wait(-1) is True


def test_a_barrier_is_threadings():
    barrier = mp.Barrier(1, action=None, timeout=5)
    assert barrier.wait() == 0 and barrier.parties == 1 and barrier.n_waiting == 0
    barrier.abort()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()


@pytest.mark.parametrize("kind", [mp.Lock, mp.RLock, mp.Condition, mp.Event, mp.Queue, mp.Semaphore,
                                  functools.partial(mp.Barrier, 2)])  # fmt: skip
def test_ctx_is_accepted_and_a_pickle_is_the_same_object(kind):
    first = kind(ctx=mp.get_context("spawn"))
    twin = pickle.loads(pickle.dumps(first))
    assert type(twin) is type(first)
    with pytest.raises(TypeError):
        kind(contex=None)


def test_multiprocessings_own_code_can_look_inside_a_lock():
    lock = mp.Lock()
    assert lock._semlock is lock and not lock._semlock._is_mine()
    with lock:
        assert lock._is_mine() and lock._is_zero() and lock._get_value() == 0
        assert lock._count() == 1
    assert lock._get_value() == 1 and lock._count() == 0


# --- values -------------------------------------------------------------------


def test_values_and_arrays_have_the_face_of_multiprocessings():
    number = mp.Value("i", 7)
    assert number.value == 7 and number.get_obj().value == 7
    with number.get_lock():
        number.value += 1
    assert number.value == 8 and "c_int(8)" in repr(number)
    text = mp.Array("c", b"abc")
    assert text.value == b"abc" and text.raw == b"abc" and len(text) == 3
    text.value = b"x"
    assert text[0:2] == b"x\0"
    point = mp.Value(Point, 1, 2.5)
    assert (point.x, point.y) == (1, 2.5)
    point.x = 3
    assert point.get_obj().x == 3
    points = mp.Array(Point, [(1, 2.0), (3, 4.0)], lock=False)
    assert [p.x for p in points] == [1, 3]
    copied = mp.sharedctypes.copy(point.get_obj())
    copied.x = 9
    assert point.x == 3 and copied.x == 9


def test_a_value_takes_a_lock_or_none():
    lock = mp.Lock()
    assert mp.Value("d", lock=lock).get_lock() is lock
    assert isinstance(mp.Value("d", 1.5, lock=False), ctypes.c_double)
    assert isinstance(mp.RawArray("h", 3), ctypes.Array)
    with pytest.raises(AttributeError, match="no method 'acquire'"):
        mp.Value("i", 1, lock="navalue")
    with pytest.raises(AssertionError):
        mp.sharedctypes.synchronized(mp.Value("i"))


def test_values_share_an_arena_and_large_ones_have_a_memory_of_their_own():
    few = [mp.RawValue("q", number) for number in range(10)]
    assert len({id(value._wrapper.memory) for value in few}) == 1
    assert [value.value for value in few] == list(range(10))
    large = mp.RawArray("q", 100_000)
    assert len(large._wrapper.memory) == 800_000 and sum(large) == 0


def test_values_travel_through_a_queue():
    box, number = mp.Queue(), mp.RawValue("i", 1)
    box.put(number)
    same = box.get()
    same.value = 5
    assert number.value == 5
    box.put(ctypes.c_int(4))
    assert box.get().value == 4


def test_memory_is_bytes_for_anybody_who_has_it():
    memory = mp.Memory(100)
    assert len(memory) == 100 and bytes(memory) == bytes(100)
    twin = pickle.loads(pickle.dumps(memory))
    memoryview(twin)[3] = 7
    assert memoryview(memory)[3] == 7
    for size in (0, -1, 2**60):
        with pytest.raises(ValueError):
            mp.Memory(size)
    with pytest.raises(RuntimeError):
        memory.__init__(5)
    with pytest.raises(BufferError):
        memoryview(mp.Memory.__new__(mp.Memory))


# --- what a child cannot import ---------------------------------------------------

NOTEBOOK = """
import functools, sys
from ipcsys import EncodeError, mp

def work(): sys.exit(7)

class Worker(mp.Process):
    def run(self): sys.exit(8)

class Thing:
    def method(self): pass

spawn = mp.get_context("spawn")
mp.set_start_method("forkserver")
for refused in (
    spawn.Process(target=work), spawn.Process(target=functools.partial(print, work)),
    spawn.Process(target=Thing().method), spawn.Process(target=print, args=([{1: Thing}],)),
    spawn.Process(target=print, kwargs={"file": Thing()}), Worker(), mp.Process(target=work),
    mp.get_context("forkserver").Process(target=work),
):
    try:
        refused.start()
    except EncodeError as error:
        assert "cannot import" in str(error) and "put it into a module" in str(error)
        assert refused.pid is None
    else:
        raise AssertionError(f"{refused} was started")

for allowed, code in (
    (spawn.Process(target=sys.exit, args=(5,)), 5),
    (mp.get_context("fork").Process(target=work), 7),
):
    allowed.start()
    allowed.join()
    assert allowed.exitcode == code, allowed
print("done")
"""


def test_what_a_spawned_child_could_not_import_is_refused_before_it_starts():
    # as in a notebook: a __main__ without a file
    ran = subprocess.run(
        [sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, timeout=60
    )
    assert (ran.stdout, ran.stderr) == ("done\n", "")


def test_a_main_with_a_file_is_importable(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from ipcsys import mp\n"
        "def work(): sys.exit(7)\n"
        "if __name__ == '__main__':\n"
        "    worker = mp.get_context('spawn').Process(target=work)\n"
        "    worker.start()\n"
        "    worker.join()\n"
        "    print(worker.exitcode)\n"
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("7\n", "")
