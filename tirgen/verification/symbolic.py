"""Equivalence of expressions by math-verify, then by evaluation to 50 digits.

For worker processes only: both libraries can take any time and memory on hostile input, and
nothing here limits them (`worker` does).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import math_verify
import sympy
from latex2sympy2_extended.math_normalization import NormalizationConfig

from storage.records import Verdict
from tirgen.verification.rationals import parse_rational, precise, tolerance
from tirgen.verification.verdicts import unverifiable

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
_WHOLE_NUMBERS = "nmkpq"
"""Variables that stand for whole numbers where a floor or ceiling is taken."""
_MANY = 3
"""Variables from which on an expression is a formula, whose quantities are positive."""
_MISREAD = tuple(
    (re.compile(pattern), spelled)
    for pattern, spelled in (
        (r"\\text\{ degrees\}|\\dollar", ""),
        (r"\\Pi(?![a-zA-Z])", r"X_{pi}"),
        (r"(?<![a-zA-Z\\])[Ee](?=_)", r"\\eta "),
        (r"(?<![a-zA-Z\\])[Ii](?=_)", r"\\iota "),
        (r"(?<=[a-zA-Z}])'{2}|(?<=[a-zA-Z}]) ?\^ ?\{ ?\\prime ?\\prime ?\}", "_{primes}"),
        (r"(?<=[\w)}\]])'|(?<=[a-zA-Z}]) ?\^ ?(?:\{ ?\\prime ?\}|\\prime(?![a-z]))", "_{prime}"),
        (r"\^ ?(?:\{ ?T ?\}|T(?![a-zA-Z]))", r"^{\\tau}"),
        (r"\\gcd(?= ?\([^()]*[a-zA-Z])", r"h_{1}"),
        (r"\\lcm(?= ?\([^()]*[a-zA-Z])", r"h_{2}"),
        (r"(?<![a-zA-Z\\])(\w+) ?\\choose ?(\w+)", r"\\binom{\1}{\2}"),
    )
)
"""Constants with an index are variables, a capital pi is not 3.14, a prime is not nothing, ``A^T``
is not A, and gcd(a, b) of two variables is not 1."""
_TWO_NUMBERS = re.compile(r"\d +\d")
"""Which math-verify adds up, as if they were a mixed number."""
_LETTER = re.compile(r"\\(?:text|begin|end)\{[^{}]*\}|_\{[^{}]*\}|\\[a-zA-Z]+|[a-zA-Z]")
"""Commands, words and indices are matched whole, so that their letters are none."""
_GREEK = re.compile(
    r"\\(?:alpha|beta|gamma|delta|theta|lambda|mu|nu|rho|sigma|tau|phi|varphi|psi|omega|xi|eta|zeta)"
)
_BINDS = re.compile(r"\\(?:sum|prod|int|lim|max|min)(?![a-z])|=|\\in(?![a-z])")
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
    first, second = _distinct_case(_prepared(gold), _prepared(answer))
    second = _same_parameter(first, second)
    left = _parsed(first)
    if not left:
        return unverifiable(gold, "it is neither words nor mathematics that can be read")
    if _other_variables(first, second):
        return _verdict(False, "name", gold, answer)
    right = _parsed(second)
    if _TWO_NUMBERS.search(second):
        return _verdict(False, "math-verify", gold, f"{answer}, which is two numbers")
    if not right:
        return _verdict(False, "math-verify", gold, f"{answer}, which is not mathematics")
    agreed = math_verify.verify(left, right, float_rounding=6, timeout_seconds=None)
    if not agreed and _identical(left[0], right[0]):
        return _verdict(True, "identity", gold, answer)
    near = _numerically_equal(gold, answer, left[0], right[0])
    if near is not None and near != agreed and "%" not in gold + answer:
        return _verdict(near, "numeric", gold, answer)
    return _verdict(agreed, "math-verify", gold, answer)


def _distinct_case(gold: str, answer: str) -> tuple[str, str]:
    """Both texts with a capital that also occurs small renamed: math-verify reads M as m."""
    letters = {letter for text in (gold, answer) for letter in _letters(text)}
    free = iter(sorted(set("uvwzpqrlhk") - {letter.lower() for letter in letters}))
    new = {
        big: next(free, big) for big in sorted(letters) if big.isupper() and big.lower() in letters
    }

    def renamed(match: re.Match[str]) -> str:
        return new.get(match[0], match[0])

    if not new or (not _mixes_case(gold, new) and not _mixes_case(answer, new)):
        return gold, answer
    return _LETTER.sub(renamed, gold), _LETTER.sub(renamed, answer)


def _mixes_case(text: str, capitals: dict[str, str]) -> bool:
    letters = _letters(text)
    return any(big in letters and big.lower() in letters for big in capitals)


def _letters(text: str) -> set[str]:
    """The letters that stand for quantities, Greek ones included."""
    found = _LETTER.findall(text)
    return {one for one in found if len(one) == 1 or _GREEK.fullmatch(one)}


def _same_parameter(gold: str, answer: str) -> str:
    r"""The answer with its whole-number parameter named as in the gold one: ``k\pi``, ``n\pi``."""
    if "\\pi" not in gold or "\\pi" not in answer:
        return answer
    asked, given = _letters(gold), _letters(answer)
    missing, extra = asked - given, given - asked
    if len(missing) != 1 or len(extra) != 1 or not missing | extra <= set("kmnl"):
        return answer
    renamed = {extra.pop(): missing.pop()}
    return _LETTER.sub(lambda match: renamed.get(match[0], match[0]), answer)


def _other_variables(gold: str, answer: str) -> bool:
    """Whether one mentions a variable that the other does not, as ``x/x`` does beside 1."""
    if _BINDS.search(gold) or _BINDS.search(answer):
        return False
    first, second = ({letter.lower() for letter in _letters(text)} for text in (gold, answer))
    return bool((first ^ second) - {"e", "i", "d"})


def _verdict(correct: bool, method: str, gold: str, answer: str) -> Verdict:
    sign = "=" if correct else "vs"
    return Verdict(correct=correct, method=method, reason=f"{method}: {gold} {sign} {answer}")


def _prepared(text: str) -> str:
    """Spelled so that math-verify reads what is meant; degrees in trigonometry as radians."""
    if _TRIGONOMETRY.search(text):
        text = _DEGREES.sub(r"(\\frac{\1\\pi}{180})", text)
    for misread, spelled in _MISREAD:
        text = misread.sub(spelled, text)
    return text


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
    left, right = _exact(left), _exact(right)
    symbols = sorted(left.free_symbols, key=str)
    if not symbols or len(symbols) > 8 or left.free_symbols != right.free_symbols:
        return False
    agreed = 0
    for point in _points(symbols, left + right):
        if not (_is_real_at(left, point) and _is_real_at(right, point)):
            continue
        first, second = (
            _finite(sympy.N(side.subs(point).doit(), _DIGITS)) for side in (left, right)
        )
        if first is None or second is None or abs(first) > _LARGE:
            continue
        if abs(first - second) > _CLOSE * (1 + abs(first)):
            return False
        agreed += 1
    return agreed >= _POINTS // 2


def _points(symbols: list[Any], expression: Any) -> Iterator[dict[Any, Any]]:
    """Where to evaluate: at whole numbers if the variables are, at positive ones in formulas."""
    whole = expression.has(sympy.floor, sympy.ceiling) and all(
        str(symbol) in _WHOLE_NUMBERS for symbol in symbols
    )
    for turn in range(_POINTS):
        values = [_POINT_VALUES[(turn + 3 * k) % 8] for k in range(len(symbols))]
        if whole:
            values = [sympy.Integer(5 + (3 * turn + 7 * k) % 11) for k in range(len(symbols))]
        elif len(symbols) >= _MANY:
            values = [abs(value) for value in values]
        yield dict(zip(symbols, values, strict=True))


def _is_real_at(expression: Any, point: dict[Any, Any]) -> bool:
    """Whether no root or logarithm of a negative number is taken; complex answers may."""
    if expression.has(sympy.I):
        return True
    bases = [power.base for power in expression.atoms(sympy.Pow) if not power.exp.is_integer]
    inner = bases + [one.args[0] for one in expression.atoms(sympy.log)]
    return not any(sympy.N(base.subs(point)).is_negative for base in inner)


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
