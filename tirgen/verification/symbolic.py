"""Equivalence of expressions by math-verify, then by evaluation to 50 digits.

For worker processes only: both libraries can take any time and memory on hostile input, and
nothing here limits them (`worker` does).
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

import math_verify
import sympy
from latex2sympy2_extended.math_normalization import NormalizationConfig

from storage.records import Verdict
from tirgen.verification.rationals import parse_rational, precise, tolerance

_DIGITS = 50
_CLOSE = sympy.Rational(1, 10**30)
_APART = sympy.Rational(1, 10**10)
_LARGE = 10**8
"""Beyond it a difference of one could hide in the digits that are not computed."""
_POINTS = 6
_POINT_VALUES = tuple(
    sympy.Rational(value)
    for value in ("17/13", "-29/23", "41/11", "37/97", "-61/7", "113/59", "-5/31", "89/17")
)
"""Where identities are tried: both signs, below and above one, no integers."""
_DEGREES = re.compile(r"(\d+(?:\.\d+)?|\([^()]*\)|\{[^{}]*\})\s*\\text\{ degrees\}")
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_EXTRACTION = math_verify.LatexExtractionConfig(
    boxed_match_priority=0,
    normalization_config=NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all"
    ),
)
"""Units are ours: math-verify takes the b of ``\\frac{1}{2}ab`` for one and reads 1/2."""
logging.getLogger("math_verify").setLevel(logging.CRITICAL)
logging.getLogger("latex2sympy2_extended").setLevel(logging.CRITICAL)


def equivalent(gold: str, answer: str) -> Verdict:
    """Decide two normalised scalar answers, gold first (math-verify is not symmetric)."""
    left, right = _parsed(_prepared(gold)), _parsed(_prepared(answer))
    if not left or not right:
        which = "gold answer" if not left else "answer"
        return Verdict(correct=False, method="math-verify", reason=f"{which} is not mathematics")
    agreed = math_verify.verify(left, right, float_rounding=6, timeout_seconds=None)
    if not agreed and _identical(left[0], right[0]):
        return _verdict(True, "identity", gold, answer)
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
    parsed = math_verify.parse(
        f"\\boxed{{{text}}}", [_EXTRACTION], fallback_mode="no_fallback", parsing_timeout=None
    )
    return list(parsed)


def _numerically_equal(gold: str, answer: str, left: Any, right: Any) -> bool | None:
    """Whether two constants are equal to 30 digits, or to those of a long decimal.

    None if they are no constants, or too large or too close to tell.
    """
    first, second = _constant(left), _constant(right)
    if first is None or second is None:
        return None
    difference = abs(_finite(sympy.N(_exact(left) - _exact(right), _DIGITS)) or first - second)
    if difference <= _CLOSE * min(1, abs(first)):
        return True
    decimals = [n for n in (parse_rational(gold), parse_rational(answer)) if n and n.places]
    if decimals:
        coarse = min(decimals, key=lambda number: number.places or 0)
        allowed = tolerance(coarse)
        return precise(coarse) and bool(
            difference <= sympy.Rational(allowed.numerator, allowed.denominator)
        )
    return False if difference > _APART * abs(first) else None


def _identical(left: Any, right: Any) -> bool:
    """Whether two expressions in the same variables agree wherever both can be evaluated."""
    if not (isinstance(left, sympy.Expr) and isinstance(right, sympy.Expr)):
        return False
    symbols = sorted(left.free_symbols, key=str)
    if not symbols or len(symbols) > 6 or left.free_symbols != right.free_symbols:
        return False
    agreed = 0
    for turn in range(_POINTS):
        point = {symbol: _POINT_VALUES[(turn + 3 * k) % 8] for k, symbol in enumerate(symbols)}
        first, second = (
            _finite(sympy.N(side.subs(point).doit(), _DIGITS)) for side in (left, right)
        )
        if first is None or second is None:
            continue
        if abs(first) > _LARGE:
            continue
        if abs(first - second) > _CLOSE * (1 + abs(first)):
            return False
        agreed += 1
    return agreed >= _POINTS // 2


def _constant(expression: Any) -> Any | None:
    """The value of a finite constant expression, complex ones included; None for any other."""
    if not isinstance(expression, sympy.Expr):
        return None
    expression = _exact(expression)
    if expression.free_symbols or expression.has(sympy.zoo, sympy.nan, sympy.oo):
        return None
    return _finite(sympy.N(expression, _DIGITS))


def _exact(expression: Any) -> Any:
    """Evaluated, with i imaginary and floats as the decimals they were written as."""
    exact = {number: sympy.Rational(str(number)) for number in expression.atoms(sympy.Float)}
    imaginary = {symbol: sympy.I for symbol in expression.free_symbols if symbol.name == "i"}
    return expression.xreplace(exact).subs(imaginary).doit()


def _finite(value: Any) -> Any | None:
    return value if value.is_number and value.is_finite else None
