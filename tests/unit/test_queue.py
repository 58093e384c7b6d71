# SPDX-License-Identifier: Apache-2.0
"""Queue: the queue module's manners, several at once, buffers, names and bad input."""

import array
import gc
import os
import pickle
import queue
import signal
import sys
import threading
import time
import weakref

import pytest

import ipcsys
from ipcsys import Closed, DecodeError, Full, Queue, ShutDown, TooLarge

VALUES = [
    b"", b"bytes", b"x" * 31_000, b"y" * 33_000, b"z" * 1_000_000, None, True, -5, 10**30, 2.5,
    "text", "t" * 70_000, (1, "a"), [1, [2, {}]], {"k": [1, 2]}, {1, 2}, frozenset({3}),
    complex(1, 2), bytearray(b"abc"), Closed,
]  # fmt: skip


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("no")


class Bomb:
    """Goes in, and does not come out."""

    def __reduce__(self):
        return int, ("not a number",)


def soon(function, seconds=0.15):
    """Call it in another thread after a while; the thread."""
    thread = threading.Timer(seconds, function)
    thread.start()
    return thread


def test_values_come_out_as_they_went_in():
    box = Queue()
    for value in VALUES:
        box.put(value)
    assert box.qsize() == len(VALUES) and not box.empty() and not box.full()
    assert box.check() == []
    for value in VALUES:
        got = box.get()
        assert type(got) is type(value) and got == value
    assert box.empty() and box.check() == []


def test_what_was_put_is_a_copy():
    box, value = Queue(), [1]
    box.put(value)
    value.append(2)
    assert box.get() == [1]


def test_maxsize_holds_puts_back():
    box = Queue(2)
    assert box.maxsize == 2
    box.put(1)
    box.put(2)
    assert box.full()
    for refused in (
        lambda: box.put_nowait(3),
        lambda: box.put(3, False),
        lambda: box.put(3, timeout=0),
        lambda: box.put(3, True, 0.05),
        lambda: box.put(b"x" * 100_000, block=False),
    ):
        with pytest.raises(queue.Full, match="maxsize of 2"):
            refused()
    soon(box.get)
    box.put(3, timeout=10)
    assert box.drain() == [2, 3]


@pytest.mark.parametrize("maxsize", [0, -1, None])
def test_without_maxsize_there_is_no_limit_of_the_count(maxsize):
    box = Queue(maxsize, max_bytes="8 MiB")
    assert box.maxsize == 0
    assert box.put_many([b"x"] * 50_000) == 50_000
    assert not box.full()


def test_timeouts_take_their_time_and_no_more():
    box = Queue(1)
    start = time.monotonic()
    with pytest.raises(queue.Empty):
        box.get(timeout=0.1)
    assert 0.1 <= time.monotonic() - start < 5
    box.put(1)
    start = time.monotonic()
    with pytest.raises(queue.Full):
        box.put(1, timeout=0.1)
    assert 0.1 <= time.monotonic() - start < 5


def test_get_waits_for_a_put():
    box = Queue()
    for wait in (box.get, lambda: box.get(True, 10), lambda: box.get_many(3)[0]):
        thread = soon(lambda: box.put("late"))
        assert wait() == "late"
        thread.join()


def test_at_the_byte_limit_full_names_it():
    box = Queue(max_bytes="1 MiB")
    assert box.max_bytes == 1 << 20
    count = 0
    with pytest.raises(Full, match="max_bytes of 1048576"):
        while True:
            box.put(b"x" * 1000, block=False)
            count += 1
    assert box.full() and 900 < count < 1100 and box.qsize() == count
    assert box.check() == []
    soon(lambda: box.get_many(200))
    box.put(b"y", timeout=10)
    assert len(box.drain()) == count - 199 and not box.full()


def test_messages_too_large_are_refused_and_nothing_else():
    box = Queue(max_bytes="1 MiB")
    assert box.max_message == (1 << 20) - 2 * 65536
    with pytest.raises(TooLarge, match="max_bytes"):
        box.put(b"x" * (box.max_message + 1))
    box.put(b"x" * box.max_message)
    assert len(box.get()) == box.max_message
    small = Queue(max_message=10)
    small.put(b"0123456789")
    with pytest.raises(TooLarge, match="max_message"):
        small.put(b"0123456789a")
    with pytest.raises(TooLarge):
        small.put_many([b"1", b"0123456789a"])
    assert small.drain() == [b"0123456789"]


