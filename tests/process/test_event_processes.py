# SPDX-License-Identifier: Apache-2.0
"""An event between processes: all who wait go on, whoever dies meanwhile."""

import contextlib
import time

from child import Child

from ipcsys import Event

WAIT = """
event = ipcsys.Event(name="start")
say("waiting")
say(event.wait(20))
"""


def test_one_set_wakes_the_waiters_of_all_processes():
    event = Event(name="start")
    with contextlib.ExitStack() as stack:
        waiters = [stack.enter_context(Child(WAIT)) for _ in range(4)]
        for waiter in waiters:
            waiter.expect("waiting")
        time.sleep(0.1)
        event.set()
        event.clear()
        for waiter in waiters:
            waiter.expect("True")
            waiter.finish()


def test_a_killed_waiter_takes_nobodys_wake_up():
    event = Event(name="start")
    with contextlib.ExitStack() as stack:
        waiters = [stack.enter_context(Child(WAIT)) for _ in range(5)]
        for waiter in waiters:
            waiter.expect("waiting")
        time.sleep(0.1)
        for waiter in waiters[::2]:
            waiter.stop()
        event.set()
        for waiter in waiters[::2]:
            waiter.kill()
        for waiter in waiters[1::2]:
            waiter.expect("True")
            waiter.finish()


def test_the_state_outlives_whoever_set_it():
    event = Event(name="start")
    with Child("ipcsys.Event(name='start').set(); say('set'); hear()") as setter:
        setter.expect("set")
        setter.kill()
    assert event.is_set() and event.wait(0)
