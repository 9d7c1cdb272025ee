"""Values of expressions at points, to any precision: how two expressions are found equal.

For worker processes only: evaluation may take any time on hostile input. Two expressions are the
same if they agree, to 30 digits and more, wherever both are tried and real roots are real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped]

from tirgen.verification.values import Node, Num, Op, Sym, symbols, walk

DIGITS = 50
_CLOSE = 30
"""Digits to which equal values agree."""
_MOST_DIGITS = 2000
"""Beyond which no value is computed."""
_POINTS = 6
_VALUES = tuple(
    Fraction(value)
    for value in ("17/13", "-29/23", "41/11", "37/97", "-61/7", "113/59", "-5/31", "89/17")
)
"""Where variables are tried: both signs, below and above one, no integers."""
_MANY = 3
"""Variables from which on an expression is a formula, whose quantities are positive."""


mpmath.mp.dps = 2 * _MOST_DIGITS + 2 * DIGITS
"""Of what is computed from values outside of `both_at`: differences must not lose their digits."""


class NoValue(ArithmeticError):
    """An expression has no value at a point, or none that is compared."""


class Evaluator:
    """Evaluates at one point; `largest` is the largest magnitude met, in decimal digits."""

    def __init__(self, point: dict[str, Fraction], log_base: int | None) -> None:
        self._point = point
        self._log_base = log_base
        self.largest = 0

    def value(self, node: Node) -> Any:
        result: Any
        match node:
            case Num(number):
                result = mpmath.mpf(number.numerator) / number.denominator
            case Sym(name):
                result = self._symbol(name)
            case Op("call", (Sym(function), *arguments)):
                result = self._unknown(function, [self.value(arg) for arg in arguments])
            case _:
                name, args = node.name, node.args
                result = self._applied(name, [self.value(arg) for arg in args])
        self._noted(result)
        return result

    def _noted(self, value: Any) -> None:
        if not mpmath.isfinite(value):
            raise NoValue("no finite value")
        if value:
            magnitude = int(abs(mpmath.mag(value)) * 0.30103) + 1
            self.largest = max(self.largest, magnitude)
            if magnitude > _MOST_DIGITS:
                raise NoValue("a value too large to compare")

    def _symbol(self, name: str) -> Any:
        if name in self._point:
            number = self._point[name]
            return mpmath.mpf(number.numerator) / number.denominator
        constant = {"pi": mpmath.pi, "e": mpmath.e, "i": mpmath.mpc(0, 1)}.get(name)
        if constant is None:
            raise NoValue(name)
        return +constant

    def _unknown(self, function: str, arguments: list[Any]) -> Any:
        """A function that is not known: some value that only its arguments decide."""
        result = mpmath.mpf(sum(map(ord, function))) / 7
        for place, argument in enumerate(arguments, 2):
            result += mpmath.sin(argument * place + result) * place
        return result

    def _applied(self, name: str, values: list[Any]) -> Any:
        if name == "pow":
            return self._power(values[0], values[1])
        if name in ("sqrt", "root"):
            index = values[1] if len(values) > 1 else 2
            if index == 3 and not _is_complex(values[0]) and values[0] < 0:
                return -mpmath.cbrt(-values[0])
            return self._power(values[0], 1 / mpmath.mpf(index))
        if name == "log":
            return mpmath.log(values[0]) / (mpmath.log(self._log_base) if self._log_base else 1)
        if name in ("ln", "logb") and not _is_complex(values[0]) and values[0] <= 0:
            raise NoValue("the logarithm of a negative number")
        if name not in _FUNCTIONS:
            raise NoValue(name)
        return _FUNCTIONS[name](*values)

    def _power(self, base: Any, exponent: Any) -> Any:
        if base == 0:
            if _is_complex(exponent) or exponent <= 0:
                raise NoValue("a power of zero")
            return base
        real = not _is_complex(base) and not _is_complex(exponent)
        if real and base < 0 and exponent != int(exponent) and not self._complex_allowed:
            raise NoValue("a root of a negative number")
        if abs(exponent) * max(1, abs(mpmath.log10(abs(base)))) > _MOST_DIGITS:
            raise NoValue("a power too large to compare")
        return mpmath.power(base, exponent)

    _complex_allowed = False

    def allow_complex(self) -> None:
        """Roots of negative numbers are taken, in an expression that is complex anyway."""
        self._complex_allowed = True


def _is_complex(value: Any) -> bool:
    return isinstance(value, mpmath.mpc) and value.imag != 0


def _whole(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(*values: Any) -> Any:
        if any(_is_complex(value) or abs(value) > 10**5 for value in values):
            raise NoValue("too large for a factorial")
        return function(*values)

    return apply


def _of_complex(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What asks for a complex number: under a bar a real one may be something else."""

    def apply(value: Any) -> Any:
        if not _is_complex(value):
            raise NoValue("no complex number")
        return function(value)

    return apply


_SAME = (
    *("sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "acot", "sinh", "cosh"),
    *("tanh", "asinh", "acosh", "atanh", "exp", "floor", "ceil", "arg", "sign"),
)
"""Functions that mpmath calls so."""
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(mpmath, name) for name in _SAME},
    "add": lambda *values: mpmath.fsum(values),
    "mul": lambda *values: mpmath.fprod(values),
    "neg": lambda value: -value,
    "inv": lambda value: 1 / value,
    "div": lambda top, bottom: top / bottom,
    "factorial": _whole(mpmath.factorial),
    "binom": _whole(mpmath.binomial),
    "gamma": _whole(mpmath.gamma),
    "zeta": _whole(mpmath.zeta),
    "abs": abs,
    "ln": mpmath.log,
    "logb": lambda value, base: mpmath.log(value) / mpmath.log(base),
    "max": max,
    "min": min,
    "re": _of_complex(mpmath.re),
    "im": _of_complex(mpmath.im),
    "conjugate": mpmath.conj,
    "overline": _of_complex(mpmath.conj),
}