def test_a_very_large_message_passes():
    box = Queue(max_bytes="512 MiB")
    data = os.urandom(1 << 20) * 200
    box.put(data)
    box.put_bytes(memoryview(data)[:40_000])
    assert box.get() == data
    assert box.get() == data[:40_000]
    assert box.check() == []


def test_many_go_in_and_come_out_together():
    box = Queue()
    items = [b"%d" % i for i in range(1000)] + VALUES + list(range(1000))
    assert box.put_many(items) == len(items)
    assert box.qsize() == len(items)
    got = []
    while len(got) < len(items):
        some = box.get_many(700)
        assert 1 <= len(some) <= 700
        got += some
    assert got == items
    assert box.put_many(iter("abc")) == 3 and box.put_many(()) == 0
    assert box.get_many(sys.maxsize) == ["a", "b", "c"]
    assert box.drain() == []
    with pytest.raises(queue.Empty):
        box.get_many(5, block=False)


def test_put_many_says_how_many_went_in():
    box = Queue(5)
    assert box.put_many(range(3)) == 3
    assert box.put_many(range(3, 9), block=False) == 2
    with pytest.raises(Full) as failure:
        box.put_many([9], timeout=0.05)
    assert failure.value.count == 0
    soon(lambda: box.get_many(3))
    assert box.put_many([5, 6, 7, 8], timeout=0.5) == 3
    assert box.drain() == [3, 4, 5, 6, 7]


def test_put_many_puts_nothing_if_one_cannot_be_encoded():
    box = Queue()
    with pytest.raises(ipcsys.EncodeError):
        box.put_many([b"1", 2, Unpicklable()])
    with pytest.raises(TypeError):
        box.put_many(5)
    assert box.empty()


def test_buffers_go_in_and_out():
    box = Queue()
    for buffer in (bytearray(b"abc"), memoryview(b"abc"), array.array("B", b"abc"), b"abc"):
        box.put_bytes(buffer)
        assert box.get() == b"abc"
    box.put_bytes(bytearray(50_000))
    target = bytearray(b"?" * 60_000)
    assert box.get_into(target) == 50_000
    assert bytes(target[:50_001]) == bytes(50_000) + b"?"
    with pytest.raises(queue.Empty):
        box.get_into(target, timeout=0.01)
    with pytest.raises(TypeError):
        box.put_bytes("text")
    with pytest.raises((TypeError, BufferError)):
        box.get_into(b"constant")
    with pytest.raises(BufferError):
        box.put_bytes(memoryview(bytes(10))[::2])


def test_what_does_not_fit_a_buffer_stays():
    box = Queue()
    box.put(b"12345")
    box.put([1])
    target = bytearray(4)
    with pytest.raises(TooLarge, match="5 bytes and the buffer 4"):
        box.get_into(target)
    assert box.get() == b"12345"
    with pytest.raises(ipcsys.MismatchError, match="get()"):
        box.get_into(target)
    assert box.get() == [1]


def test_what_cannot_be_encoded_is_raised_by_put():
    box = Queue()
    with pytest.raises(ipcsys.EncodeError):
        box.put(Unpicklable())
    assert box.empty()


def test_what_cannot_be_decoded_is_taken_and_raised_with_its_bytes():
    box = Queue()
    box.put_many([1, Bomb(), 2])
    assert box.get() == 1
    with pytest.raises(DecodeError) as failure:
        box.get()
    with pytest.raises(ValueError):
        pickle.loads(failure.value.data)
    box.put_many([Bomb(), 3])
    assert box.get_many(10) == [2]
    with pytest.raises(DecodeError):
        box.get_many(10)
    assert box.get_many(10) == [3]


def test_bytes_that_are_no_messagepack_are_taken_and_raised(namespace_folder):
    box = Queue(name="damaged", max_bytes="1 MiB")
    box.put_many([b"before", ["marked"], "after"])
    path = os.path.join(namespace_folder, "damaged")
    with open(path, "r+b") as file:
        data = file.read()
        at = data.index(b"\x91\xa6marked")
        file.seek(at)
        file.write(b"\xc1")
    assert box.get_many(10) == [b"before"]
    with pytest.raises(DecodeError) as failure:
        box.get_many(10)
    assert failure.value.data == b"\xc1\xa6marked"
    assert box.get_many(10) == ["after"]


def test_join_waits_until_all_is_done():
    box = Queue()
    box.join()
    with pytest.raises(ValueError, match="too many"):
        box.task_done()
    box.put_many([1, 2])
    with pytest.raises(TimeoutError):
        box.join(timeout=0.05)
    box.drain()
    box.task_done()
    soon(box.task_done)
    box.join(10)
    with pytest.raises(ValueError):
        box.task_done()


