# SPDX-License-Identifier: Apache-2.0
"""The end of an interpreter, whatever its threads are waiting for."""

import subprocess
import sys
import time

import pytest

import ipcsys
from ipcsys import _core

WAITS = {
    "acquire": "lock.acquire()",
    "with": "lock.__enter__()",
    "timed acquire": "lock.acquire(timeout=60)",
    "rlock": "rlock.acquire()",
    "condition": "condition.acquire() and condition.wait()",
    "condition with a lock": "spare.acquire() and ipcsys.Condition(spare).wait()",
    "condition churn": "condition.acquire() and any(condition.wait(0) for _ in iter(int, 1))",
    "event": "event.wait()",
    "get": "box.get()",
    "timed get": "box.get(timeout=60)",
    "get_many": "box.get_many(5)",
    "put": "full.put(2)",
    "put of a large message": "full.put(b'x' * 100_000)",
    "put_many": "full.put_many([2, 3])",
    "queue join": "full.join()",
    "queue churn": "any(box.put(b'x' * 40_000) or not box.get() for _ in iter(int, 1))",
    "named": "ipcsys.Lock(name='door').acquire()",
    "churn": "any(ipcsys.Lock() is None for _ in iter(int, 1))",
}

END = """
import threading, time, sys
import ipcsys
lock, event = ipcsys.Lock(), ipcsys.Event()
rlock, spare, condition = ipcsys.RLock(), ipcsys.Lock(), ipcsys.Condition()
rlock.acquire()
box, full = ipcsys.Queue(), ipcsys.Queue(1)
full.put(1)
lock.acquire()
def wait():
    {wait}
for _ in range(3):
    threading.Thread(target=wait, daemon=True).start()
time.sleep(0.1)
"""


def run(code):
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return time.monotonic() - start


@pytest.mark.parametrize("wait", WAITS)
def test_daemon_threads_in_a_wait_do_not_hinder_the_end(wait):
    door = ipcsys.Lock(name="door")
    door.acquire()
    keep = ipcsys.Lock()
    assert run(END.format(wait=WAITS[wait])) < 20
    _core.sweep()
    assert _core.cells()["used"] == 1 and _core.check_cells() == []
    assert door.owner is not None and keep.acquire(False)


SUBINTERPRETER = """
import sys
import ipcsys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
lock = ipcsys.Lock(name="door")
lock.acquire()
for _ in range(3):
    inner = interpreters.create()
    error = interpreters.run_string(inner, '''
import ipcsys
lock = ipcsys.Lock(name="door")
assert lock.locked() and not lock.acquire(timeout=0.01)
kept = [ipcsys.Lock() for _ in range(10)]
try:
    ipcsys.Lock(name="door", create=True)
except ipcsys.AlreadyExists:
    pass
else:
    raise SystemExit("not refused")
''')
    assert error is None, error
    interpreters.destroy(inner)
    assert lock.owner is not None
lock.release()
assert ipcsys._core.cells()["used"] == 0, ipcsys._core.cells()
"""


def test_a_closed_subinterpreter_gives_back_its_own_handles_and_no_more():
    run(SUBINTERPRETER)
    assert _core.check_cells() == []
