# SPDX-License-Identifier: Apache-2.0
"""Arithmetic from text, by walking the syntax tree: nothing is ever executed."""

import ast
import operator

__all__ = ["evaluate"]

MAX_LENGTH = 1000
MAX_DEPTH = 50
MAX_BITS = 4096


def _power(base, exponent):
    if isinstance(base, int) and isinstance(exponent, int):
        if exponent > 0 and base.bit_length() * exponent > MAX_BITS:
            raise OverflowError("the result is too large")
        return base**exponent
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError("a negative number has no real root")
    return result


OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def evaluate(expression):
    """The number that `expression` stands for.

    Raises ZeroDivisionError, OverflowError, SyntaxError, and ValueError for
    whatever is not arithmetic.
    """
    if not isinstance(expression, str):
        raise TypeError(f"an expression is a str, not {type(expression).__name__}")
    if len(expression) > MAX_LENGTH:
        raise ValueError(f"an expression has at most {MAX_LENGTH} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, RecursionError, MemoryError):
        raise SyntaxError(f"cannot read {expression!r}") from None
    return _value(tree.body, 0)


def _value(node, depth):
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(left, depth + 1), _value(right, depth + 1))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(operand, depth + 1))
        case _:
            raise ValueError(f"{type(node).__name__} is not arithmetic")