def points(first: Node, second: Node) -> Iterator[dict[str, Fraction]]:
    """Where to try two expressions with the same variables."""
    names = sorted(symbols(first) | symbols(second))
    whole = any(
        isinstance(one, Op)
        and (
            one.name in ("factorial", "binom", "gcd", "lcm")
            or (one.name in ("floor", "ceil") and set(names) <= set("nmkpq"))
            or _alternates(one)
        )
        for node in (first, second)
        for one in walk(node)
    )
    for turn in range(_POINTS):
        values = [_VALUES[(turn + 3 * k) % len(_VALUES)] for k in range(len(names))]
        if whole:
            values = [Fraction(3 + turn + 4 * k) for k in range(len(names))]
        elif len(names) >= _MANY:
            values = [abs(value) for value in values]
        yield dict(zip(names, values, strict=True))
        if whole and len(names) > 1:
            yield dict(zip(reversed(names), values, strict=True))
    if not whole and len(names) < _MANY:
        for turn in range(_POINTS):
            yield {name: abs(_VALUES[(turn + 3 * k) % 8]) for k, name in enumerate(names)}


def _alternates(one: Op) -> bool:
    """``(-1)^n`` asks for whole numbers."""
    if one.name != "pow" or not symbols(one.args[1]):
        return False
    match one.args[0]:
        case Num(value):
            return value < 0
        case Op("neg" | "mul", args):
            return all(isinstance(arg, Num) for arg in args)
    return False


def both_at(
    first: Node,
    second: Node,
    point: dict[str, Fraction],
    log_base: int | None = None,
    *,
    complex_too: bool = False,
) -> tuple[Any, Any, Any]:
    """(the values of both, what they are at most off by). Raises NoValue.

    With twice as many digits as the largest magnitude met, small values are told apart as well.
    """
    digits = DIGITS
    for _ in range(3):
        evaluators = Evaluator(point, log_base), Evaluator(point, log_base)
        with mpmath.workdps(digits):
            for evaluator in evaluators:
                if complex_too or _has_i(first) or _has_i(second):
                    evaluator.allow_complex()
            try:
                values = evaluators[0].value(first), evaluators[1].value(second)
            except (ArithmeticError, ValueError, TypeError) as error:
                raise NoValue(str(error)) from error
            largest = max(evaluator.largest for evaluator in evaluators)
            if 2 * largest + _CLOSE <= digits:
                return values[0], values[1], mpmath.mpf(10) ** (largest - digits + 10)
        digits = 2 * largest + DIGITS
    raise NoValue("no precision is enough")


def _has_i(node: Node) -> bool:
    return any(isinstance(one, Sym) and one.name == "i" for one in walk(node))


def close(first: Any, second: Any, noise: Any) -> bool:
    """Whether two values agree to all digits that were computed for it."""
    return bool(abs(first - second) <= noise)


def identical(first: Node, second: Node, *, up_to_constant: bool = False) -> bool | None:
    """Whether two expressions agree wherever both have values; None if they have none.

    Both have the same variables. `up_to_constant` lets them differ by one number everywhere.
    """
    bases = _log_bases(first, second)
    verdicts = [_agree(first, second, base, up_to_constant) for base in bases]
    if all(verdict is None for verdict in verdicts):
        verdicts = [_agree(first, second, base, up_to_constant, complex_too=True) for base in bases]
    if True in verdicts:
        return True
    return None if all(verdict is None for verdict in verdicts) else False


def _log_bases(first: Node, second: Node) -> tuple[int | None, ...]:
    r"""``\log`` without a base is natural or of base ten."""
    bare = any(isinstance(n, Op) and n.name == "log" for e in (first, second) for n in walk(e))
    return (None, 10) if bare else (None,)


def _agree(
    first: Node, second: Node, base: int | None, up_to_constant: bool, *, complex_too: bool = False
) -> bool | None:
    agreed, apart = 0, None
    for point in points(first, second):
        try:
            left, right, noise = both_at(first, second, point, base, complex_too=complex_too)
        except NoValue:
            if not point:
                return None
            continue
        if not point:
            return close(left, right, noise)
        if up_to_constant:
            apart = left - right if apart is None else apart
            right = right + apart
            noise = noise * 10**10
        if not close(left, right, noise):
            return False
        agreed += 1
        if agreed >= _POINTS:
            break
    return True if agreed >= _POINTS // 2 else None


def same_zeros(first: Node, second: Node) -> bool:
    """Whether one expression is a constant multiple of the other, so that both vanish together."""
    ratio = None
    agreed = 0
    for point in points(first, second):
        try:
            left, right, noise = both_at(first, second, point)
        except NoValue:
            continue
        if abs(left) <= noise or abs(right) <= noise:
            if max(abs(left), abs(right)) > noise:
                return False
            continue
        ratio = (left, right) if ratio is None else ratio
        if abs(left * ratio[1] - right * ratio[0]) > abs(left * ratio[1]) / 10**25:
            return False
        agreed += 1
        if agreed >= _POINTS:
            break
    return agreed >= _POINTS // 2
