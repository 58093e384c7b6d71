# SPDX-License-Identifier: Apache-2.0
"""Each example runs, and says what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ipcsys import _core

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

SAYS = {
    "atomic.py": r"total: 1500.0\n",
    "barrier.py": (
        r"(all are done with a phase\n){2}worker 1 heard that one is missing\n"
        r"worker 2 heard that one is missing\nusable again: True\n"
    ),
    "asyncio_lock.py": (
        r"in time: False\nabandoned by its owner: True\nthe loop went on: True\nfrom a task\n"
    ),
    "event.py": r"on your marks\n(runner \d is through: True\n){3}",
    "lock.py": r"counted: 2000\n",
    "condition.py": r"the second does: wash the dishes\n",
    "lock_death.py": r"acquired [\d.]+ ms after the kill\nabandoned by its owner: True\n",
    "mapped_file.py": (
        r"after kill -9: \{'lamp': 2, 'chair': 4\}\nafter a reboot: \{'lamp': 2\}\n"
    ),
    "mp_dropin.py": r"ended: \[-9, 0, 0\]\ndone: \[0, 1, 2, 4, 5, 6, 7, 8, 9\]\ntotal: 42\n",
    "queue_basics.py": r"(\{'job': \d, 'square': \d+\}\n){3}",
    "rlock.py": r"\{'checking': 600, 'savings': 300\}\n",
    "rwlock.py": r"whole updates only: True\nleft in the middle: True\nmended: True\n",
    "shared_array.py": r"\[10, 20, 30, 40\] \(4, 6\) \|u1\n",
    "schema_change.py": (
        r"old: Tick\(symbol='X', price=1.5, size=0\)\n"
        r"new: Tick\(symbol='X', last=1.5, size=0, currency='EUR'\)\n"
        r"old: Tick\(symbol='X', price=2.25, size=200\)\n"
        r"old: size must be from 0 to 255, not 1000\n"
    ),
    "semaphore.py": (
        r"free while one is taken: 1\nconversions: 4\nfree while both are taken: 0\n"
    ),
    "shared_map.py": r"\[\('Lima', 21.0\), \('Oslo', -4.5\)\]\n",
    "shared_text.py": (
        r"\{'state': 'done', 'items': 3\}\n\['main: begin', 'worker: done'\] 25 main\n"
    ),
    "shared_vector.py": (
        r"\['fan', 'lift', 'pump'\] motor\n"
        r"SharedVector\(\[1.25, 2.0, 3.5\], typecode='d'\) 6.75\n"
    ),
    "transaction.py": (
        r"after the kill: +100 0\nafter the exception: +100 0\nafter the transfer: +70 30\n"
    ),
}


def start(name, *argv):
    return subprocess.Popen(
        [sys.executable, EXAMPLES / name, *argv], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip


def say(program, line):
    program.stdin.write(line + "\n")
    program.stdin.flush()
    return program.stdout.readline().strip()


@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example_says_what_it_promises_and_leaves_no_names(name, namespace_folder):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(SAYS[name], done.stdout), done.stdout
    _core.sweep()  # what the killed held goes when the next process looks
    assert [file for file in os.listdir(namespace_folder) if not file.startswith(".")] == []


def test_the_calculator_example_answers_and_survives_the_death_of_a_server():
    with start("calculator_server.py", "one") as one, start("calculator_server.py", "two") as two:
        for server in (one, two):
            assert "serves" in server.stdout.readline()
        with start("calculator_client.py") as client:
            assert say(client, "6 * 7") == "6 * 7 = 42"
            assert say(client, "7 / 0") == "7 / 0 = ZeroDivisionError: division by zero"
            one.kill()
            one.wait()
            assert say(client, "2 ** 10") == "2 ** 10 = 1024"
            client.communicate("quit\n", timeout=10)
            assert client.returncode == 0
        two.communicate("q\n", timeout=10)
        assert two.returncode == 0


def test_the_calculator_client_says_when_there_is_no_server():
    done = subprocess.run(
        [sys.executable, EXAMPLES / "calculator_client.py", "1"], capture_output=True, text=True,
        timeout=30,
    )  # fmt: skip
    assert done.returncode == 1 and "start calculator_server.py" in done.stderr


def test_the_data_manager_example_keeps_its_data_between_runs():
    with start("data_manager.py") as manager:
        assert manager.stdout.readline()
        assert say(manager, "inc") == "1"
        manager.communicate("push 5\npush 6\nquit\n", timeout=10)
    with start("data_manager.py") as manager:
        assert manager.stdout.readline()
        assert say(manager, "get") == "1 [5, 6]"
        assert say(manager, "pop") == "5"
        manager.communicate("quit\n", timeout=10)
        assert manager.returncode == 0


def test_the_three_roles_are_short_programs():
    for name in ("calculator_server.py", "calculator_client.py", "data_manager.py"):
        assert len((EXAMPLES / name).read_text().splitlines()) < 60


def test_the_expressions_file_is_the_generators_own_output(tmp_path):
    generator = (EXAMPLES / "make_expressions.py").read_text()
    script = tmp_path / "a" / "b" / "make_expressions.py"
    script.parent.mkdir(parents=True)
    script.write_text(generator)
    (tmp_path / "a" / "ipcsys" / "demo").mkdir(parents=True)
    subprocess.run([sys.executable, script], check=True, timeout=60)
    made = (tmp_path / "a" / "ipcsys" / "demo" / "expressions.txt").read_text()
    assert made == (EXAMPLES / "expressions.txt").read_text()
