# SPDX-License-Identifier: Apache-2.0
"""Condition between processes: waiters, notifiers and holders killed or stopped."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from child import Child, until

from ipcsys import Condition, Lock

WAIT = """
condition = ipcsys.Condition(name="door")
with condition:
    say("waiting")
    say(condition.wait(15))
"""
WAIT_AND_KEEP = WAIT + "    hear()"  # the lock


def waiters(condition):
    return int(re.search(r", (\d+)\)>$", repr(condition))[1])


class Crowd:
    """Children that wait, one after the other."""

    def __init__(self, condition, count, code=WAIT):
        self.children = []
        for number in range(1, count + 1):
            self.children.append(Child(code))
            self.children[-1].expect("waiting")
            until(lambda number=number: waiters(condition) == number)

    def __enter__(self):
        return self.children

    def __exit__(self, *exc_info):
        for child in self.children:
            child.__exit__()


def sound(condition):
    assert waiters(condition) == 0 and condition.check() == []


def test_processes_are_notified_in_the_order_of_their_coming():
    condition = Condition(name="door")
    with Crowd(condition, 3) as children:
        for child in children:
            with condition:
                condition.notify()
            child.expect("True")
            child.finish()
    sound(condition)


def test_a_dead_waiter_takes_no_notification():
    condition = Condition(name="door")
    with Crowd(condition, 3) as children:
        children[0].kill()
        children[1].kill()
        assert waiters(condition) == 1
        with condition:
            condition.notify()
        children[2].expect("True")
        children[2].finish()
    sound(condition)


@pytest.mark.parametrize("victims", [1, 2])
def test_what_a_killed_waiter_did_not_use_goes_to_the_next_at_once(victims):
    condition = Condition(name="door")
    with Crowd(condition, 2 + victims) as children:
        condition.acquire()
        condition.notify(victims)
        time.sleep(0.02)  # they are notified, and wait for the lock
        for child in children[:victims]:
            os.kill(child.pid, signal.SIGKILL)
        start = time.monotonic()
        until(lambda: waiters(condition) == 2 - victims)
        took = time.monotonic() - start
        condition.release()
        for child in children[victims : 2 * victims]:
            child.expect("True")
            child.finish()
        assert waiters(condition) == 2 - victims, "a notification was doubled"
        assert took < 0.5, took  # a few bounds of a park at most; as a rule a millisecond
        with condition:
            condition.notify_all()
        for child in children[2 * victims :]:
            child.expect("True")
            child.finish()
    sound(condition)


def test_a_notification_that_only_the_dead_could_have_had_is_nobodys():
    condition = Condition(name="door")
    with Crowd(condition, 1) as children:
        with condition:
            condition.notify()
            children[0].kill()
        with condition:
            assert condition.wait(0.3) is False
    sound(condition)


def test_a_waiter_killed_with_the_lock_in_its_hands_leaves_it_abandoned():
    condition = Condition(name="door")
    with Crowd(condition, 2, WAIT_AND_KEEP) as children:
        with condition:
            condition.notify()
        children[0].expect("True")
        children[0].kill()
        with condition:
            assert condition.abandoned
            condition.notify()
        children[1].expect("True")
        children[1].say()
        children[1].finish()
    sound(condition)


def test_a_notifier_killed_at_once_has_notified_all_or_none():
    condition = Condition(name="door")
    code = """
