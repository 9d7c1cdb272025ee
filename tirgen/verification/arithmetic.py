"""Sums and products of values, and the exact value of rational expressions, within bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from tirgen.verification.tokens import Unreadable
from tirgen.verification.values import (
    Bracket,
    Expression,
    Listing,
    Matrix,
    Node,
    Num,
    Op,
    Quantity,
    Sym,
    Tuple,
    Value,
)

MAX_BITS = 200_000
"""Of the numerator and denominator of a value computed here; 10^(6*10^4)."""
MAX_FACTORIAL = 10_000


class Costly(ArithmeticError):
    """An exact value too large to compute."""


def product(values: Sequence[Value]) -> Value:
    """The product of factors; at most one of them is a quantity, a tuple, a matrix or a list."""
    if len(values) == 1:
        return values[0]
    values = list(map(grouped, values))
    scalars = [value for value in values if isinstance(value, Expression)]
    others = [value for value in values if not isinstance(value, Expression)]
    if len(others) > 1:
        raise Unreadable("a product of two things that are no numbers")
    if not others:
        percent = [v for v in values if isinstance(v, Expression) and v.percent]
        if percent and values[0] == Expression(Num(Fraction(-1))) and len(values) == 2:
            return Expression(_multiplied([v.node for v in scalars]), percent=True)
        return Expression(_multiplied([_literal(v) for v in scalars]))
    if not scalars:
        return others[0]
    return _scaled(Expression(_multiplied([_literal(v) for v in scalars])), others[0])


def grouped(value: Value) -> Value:
    """What square brackets around one part of an expression hold."""
    match value:
        case Bracket((Expression() as inner,)):
            return inner
    return value


def _literal(value: Expression) -> Node:
    return Op("mul", (value.node, Num(Fraction(1, 100)))) if value.percent else value.node


def _scaled(factor: Expression, value: Value) -> Value:
    def times(item: Value) -> Value:
        return product([factor, item])

    match value:
        case Quantity(amount, unit):
            return Quantity(amount_of(times(amount)), unit)
        case Tuple(items) | Listing(items):
            return value.of(map(times, items))
        case Matrix(rows):
            return Matrix(tuple(tuple(map(times, row)) for row in rows))
    raise Unreadable(f"a multiple of a {type(value).__name__.lower()}")


def amount_of(value: Value) -> Expression:
    if not isinstance(value, Expression):
        raise Unreadable("a unit after what is no amount")
    return value


def _multiplied(nodes: list[Node]) -> Node:
    match nodes:
        case [Num(value=sign), Num(value, unit, digits)] if abs(sign) == 1:
            return Num(sign * value, unit, digits)
        case [Num(value, unit, digits), Op("pow", (Num(value=ten), Num(value=power)))] if ten == 10:
            if power.denominator == 1 and abs(power) <= 1000:
                scale = Fraction(10) ** int(power)
                return Num(value * scale, unit and unit * scale, digits)
    flat: list[Node] = []
    for node in nodes:
        flat.extend(node.args if isinstance(node, Op) and node.name == "mul" else (node,))
    return Op("mul", tuple(flat))


def total(values: Sequence[Value]) -> Value:
    """The sum of terms: all of them numbers, or all of them tuples of one length."""
    if len(values) == 1:
        return values[0]
    values = list(map(grouped, values))
    if all(isinstance(value, Expression) for value in values):
        return Expression(
            Op("add", tuple(_literal(v) for v in values if isinstance(v, Expression)))
        )
    if all(isinstance(value, Tuple) for value in values):
        columns = zip(*(v.items for v in values if isinstance(v, Tuple)), strict=False)
        return Tuple(tuple(total(column) for column in columns))
    units = {value.unit for value in values if isinstance(value, Quantity)}
    if len(units) == 1:
        parts = [value.amount if isinstance(value, Quantity) else value for value in values]
        if all(isinstance(part, Expression) for part in parts):
            return Quantity(amount_of(total(parts)), units.pop())
    raise Unreadable("a sum of unlike things")


def rational(node: Node) -> Fraction | None:
    """The exact value of an expression, None if it is not rational or not so computed.

    Raises Costly where computing it would take more than `MAX_BITS`, Unreadable on a division by
    zero.
    """
    match node:
        case Num(value):
            return value
        case Sym():
            return None
        case Op("pow", (base, exponent)):
            return _power(rational(base), rational(exponent))
        case Op(name, args) if name in _EXACT:
            values = [rational(arg) for arg in args]
            if any(value is None for value in values):
                return None
            result = _EXACT[name](*values)
            return None if result is None else _bounded(result)
    for arg in node.args:
        rational(arg)
    return None


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise Costly("a number too long to compute")
    return value


def _power(base: Fraction | None, exponent: Fraction | None) -> Fraction | None:
    if exponent is None:
        return None
    if base is None:
        if abs(exponent) > MAX_BITS:
            raise Costly("a power too large to compute")
        return None
    if base == 0 and exponent <= 0:
        raise Unreadable("a division by zero")
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) != 1 and base != 0 and size * abs(exponent) > MAX_BITS:
        raise Costly("a power too large to compute")
    if exponent.denominator == 1:
        return base ** (int(exponent) if abs(base) != 1 else int(exponent) % 2)
    root = _root(base, Fraction(exponent.denominator))
    return None if root is None else root**exponent.numerator


def _root(base: Fraction, index: Fraction = Fraction(2)) -> Fraction | None:
    if index.denominator != 1 or not 0 < index <= 64 or (base < 0 and index % 2 == 0):
        return None
    if base.numerator.bit_length() + base.denominator.bit_length() > 8000:
        return None
    parts = [_integer_root(abs(part), int(index)) for part in (base.numerator, base.denominator)]
    if parts[0] is None or parts[1] is None:
        return None
    return Fraction(parts[0] if base >= 0 else -parts[0], parts[1])


def _integer_root(value: int, index: int) -> int | None:
    low, high = 0, 1 << (value.bit_length() // index + 1)
    while low < high:
        middle = (low + high) // 2
        if middle**index < value:
            low = middle + 1
        else:
            high = middle
    return low if low**index == value else None


def _divided(top: Fraction, bottom: Fraction) -> Fraction:
    if bottom == 0:
        raise Unreadable("a division by zero")
    return top / bottom


def _product(*values: Fraction) -> Fraction:
    result = Fraction(1)
    for value in values:
        result = _bounded(result * value)
    return result


def _factorial(n: Fraction) -> Fraction | None:
    if n.denominator != 1 or n < 0:
        return None
    if n > MAX_FACTORIAL:
        raise Costly(f"the factorial of more than {MAX_FACTORIAL}")
    return Fraction(math.factorial(int(n)))


def _binomial(n: Fraction, k: Fraction) -> Fraction | None:
    if n.denominator != 1 or k.denominator != 1 or n < 0 or k < 0:
        return None
    if n > MAX_FACTORIAL and min(k, n - k) > 100:
        raise Costly(f"a binomial of more than {MAX_FACTORIAL}")
    return Fraction(math.comb(int(n), int(k)))


def _whole(function: Callable[..., int]) -> Callable[..., Fraction | None]:
    def apply(*values: Fraction) -> Fraction | None:
        whole = all(value.denominator == 1 for value in values)
        return Fraction(function(*map(int, values))) if whole else None

    return apply


def _determinant(*cells: Fraction) -> Fraction | None:
    """Of the rows of a square matrix one after another, up to four of them."""
    size = math.isqrt(len(cells))
    if size * size != len(cells) or not 2 <= size <= 4:
        return None
    return _expanded([list(cells[start : start + size]) for start in range(0, len(cells), size)])


def _expanded(rows: list[list[Fraction]]) -> Fraction:
    if len(rows) == 1:
        return rows[0][0]
    minors = ([row[:k] + row[k + 1 :] for row in rows[1:]] for k in range(len(rows)))
    terms = (cell * _expanded(minor) for cell, minor in zip(rows[0], minors, strict=True))
    return sum(((-1) ** k * term for k, term in enumerate(terms)), Fraction(0))


_EXACT: dict[str, Callable[..., Fraction | None]] = {
    "add": lambda *values: sum(values, Fraction(0)),
    "mul": _product,
    "neg": lambda value: -value,
    "inv": lambda value: _divided(Fraction(1), value),
    "div": _divided,
    "sqrt": _root,
    "root": _root,
    "factorial": _factorial,
    "binom": _binomial,
    "abs": abs,
    "floor": lambda value: Fraction(math.floor(value)),
    "ceil": lambda value: Fraction(math.ceil(value)),
    "max": max,
    "min": min,
    "gcd": _whole(math.gcd),
    "lcm": _whole(math.lcm),
    "mod": lambda value, modulus: value % modulus if modulus else None,
    "det": _determinant,
}


_CONSTANTS = {"pi": math.pi, "e": math.e, "oo": math.inf}


def approximate(node: Node, point: Mapping[str, float] = _CONSTANTS) -> float | None:
    """About the value of an expression at a point; None where a variable has no value there."""
    try:
        return _float(node, {**point, **_CONSTANTS})
    except (ArithmeticError, ValueError, TypeError, KeyError):
        return None


def _float(node: Node, point: Mapping[str, float]) -> float:
    match node:
        case Num(value):
            return float(value)
        case Sym(name):
            return point[name]
        case Op(name, args) if name in _FLOATS:
            return _FLOATS[name](*(_float(arg, point) for arg in args))
    raise KeyError


_FLOATS: dict[str, Callable[..., float]] = {
    "add": lambda *values: math.fsum(values),
    "mul": lambda *values: math.prod(values),
    "neg": lambda value: -value,
    "inv": lambda value: 1 / value,
    "div": lambda top, bottom: top / bottom,
    "root": lambda value, index: math.pow(value, 1 / index),
    "ln": math.log,
    "logb": math.log,
    "abs": abs,
    **{name: getattr(math, name) for name in ("pow", "sqrt", "exp", "sin", "cos", "tan", "asin")},
    **{name: getattr(math, name) for name in ("acos", "atan", "sinh", "cosh", "tanh")},
}
