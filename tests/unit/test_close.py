# SPDX-License-Identifier: Apache-2.0
"""close(), and destroy() from anywhere, get out at once whoever waits."""

import statistics
import threading
import time

import pytest

import ipcsys
from child import Child

TRIES = 7
PROMPT = 0.030  # every park ends within 0.1 s by itself: that would not do here


def locked():
    lock = ipcsys.Lock()
    lock.acquire()
    return lock


def full_queue():
    queue = ipcsys.Queue(maxsize=1)
    queue.put(1)
    return queue


WAITS = {
    "Lock.acquire": (locked, lambda lock: lock.acquire()),
    "Lock.acquire(timeout)": (locked, lambda lock: lock.acquire(timeout=30)),
    "Event.wait": (ipcsys.Event, lambda event: event.wait()),
    "Queue.get": (ipcsys.Queue, lambda queue: queue.get()),
    "Queue.put": (full_queue, lambda queue: queue.put(2)),
    "Queue.join": (full_queue, lambda queue: queue.join()),
    "SharedDeque.pop": (ipcsys.SharedDeque, lambda deque: deque.pop(timeout=None)),
    "SharedDeque.push": (
        lambda: ipcsys.SharedDeque([1], maxlen=1),
        lambda deque: deque.push(2, timeout=None),
    ),
}


def time_to_leave(wait, handle, end, expected):
    """Seconds from `end` of the handle to the moment when its waiter is out."""
    left = []

    def waiter():
        try:
            wait(handle)
        except expected:
            left.append(time.monotonic())

    thread = threading.Thread(target=waiter)
    thread.start()
    time.sleep(0.15)
    begun = time.monotonic()
    end()
    thread.join(10)
    assert len(left) == 1, "the waiter did not get out, or with another exception"
    return left[0] - begun


@pytest.mark.parametrize("name", WAITS)
def test_close_gets_this_process_s_waiters_out_at_once(name):
    make, wait = WAITS[name]
    handles = [make() for _ in range(TRIES)]
    delays = [time_to_leave(wait, handle, handle.close, ipcsys.Closed) for handle in handles]
    assert statistics.median(delays) < PROMPT, delays


@pytest.mark.parametrize(
    "kind, wait",
    [
        (ipcsys.Lock, lambda lock: (lock.acquire(False), lock.acquire())),
        (ipcsys.Event, lambda event: event.wait()),
        (ipcsys.SharedDeque, lambda deque: deque.popleft(timeout=None)),
    ],
)
def test_a_destroyed_object_lets_go_of_waiters_in_other_processes_at_once(kind, wait):
    code = """
segment = ipcsys.Segment("close", create=False)
while (key := hear()):
    say(segment.destroy(key))
"""
    with ipcsys.Segment("close", size="1 MiB") as segment, Child(code) as child:
        delays = []
        for number in range(TRIES):
            key = f"thing {number}"
            thing = segment.construct(kind, key)

            def destroy(key=key):
                child.say(key)
                child.expect("True")

            delays.append(time_to_leave(wait, thing, destroy, ipcsys.ObjectGone))
            thing.close()
        child.say("")
        child.finish()
    ipcsys.Segment.remove("close")
    assert statistics.median(delays) < PROMPT, delays


def test_a_waiter_that_was_sent_out_leaves_the_wake_up_to_the_next():
    first = ipcsys.Queue(name="close-queue")
    second = ipcsys.Queue(name="close-queue")
    got = []
    threads = [
        threading.Thread(target=lambda: pytest.raises(ipcsys.Closed, first.get)),
        threading.Thread(target=lambda: got.append(second.get())),
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.15)
    first.close()
    second.put(b"for the second")
    for thread in threads:
        thread.join(5)
    assert got == [b"for the second"]
    second.close()
    ipcsys.Queue.remove("close-queue")
