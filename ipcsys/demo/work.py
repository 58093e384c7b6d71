# SPDX-License-Identifier: Apache-2.0
"""The work: a few thousand expressions with the answers beside them."""

import math
from pathlib import Path

__all__ = ["expressions", "is_right"]


def expressions():
    """Pairs of an expression and its answer: a number, or an exception's name, in text."""
    text = Path(__file__).with_name("expressions.txt").read_text()
    return [tuple(line.split("\t")) for line in text.splitlines()]


def is_right(got, answer):
    """`got` is what the calculator gave: a number, or the name of what it raised."""
    if isinstance(got, str) or answer.endswith("Error"):
        return got == answer
    if isinstance(got, int):
        return str(got) == answer
    return math.isclose(got, float(answer), rel_tol=1e-9, abs_tol=1e-9)