def test_shutdown_ends_puts_now_and_gets_when_empty():
    box = Queue()
    box.put_many([1, 2])
    box.shutdown()
    with pytest.raises(ShutDown):
        box.put(3)
    with pytest.raises(ShutDown):
        box.put_many([3])
    assert box.get() == 1 and box.get_many(5) == [2]
    for call in (box.get, box.get_nowait, lambda: box.get_many(3)):
        with pytest.raises(ShutDown):
            call()
    assert box.drain() == []


def test_immediate_shutdown_empties_the_queue():
    box = Queue()
    box.put_many([1, 2, b"x" * 100_000])
    box.get()
    box.shutdown(immediate=True)
    with pytest.raises(ShutDown):
        box.get()
    assert box.qsize() == 0 and box.check() == []
    box.task_done()
    box.join(10)


def test_a_queue_tells_what_is_unfinished_and_whether_it_was_shut_down():
    box = Queue()
    box.put_many([1, 2])
    assert box.unfinished_tasks == 2 and box.is_shutdown is False
    box.get()
    assert box.unfinished_tasks == 2
    box.task_done()
    assert box.unfinished_tasks == 1
    box.shutdown()
    assert box.is_shutdown is True and box.unfinished_tasks == 1
    box.shutdown(immediate=True)
    assert box.unfinished_tasks == 0  # what is dropped counts as done, as with queue.Queue
    box.close()
    for ask in (lambda: box.unfinished_tasks, lambda: box.is_shutdown):
        with pytest.raises(Closed):
            ask()


