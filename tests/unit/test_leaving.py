# SPDX-License-Identifier: Apache-2.0
"""A process that leaves a namespace keeps nothing of it."""

import asyncio
import os
import threading

import pytest
from child import Child

import ipcsys
from ipcsys import _core, aio


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def maps():
    with open("/proc/self/maps") as lines:
        return sum(1 for _ in lines)


def use(namespace):
    """Something of each kind, and nothing of it afterwards."""
    with ipcsys.Queue(name="jobs", namespace=namespace, cleanup="last") as jobs:
        jobs.put(1)
    lock, slots = ipcsys.Lock(namespace=namespace), ipcsys.Semaphore(2, namespace=namespace)
    with lock, slots:
        assert _core.cells(namespace)["used"] == 2
    lock.close()
    slots.close()
    asyncio.run(wait_in_vain(namespace))


async def wait_in_vain(namespace):
    face = aio.Event(namespace=namespace)
    assert not await face.wait(0.001)
    face.close()


def leave(namespace):
    from ipcsys.aio import loops

    assert loops.may_leave()
    return _core.leave(namespace)


def test_any_number_of_namespaces_in_turn_takes_as_much_as_one():
    def round_trip(name):
        use(name)
        assert leave(name) is True

    for number in range(5):
        round_trip(f"warm-{number}")
    before = descriptors(), maps()
    for number in range(40):
        round_trip(f"turn-{number}")
    assert descriptors() <= before[0]
    assert maps() <= before[1] + 8  # the allocator's, not ours


def test_who_left_is_no_member_and_comes_back_as_another():
    with Child("lock = ipcsys.Lock(name='door', namespace='house'); say('in'); hear()"
               "; say(len(ipcsys._core.members('house'))); hear()") as other:  # fmt: skip
        other.expect("in")
        lock = ipcsys.Lock(name="door", namespace="house", create=False)
        first = _core.owner("house")
        assert not lock.locked()
        lock.close()
        assert leave("house") is True and leave("house") is False
        other.say()
        assert other.hear() == "1"
        with ipcsys.Lock(name="door", namespace="house", create=False):
            assert _core.owner("house") != first
        assert len(_core.members("house")) == 2
        other.say()


@pytest.mark.parametrize("make", [
    lambda: ipcsys.Queue(namespace="house"), lambda: ipcsys.Lock(namespace="house"),
    lambda: ipcsys.RWLock(namespace="house"),
    lambda: ipcsys.Lock(name="door", namespace="house"),
    lambda: ipcsys.Segment("plant", "1 MiB", namespace="house"),
], ids=["queue", "cell", "wide", "named", "segment"])  # fmt: skip
def test_with_something_open_it_cannot_be_left_and_goes_on_working(make):
    thing = make()
    with pytest.raises(ipcsys.InUse, match="house"):
        _core.leave("house")
    if hasattr(thing, "acquire"):
        assert thing.acquire() and thing.release() is None
    thing.close()
    assert leave("house") is True


def test_the_doorbell_is_taken_down_by_the_thread_that_hung_it():
    _core.owner("house")
    refused = []

    def try_to():
        try:
            _core.leave("house")
        except ipcsys.InUse as error:
            refused.append(error)

    thread = threading.Thread(target=try_to)
    thread.start()
    thread.join()
    assert len(refused) == 1 and leave("house") is True


def test_a_pickle_made_before_leads_back():
    import pickle

    lock = ipcsys.Lock(name="door", namespace="house")
    pickled = pickle.dumps(lock)
    lock.close()
    assert leave("house") is True
    again = pickle.loads(pickled)
    assert again.acquire(False) and again.name == "door"
    again.release()
    again.close()


def test_others_are_rung_while_namespaces_come_and_go():
    """Wakers walk the list of all that this process has joined, without a lock."""
    event, end = ipcsys.Event(), threading.Event()

    def ring():
        while not end.is_set():
            _core.async_arm(event, 0, -1, False)
            event.set()
            event.clear()

    threads = [threading.Thread(target=ring) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(60):
        _core.owner(f"turn-{number}")
        assert leave(f"turn-{number}") is True
    end.set()
    for thread in threads:
        thread.join()


def test_a_forked_child_does_without_what_its_parent_left():
    _core.owner("house")
    assert leave("house") is True
    lock = ipcsys.Lock()
    pid = os.fork()
    if pid == 0:
        with lock, ipcsys.Lock(namespace="house"):
            os._exit(len(_core.members("house")))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
