"""Numbers as written, their bases, and the expression that a value is."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from tirgen.verification.arithmetic import rational
from tirgen.verification.tokens import Unreadable
from tirgen.verification.units import DEGREE, RADIAN
from tirgen.verification.values import (
    Based,
    Expression,
    Node,
    Num,
    Op,
    Quantity,
    Ratio,
    Sym,
    Value,
)

MAX_DIGITS = 400
"""Digits of the longest number that is read."""


def continued(whole: str, places: str) -> Value:
    """``0.333...``: its last digits go on as they did."""
    for length in range(1, len(places) // 2 + 1):
        cycle = places[-length:]
        if places.endswith(cycle * max(2, -(-3 // length))):
            before = places[:-length]
            start = Fraction(int(whole + before or "0"), 10 ** len(before))
            return Expression(
                Num(start + Fraction(int(cycle), (10**length - 1) * 10 ** len(before)))
            )
    raise Unreadable("a decimal with '...' whose repeating digits cannot be told")


def lowest_terms(arguments: Sequence[Node]) -> Value:
    """``Rational(2, 7)`` as Python prints it; a call still to be evaluated is rejected."""
    parts = [rational(argument) for argument in arguments]
    match parts:
        case [Fraction() as top, Fraction() as bottom] if (
            bottom > 0 and top.denominator == bottom.denominator == 1
        ):
            value = top / bottom
            if value.denominator == bottom:
                return Expression(Num(value))
    raise Unreadable("a fraction that is not in lowest terms, as Python never prints it")


def whole_of(value: Value) -> Fraction | None:
    """A plain integer, such as the whole part of ``2 1/3``; None for any other value."""
    match value:
        case Expression(Num(value=number, unit=None), percent=False) if number.denominator == 1:
            return number
    return None


def literal(text: str) -> Num:
    """A number as written. Raises Unreadable beyond `MAX_DIGITS`."""
    digits = text.replace("_", "").lower()
    mantissa, _, exponent = digits.partition("e")
    if len(digits) > MAX_DIGITS or len(exponent) > 4:
        raise Unreadable(f"a number of more than {MAX_DIGITS} digits")
    whole, _, places = mantissa.partition(".")
    scale = Fraction(10) ** int(exponent or 0) / 10 ** len(places)
    value = int(whole + places or "0") * scale
    if not places and not exponent:
        return Num(value)
    return Num(value, scale, len((whole + places).lstrip("0")))


def base_of(index: str) -> int | None:
    words = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
             "nine": 9, "ten": 10, "twelve": 12, "sixteen": 16, "binary": 2, "octal": 8,
             "hexadecimal": 16}  # fmt: skip
    name = index.lower().replace("base", "").strip("()")
    base = words.get(name) or (int(name) if name.isdigit() and len(name) < 3 else 0)
    return base if 2 <= base <= 36 else None


def based(digits: str, index: str) -> Based:
    """A number with its base. Raises Unreadable where there is no such number."""
    base = base_of(index)
    if base is None:
        raise Unreadable("a number with an index that is no base")
    try:
        int(digits, base)
    except ValueError as error:
        raise Unreadable("digits that the base does not have") from error
    return Based(digits.upper(), base)


def radians(value: Value) -> Node:
    """The expression of an angle, degrees as radians."""
    match value:
        case Quantity(amount, unit) if unit in (DEGREE, RADIAN):
            half_turn = (Sym("pi"), Num(Fraction(1, 180))) if unit == DEGREE else ()
            return Op("mul", (node_of(amount), *half_turn))
    return node_of(value)


def node_of(value: Value) -> Node:
    """The expression of a value. Raises Unreadable where it is something else."""
    if isinstance(value, Ratio) and len(value.parts) == 2:
        return Op("div", (node_of(value.parts[0]), node_of(value.parts[1])))
    if isinstance(value, Expression):
        if value.percent:
            return Op("mul", (value.node, Num(Fraction(1, 100))))
        return value.node
    raise Unreadable(f"a {type(value).__name__.lower()} inside an expression")
