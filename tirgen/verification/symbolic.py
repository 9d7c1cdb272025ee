"""Equivalence of expressions by math-verify, then by 50-digit evaluation. Worker processes only.

Both libraries can take any time and memory on hostile input; nothing here limits them. See
`worker`.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

import math_verify
import sympy

from storage.records import Verdict
from tirgen.verification.rationals import half_unit, parse_rational, precise

_DIGITS = 50
_DEGREES = re.compile(r"(\d+(?:\.\d+)?|\([^()]*\)|\{[^{}]*\})\s*\\text\{ degrees\}")
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
logging.getLogger("math_verify").setLevel(logging.CRITICAL)
logging.getLogger("latex2sympy2_extended").setLevel(logging.CRITICAL)


def equivalent(gold: str, answer: str) -> Verdict:
    """Decide two normalised scalar answers, gold first (math-verify is not symmetric)."""
    left, right = _parsed(_prepared(gold)), _parsed(_prepared(answer))
    if not left or not right:
        which = "gold answer" if not left else "answer"
        return Verdict(correct=False, method="math-verify", reason=f"{which} is not mathematics")
    agreed = math_verify.verify(left, right, float_rounding=6, timeout_seconds=None)
    near = _numerically_equal(gold, answer, left[0], right[0])
    if near is not None and near != agreed and "%" not in gold + answer:
        return _verdict(near, "numeric", gold, answer)
    return _verdict(agreed, "math-verify", gold, answer)


def _verdict(correct: bool, method: str, gold: str, answer: str) -> Verdict:
    sign = "=" if correct else "vs"
    return Verdict(correct=correct, method=method, reason=f"{method}: {gold} {sign} {answer}")


def _prepared(text: str) -> str:
    r"""Degrees inside a trigonometric function in radians; other markup as math-verify reads it."""
    if _TRIGONOMETRY.search(text):
        text = _DEGREES.sub(r"(\\frac{\1\\pi}{180})", text)
    return text.replace("\\text{ degrees}", "").replace("\\dollar", "")


@lru_cache(maxsize=512)
def _parsed(text: str) -> list[Any]:
    return list(math_verify.parse(f"\\boxed{{{text}}}", parsing_timeout=None))


def _numerically_equal(gold: str, answer: str, left: Any, right: Any) -> bool | None:
    """Whether two constants agree to 50 digits (or to those of a long decimal); None if unknown."""
    first, second = _constant(left), _constant(right)
    if first is None or second is None:
        return None
    difference = abs(first - second)
    decimals = [n for n in (parse_rational(gold), parse_rational(answer)) if n and n.places]
    if decimals:
        coarse = min(decimals, key=lambda number: number.places or 0)
        unit = half_unit(coarse)
        return precise(coarse) and bool(
            difference <= sympy.Rational(unit.numerator, unit.denominator)
        )
    scale = max(abs(first), abs(second), sympy.Integer(1) / 10**_DIGITS)
    return bool(difference <= scale * sympy.Float(10, _DIGITS) ** (10 - _DIGITS))


def _constant(expression: Any) -> Any | None:
    """The value of a constant expression, complex ones included."""
    if not isinstance(expression, sympy.Expr):
        return None
    imaginary = [symbol for symbol in expression.free_symbols if symbol.name == "i"]
    for symbol in imaginary:
        expression = expression.subs(symbol, sympy.I)
    if expression.free_symbols or expression.has(sympy.zoo, sympy.nan, sympy.oo, sympy.Float):
        return None if not expression.has(sympy.Float) else _float_constant(expression)
    return _finite(sympy.N(expression.doit(), _DIGITS))


def _float_constant(expression: Any) -> Any | None:
    """Floats as the decimals they were written as, not as binary fractions."""
    if expression.free_symbols:
        return None
    exact = {number: sympy.Rational(str(number)) for number in expression.atoms(sympy.Float)}
    return _finite(sympy.N(expression.xreplace(exact).doit(), _DIGITS))


def _finite(value: Any) -> Any | None:
    return value if value.is_number and value.is_finite else None