def test_shutdown_wakes_those_who_wait():
    box, full, said = Queue(), Queue(1), []
    full.put(1)

    def expect(call):
        try:
            call()
        except ShutDown:
            said.append(True)

    threads = [
        threading.Thread(target=expect, args=(call,))
        for call in [box.get] * 3 + [lambda: full.put(2)] * 3
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    box.shutdown()
    full.shutdown()
    for thread in threads:
        thread.join(10)
    assert said == [True] * 6


def test_handles_of_one_name_are_one_queue():
    first, second = Queue(name="jobs"), Queue(7, name="jobs")
    first.put("a")
    assert second.get() == "a" and second.maxsize == 0
    assert first.name == "jobs" and Queue().name is None
    with pytest.raises(ipcsys.AlreadyExists):
        Queue(name="jobs", create=True)
    with pytest.raises(ipcsys.NotFound):
        Queue(name="other", create=False)
    with pytest.raises(ipcsys.InUse):
        Queue.remove("jobs")
    first.close()
    second.close()
    Queue.remove("jobs")
    with pytest.raises(ipcsys.NotFound):
        Queue(name="jobs", create=False)


def test_another_kind_of_object_under_the_name_is_told():
    ipcsys.Lock(name="thing").close()
    with pytest.raises(ipcsys.MismatchError, match="not a queue"):
        Queue(name="thing")


def test_cleanup_last_takes_the_name_along(namespace_folder):
    with Queue(name="short", cleanup="last") as box:
        box.put(1)
        assert "short" in os.listdir(namespace_folder)
    assert "short" not in os.listdir(namespace_folder)


def test_a_closed_handle_says_so():
    box = Queue(name="c")
    other = Queue(name="c")
    box.put(1)
    with box as same:
        assert same is box
    box.close()
    assert box.closed and not other.closed and "closed" in repr(box) and box.name == "c"
    for call in (
        lambda: box.put(1), lambda: box.put([1]), box.get, box.get_nowait, box.qsize, box.empty,
        box.full, box.drain, box.check, box.join, box.task_done, box.shutdown,
        lambda: box.put_many([1]), lambda: box.get_many(1), lambda: box.put_bytes(b""),
        lambda: box.get_into(bytearray(1)), box.__enter__, lambda: pickle.dumps(box),
    ):  # fmt: skip
        with pytest.raises(Closed):
            call()
    assert other.get() == 1


def test_closing_wakes_those_who_wait():
    box, full, said = Queue(), Queue(1), []
    full.put(1)

    def expect(call):
        try:
            call()
        except Closed:
            said.append(True)

    calls = [box.get, lambda: box.get_many(2), lambda: full.put(2), full.join]
    threads = [threading.Thread(target=expect, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    box.close()
    full.close()
    for thread in threads:
        thread.join(10)
    assert said == [True] * 4


def test_pickles_lead_to_the_same_queue():
    for box in (Queue(name="named"), Queue()):
        other = pickle.loads(pickle.dumps(box))
        other.put("through")
        assert box.get() == "through" and other.name == box.name


def test_a_pickle_of_a_removed_queue_is_told():
    box = Queue(name="gone")
    data = pickle.dumps(box)
    box.close()
    Queue.remove("gone")
    with pytest.raises(ipcsys.ObjectGone):
        pickle.loads(data)
    with Queue(name="gone"), pytest.raises(ipcsys.ObjectGone, match="another's"):
        pickle.loads(data)


class Tagged(Queue):
    def __init__(self, tag, **keywords):
        super().__init__(3, **keywords)
        self.tag = tag


def test_subclasses_and_weak_references():
    box = Tagged("blue")
    again = pickle.loads(pickle.dumps(box))
    assert type(again) is Tagged and again.tag == "blue" and again.maxsize == 3
    watched = weakref.ref(box)
    del box
    gc.collect()
    assert watched() is None
    assert Queue[int] is not None


def test_repr_says_name_and_number():
    box = Queue(name="r")
    box.put(1)
    assert repr(box) == "<ipcsys.Queue 'r' of 1 messages>"
    assert "ipcsys.Queue of 0 messages at 0x" in repr(Queue())


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda box: box.put(), TypeError),
        (lambda box: box.put(1, 2, 3, 4), TypeError),
        (lambda box: box.put(1, item=2), TypeError),
        (lambda box: box.put(1, wait=2), TypeError),
        (lambda box: box.get(timeout="1"), TypeError),
        (lambda box: box.get(timeout=-1), ValueError),
        (lambda box: box.get(timeout=float("nan")), ValueError),
        (lambda box: box.put(1, timeout=-0.1), ValueError),
        (lambda box: box.get_many(), TypeError),
        (lambda box: box.get_many(0), ValueError),
        (lambda box: box.get_many(-3), ValueError),
        (lambda box: box.get_many(1.5), TypeError),
        (lambda box: box.join(timeout=-1), ValueError),
        (lambda box: box.__init__(), RuntimeError),
        (lambda box: Queue(1.5), TypeError),
        (lambda box: Queue("x"), TypeError),
        (lambda box: Queue(1, 2), TypeError),
        (lambda box: Queue(max_bytes=-1), ValueError),
        (lambda box: Queue(max_bytes="lots"), ValueError),
        (lambda box: Queue(max_bytes=0), ValueError),
        (lambda box: Queue(max_bytes=2**60), ValueError),
        (lambda box: Queue(max_message=1.5), TypeError),
        (lambda box: Queue(name="a/b"), ipcsys.InvalidName),
        (lambda box: Queue(create="maybe"), ValueError),
        (lambda box: Queue(create=False), ValueError),
    ],
)
def test_bad_arguments_are_told(call, error):
    box = Queue()
    box.put(1)
    with pytest.raises(error):
        call(box)
    assert box.get_nowait() == 1


def test_negative_timeouts_do_not_matter_without_block():
    box = Queue()
    box.put(1, False, -1)
    assert box.get(False, -1) == 1


def test_a_queue_without_init_is_closed():
    box = Queue.__new__(Queue)
    for call in (box.get, lambda: box.put(b"1"), lambda: box.put([1]), box.qsize):
        with pytest.raises(Closed):
            call()
    assert box.closed and box.name is None
    with pytest.raises(ValueError):
        _ = box.maxsize


@pytest.mark.parametrize("wait", ["get", "put", "many", "join"])
def test_ctrl_c_ends_a_wait_and_loses_nothing(wait):
    box = Queue(1)
    calls = {
        "get": box.get,
        "put": lambda: box.put(2),
        "many": lambda: box.put_many([2, 3]),
        "join": box.join,
    }
    if wait != "get":
        box.put(1)
    thread = soon(lambda: signal.raise_signal(signal.SIGINT), 0.2)
    with pytest.raises(KeyboardInterrupt) as failure:
        calls[wait]()
    thread.join()
    if wait == "many":
        assert failure.value.count == 0
    assert box.drain() == ([] if wait == "get" else [1])


def test_threads_share_a_handle():
    box, each, got = Queue(max_bytes="1 MiB"), 3000, []

    def produce(first):
        for i in range(first, first + each):
            box.put(b"%d" % i if i % 3 else i)

    def consume():
        mine = []
        while (item := box.get()) != "end":
            mine.append(int(item))
        got.extend(mine)

    producers = [threading.Thread(target=produce, args=(i * each,)) for i in range(3)]
    consumers = [threading.Thread(target=consume) for _ in range(3)]
    for thread in producers + consumers:
        thread.start()
    for thread in producers:
        thread.join()
    box.put_many(["end"] * 3)
    for thread in consumers:
        thread.join()
    assert sorted(got) == list(range(3 * each))
    assert box.check() == []


