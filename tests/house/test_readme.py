# SPDX-License-Identifier: Apache-2.0
"""The README's commands: there, near the top, and against the built package."""

import re

from csource import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    fenced = re.findall(r"^```(?:sh|shell|bash|console)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    fenced_lines = [line.removeprefix("$ ") for block in fenced for line in block.splitlines()]
    return fenced_lines + re.findall(r"(?:^|\n)(?: {4}|\t)([^\n]+)", TEXT)


def test_one_command_near_the_top_installs_and_runs_the_demo():
    (demo,) = [line for line in commands() if line.endswith("ipcsys demo") and "pip install" in line]
    assert TEXT[: TEXT.index(demo)].count("\n") < 40


def test_one_command_near_the_top_installs_and_runs_the_tests_against_the_built_package():
    (tests,) = [line for line in commands() if "-m pytest" in line and "pip install" in line]
    assert TEXT[: TEXT.index(tests)].count("\n") < 40
    # Beside setup.py, the bare folder ipcsys/ would hide an installed package.
    assert re.search(r"pip install (?:-e|--editable)\b|python -P -m pytest", tests)


def test_every_path_that_the_readme_names_exists():
    named = re.findall(r"[`(]((?:docs|examples|tests|csrc|ipcsys)/[\w./-]+)[`)]", TEXT)
    missing = [path for path in named if not (ROOT / path).exists()]
    assert missing == []
