# SPDX-License-Identifier: Apache-2.0
"""Write ipcsys/demo/expressions.txt: "expression<TAB>answer", 4 000 lines.

The answers are not the calculator's own: each expression grows as a tree whose
value is computed beside it in fractions, exactly.  A line whose answer is not
a number says which exception the calculator must raise.  `python
make_expressions.py` writes the same file each time.
"""

import random
from decimal import Context, Decimal
from fractions import Fraction
from pathlib import Path

LINES = 4000
TARGET = Path(__file__).resolve().parent.parent / "ipcsys" / "demo" / "expressions.txt"
DIGITS = Context(prec=17)

NONSENSE = [
    ("2 +* 3", "SyntaxError"),
    ("(1 + 2", "SyntaxError"),
    ("7 7", "SyntaxError"),
    ("__import__('os').getpid()", "ValueError"),
    ("[1, 2][0]", "ValueError"),
    ("x + 1", "ValueError"),
    ("'a' * 3", "ValueError"),
    ("9 ** 9 ** 9", "OverflowError"),
    ("1 if 2 else 3", "ValueError"),
]


class Unfit(Exception):
    """Too large, or too close to zero for floats to agree with fractions."""


def leaf(draw):
    if draw.random() < 0.8:
        number = draw.randint(0, 999)
        return str(number), Fraction(number), False
    text = f"{draw.randint(0, 99)}.{draw.choice(['5', '25', '75', '125'])}"
    return text, Fraction(text), True


def combine(op, left, right):
    """The exact value; None where it divides by zero."""
    if op in "/ // %".split() and right == 0:
        return None
    if op == "+":
        return left + right
    if op == "-":
        return left - right
    if op == "*":
        return left * right
    if op == "/":
        return left / right
    quotient = left // right
    return Fraction(quotient) if op == "//" else left - quotient * right


def tree(draw, depth):
    """(text, exact value or None, whether it is a float); raises Unfit."""
    if depth == 0 or draw.random() < 0.15:
        return leaf(draw)
    if draw.random() < 0.1:
        text, value, inexact = tree(draw, depth - 1)
        return f"-({text})", None if value is None else -value, inexact
    op = draw.choice(["+", "+", "-", "-", "*", "*", "/", "//", "%"])
    left_text, left, left_float = tree(draw, depth - 1)
    right_text, right, right_float = tree(draw, depth - 1)
    text = f"({left_text}) {op} ({right_text})" if depth > 1 else f"{left_text} {op} {right_text}"
    if left is None or right is None:
        return text, None, True
    value = combine(op, left, right)
    inexact = left_float or right_float or op == "/"
    if value is not None and inexact:
        rounded = op in ("//", "%") or (
            op in "+-" and abs(value) < max(abs(left), abs(right)) / 1000
        )
        if rounded and any(v.denominator & (v.denominator - 1) for v in (left, right)):
            raise Unfit  # floats may round the other way, or cancel
    if value is not None and abs(value) > 10**15:
        raise Unfit
    return text, value, inexact


def answer(value, inexact):
    if value is None:
        return "ZeroDivisionError"
    if not inexact:
        return str(value.numerator)
    return str(DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator)))


def main():
    draw = random.Random(20240229)
    lines = {}
    while len(lines) < LINES - len(NONSENSE):
        try:
            text, value, inexact = tree(draw, draw.choice([1, 2, 2, 3, 3, 4]))
        except Unfit:
            continue
        if value is not None or draw.random() < 0.5:
            lines.setdefault(text, answer(value, inexact))
    rows = [*lines.items(), *NONSENSE]
    draw.shuffle(rows)
    TARGET.write_text("".join(f"{text}\t{value}\n" for text, value in rows))


if __name__ == "__main__":
    main()