def test_pickles_and_large_messages_come_in_lists_too():
    box = Queue()
    items = [complex(1, 2), b"x" * 100_000, complex(3, 4), "y" * 100_000, b"end"]
    box.put_many(items)
    assert box.get_many(9) == items
    parts = [["a", b"x" * 100_000], "b", {"c": bytearray(50_000)}]
    for item in parts:
        box.put(item)
    assert box.get_many(9) == parts
    box.put_many(items)
    assert box.drain() == items


class Holder:
    def __init__(self, **parts):
        self.__dict__.update(parts)


def test_large_buffers_travel_beside_their_value():
    numpy = pytest.importorskip("numpy")
    box = Queue()
    rows = numpy.arange(60_000, dtype="f8").reshape(200, 300)
    for array in (rows, numpy.asfortranarray(rows), rows.astype(">i4"), rows[::2], rows[:, ::3],
                  rows.astype("M8[s]"), rows[:1], numpy.zeros((0, 5)), numpy.float64(1.5)):
        box.put(array)
        got = box.get()
        assert got.dtype == array.dtype and numpy.array_equal(got, array)
        if array.flags.forc:
            assert got.flags.f_contiguous == array.flags.f_contiguous
        if got.ndim:
            got[...] = 0  # it is the receiver's own
    value = {"a": rows, "b": b"b" * 40_000, "c": [bytearray(b"c" * 90_000), (b"d" * 33_000,)]}
    box.put(value)
    got = box.get()
    assert numpy.array_equal(got.pop("a"), value.pop("a")) and got == value
    assert type(got["c"][0]) is bytearray
    box.put(Holder(rows=rows, few=rows[:1], text=b"t" * 50_000))
    got = box.get()
    assert numpy.array_equal(got.rows, rows) and numpy.array_equal(got.few, rows[:1])
    got.rows[0] = 7
    assert box.check() == [] and box.empty()


def test_more_parts_than_travel_beside_a_value_stay_within():
    parts = [bytes([n]) * 33_000 for n in range(100)]
    box = Queue()
    box.put(parts)
    box.put(Holder(parts=[bytearray(part) for part in parts]))
    assert box.get() == parts and box.get().parts == [bytearray(part) for part in parts]


def test_a_buffer_in_a_message_is_free_once_put_has_returned():
    box, part = Queue(), bytearray(50_000)
    box.put([part])
    part.append(1)
    with pytest.raises(ipcsys.EncodeError):
        box.put([part, Unpicklable()])
    part.append(1)
    small = Queue(max_bytes="1 MiB")
    with pytest.raises(TooLarge):
        small.put([bytearray(5_000_000), part])
    part.append(1)
    assert len(box.get()[0]) == 50_000


@pytest.mark.parametrize("at", [0, 8, 16, 24])
def test_parts_that_do_not_add_up_are_taken_and_raised(namespace_folder, at):
    box = Queue(name="damaged", max_bytes="1 MiB")
    box.put(["marked", b"x" * 40_000])
    box.put("after")
    path = os.path.join(namespace_folder, "damaged")
    with open(path, "r+b") as file:
        table = file.read().index(b"\xa6marked") - 1 - 16 - 16
        file.seek(table + at)
        file.write(b"\xff\xff")
    with pytest.raises(DecodeError) as failure:
        box.get()
    assert failure.value.data.endswith(b"x" * 40_000)
    assert box.get() == "after" and box.check() == []


def test_a_body_that_names_no_part_is_taken_and_raised(namespace_folder):
    box = Queue(name="damaged", max_bytes="1 MiB")
    box.put(["marked", b"x" * 40_000])
    with open(os.path.join(namespace_folder, "damaged"), "r+b") as file:
        at = file.read().index(b"\xa6marked\xd4\x0d\x00")
        file.seek(at + 9)
        file.write(b"\x05")
    with pytest.raises(DecodeError, match="a part that the message does not have"):
        box.get()
    assert box.empty()


def test_the_default_limit_is_half_of_what_is_free():
    facts = os.statvfs("/dev/shm")
    free = facts.f_bavail * facts.f_frsize
    assert 0.3 * free < Queue().max_bytes < 0.6 * free
