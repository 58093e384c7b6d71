# SPDX-License-Identifier: Apache-2.0
"""The demonstration: the scripted play, and its roles played by hand."""

import json
import os
import subprocess
import sys
import time

import pytest

from ipcsys.demo.calculator import evaluate
from ipcsys.demo.work import expressions, is_right

pytestmark = pytest.mark.timeout(90)


def demo(*argv, **options):
    return subprocess.run(
        [sys.executable, "-m", "ipcsys.demo", *argv], capture_output=True, text=True, timeout=60,
        **options,
    )  # fmt: skip


def start(*argv):
    return subprocess.Popen(
        [sys.executable, "-m", "ipcsys.demo", *argv], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip


def say(role, line):
    role.stdin.write(line + "\n")
    role.stdin.flush()
    return role.stdout.readline().strip()


def test_the_play_ends_with_every_answer_right_although_a_server_was_killed():
    root = os.environ["IPCSYS_DIR"]
    before = set(os.listdir(root))
    started = time.monotonic()
    done = demo("--json")
    took = time.monotonic() - started
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert facts["ok"] is True
    assert facts["right"] >= facts["clients"] * len(expressions())
    assert facts["wrong"] == 0 and facts["requests"] == facts["right"] == facts["counted"]
    assert facts["expected_errors"] > 0
    assert facts["servers_left"] == ["calculator-2"]
    assert 0 <= facts["notice_ms"] < 1000
    assert facts["calls_per_second"] > 0 and 0 < facts["p50_us"] <= facts["p99_us"]
    assert took < 15
    assert set(os.listdir(root)) == before  # its namespace is gone


@pytest.mark.parametrize("words", [["demo"], ["bench", "--messages", "200", "--repeats", "1"]])
def test_beside_a_bare_source_folder_the_command_uses_the_installed_package(tmp_path, words):
    (tmp_path / "ipcsys").mkdir()
    (tmp_path / "ipcsys" / "__init__.py").write_text("raise ImportError('the bare folder')\n")
    script = os.path.join(os.path.dirname(sys.executable), "ipcsys")
    done = subprocess.run(
        [script, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_report_is_readable():
    done = demo()
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "ok" and len(lines) < 15
    assert "0 wrong" in done.stdout and "kill -9" in done.stdout


def test_an_unknown_role_is_refused():
    done = demo("conductor")
    assert done.returncode == 2 and "usage" in done.stderr


def test_the_roles_work_by_hand():
    with start("server") as server, start("data-manager") as manager, start("client") as client:
        for role in (server, manager, client):
            assert role.stdout.readline()
        assert say(client, "2 * (3 + 4)") == "14"
        assert say(client, "1 / 0").startswith("error: ZeroDivisionError")
        assert say(client, "inc_5") == "5"
        assert say(client, "get_counter") == "5"
        assert say(manager, "inc") == "6"
        assert say(manager, "push 7") == "1 in the list"
        assert say(manager, "get") == "6 [7]"
        assert say(manager, "pop") == "7"
        assert say(manager, "pop") == "the list is empty"
        assert say(manager, "dance") == "commands: inc, get, push N, pop, quit"
        assert say(client, "get_nonsense").startswith("error: ValueError")
        assert say(server, "q") == "answered 2 requests"
        assert say(client, "1 + 1").startswith("failed: ")
        for role, command in ((server, ""), (manager, "quit"), (client, "quit")):
            role.communicate(command + "\n", timeout=10)
            assert role.returncode == 0


def test_the_work_has_thousands_of_lines_with_errors_among_them():
    work = expressions()
    answers = [answer for _, answer in work]
    assert len(work) >= 3000 and len({text for text, _ in work}) == len(work)
    assert answers.count("ZeroDivisionError") > 20
    assert {"SyntaxError", "ValueError", "OverflowError"} <= set(answers)


def test_the_calculator_agrees_with_the_exact_answers():
    for text, answer in expressions():
        try:
            got = evaluate(text)
        except Exception as error:
            got = type(error).__name__
        assert is_right(got, answer), text


@pytest.mark.parametrize(
    "text, error",
    [
        ("__import__('os').system('true')", ValueError),
        ("(lambda: 1)()", ValueError),
        ("a", ValueError),
        ("True", ValueError),
        ("9**9**9", OverflowError),
        ("(-8) ** 0.5", ValueError),
        ("(" * 500, SyntaxError),
        ("-" * 900 + "1", ValueError),
        ("1" * 1001, ValueError),
        ("", SyntaxError),
        (7, TypeError),
    ],
)
def test_the_calculator_refuses_what_is_not_arithmetic(text, error):
    with pytest.raises(error):
        evaluate(text)


@pytest.mark.parametrize(
    "got, answer, right",
    [
        (3, "3", True),
        (3, "4", False),
        (0.1 + 0.2, "0.3", True),
        (0.31, "0.3", False),
        ("SyntaxError", "SyntaxError", True),
        ("ValueError", "SyntaxError", False),
        (1, "ZeroDivisionError", False),
        ("ZeroDivisionError", "1", False),
    ],
)
def test_a_wrong_answer_is_told_from_a_right_one(got, answer, right):
    assert is_right(got, answer) is right