condition = ipcsys.Condition(name="door")
condition.acquire()
condition.notify_all()
os.kill(os.getpid(), 9)
"""
    with Crowd(condition, 3) as children, Child(code) as notifier:
        notifier.process.wait(10)
        for child in children:
            child.expect("True")
            child.finish()
        with condition:
            pass
    sound(condition)


def test_a_waiter_whose_wake_up_never_came_goes_on_by_itself():
    """The waiters that a notify_all wakes first die before they wake the next."""
    condition = Condition(name="door")
    with Crowd(condition, 5) as children:
        with condition:
            condition.notify_all()
            time.sleep(0.02)
            for child in children[:2]:
                os.kill(child.pid, signal.SIGKILL)
        for child in children[2:]:
            child.expect("True")
            child.finish()
    sound(condition)


def test_after_a_notify_all_the_notifications_of_the_dead_are_nobodys():
    condition = Condition(name="door")
    with Crowd(condition, 2) as children:
        condition.acquire()
        condition.notify_all()
        for child in children:
            child.kill()
        assert condition.wait(0.3) is False
        condition.release()
    sound(condition)


def test_a_stopped_waiter_keeps_its_notification():
    condition = Condition(name="door")
    with Crowd(condition, 2) as children:
        children[0].stop()
        with condition:
            condition.notify()
        time.sleep(0.3)
        assert waiters(condition) == 1, "it was robbed"
        children[0].go_on()
        children[0].expect("True")
        children[0].finish()
        with condition:
            condition.notify()
        children[1].expect("True")
        children[1].finish()
    sound(condition)


def test_a_timeout_in_another_process_leaves_no_seat_taken():
    condition = Condition(name="door")
    code = """
condition = ipcsys.Condition(name="door")
with condition:
    say(condition.wait(0.05))
hear()
"""
    with Child(code) as child:
        child.expect("False")
        sound(condition)


def test_ctrl_c_ends_a_wait_with_the_lock_held():
    condition = Condition(name="door")
    code = """
condition = ipcsys.Condition(name="door")
with condition:
    say("waiting")
    try:
        condition.wait()
    except KeyboardInterrupt:
        say(condition._is_owned())
"""
    with Child(code) as child:
        child.expect("waiting")
        until(lambda: waiters(condition) == 1)
        os.kill(child.pid, signal.SIGINT)
        child.expect("True")
        child.finish()
    sound(condition)


def test_a_fork_in_a_signal_handler_leaves_the_parent_its_seat():
    condition = Condition(name="door")
    code = """
import signal
condition = ipcsys.Condition(name="door")
def fork(*_):
    global child
    child = os.fork()
child = None
signal.signal(signal.SIGUSR1, fork)
with condition:
    say("waiting")
    heard = condition.wait(15)
if child == 0:
    say("child", heard)
    os._exit(0)
os.waitpid(child, 0)
say("parent", heard)
"""
    with Child(code) as child:
        child.expect("waiting")
        until(lambda: waiters(condition) == 1)
        os.kill(child.pid, signal.SIGUSR1)
        until(lambda: waiters(condition) == 2)
        with condition:
            condition.notify_all()
        assert {child.hear(), child.hear()} == {"child True", "parent True"}
        child.finish()
    sound(condition)


WORKER = """
import multiprocessing as mp, sys
import ipcsys

def work(condition, turn, me, rounds):
    for _ in range(rounds):
        with condition:
            condition.wait_for(lambda: turn.value == me)
            turn.value = 1 - me
            condition.notify()

if __name__ == "__main__":
    context = mp.get_context(sys.argv[1])
    lock = ipcsys.Lock() if sys.argv[2] == "given" else None
    condition, turn = ipcsys.Condition(lock), context.Value("i", 0, lock=False)
    workers = [context.Process(target=work, args=(condition, turn, n, 300)) for n in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    print([worker.exitcode for worker in workers], condition.check())
"""


@pytest.mark.parametrize("lock", ["own", "given"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_it_travels_to_child_processes_with_its_lock(method, lock, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    result = subprocess.run(
        [sys.executable, str(script), method, lock], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip() == "[0, 0] []", result.stderr


def test_a_waiter_takes_over_the_lock_of_a_notifier_that_died_holding_it():
    lock = Lock(name="lock")
    condition = Condition(lock, name="door")
    code = """
condition = ipcsys.Condition(ipcsys.Lock(name="lock"), name="door")
say("ready")
condition.acquire()
condition.notify()
os.kill(os.getpid(), 9)
"""
    with condition, Child(code) as notifier:
        notifier.expect("ready")
        assert condition.wait(10) is True
        assert condition.abandoned and lock.owner == os.getpid()
    assert not condition.abandoned
    sound(condition)
