"""What math-verify misses: constants equal to 30 digits, expressions equal wherever tried.

For worker processes only, like `symbolic`: evaluation can take any time and memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

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
_WHOLE_NUMBERS = "nmkpq"
"""Variables that stand for whole numbers where a floor or ceiling is taken."""
_MANY = 3
"""Variables from which on an expression is a formula, whose quantities are positive."""


def numerically_equal(gold: str, answer: str, left: Any, right: Any) -> bool | None:
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
            difference < sympy.Rational(allowed.numerator, allowed.denominator)
        )
    return False if difference > _APART * abs(first) else None


def identical(left: Any, right: Any, *, up_to_constant: bool = False) -> bool:
    """Whether two expressions in the same variables agree wherever both can be evaluated.

    `up_to_constant` lets them differ by the same number everywhere, as antiderivatives may.
    """
    if not (isinstance(left, sympy.Expr) and isinstance(right, sympy.Expr)):
        return False
    left, right = _exact(left), _exact(right)
    symbols = sorted(left.free_symbols, key=str)
    if not symbols or len(symbols) > 8 or left.free_symbols != right.free_symbols:
        return False
    agreed, apart = 0, None if up_to_constant else 0
    for point in _points(symbols, left + right):
        if not (_is_real_at(left, point) and _is_real_at(right, point)):
            continue
        first, second = (
            _finite(sympy.N(side.subs(point).doit(), _DIGITS)) for side in (left, right)
        )
        if first is None or second is None or abs(first) > _LARGE:
            continue
        apart = first - second if apart is None else apart
        if abs(first - second - apart) > _CLOSE * (1 + abs(first)):
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
