"""One answer of one part against another: numbers by the gold's precision, quantities, times."""

from __future__ import annotations

import math
from fractions import Fraction

from tirgen.verification.arithmetic import approximate, rational
from tirgen.verification.finishing import folded
from tirgen.verification.literals import node_of, radians
from tirgen.verification.matching import MatchResult, Terms, outcome
from tirgen.verification.units import DEGREE, RADIAN, conflict, unit_of
from tirgen.verification.values import (
    Clock,
    Date,
    Expression,
    Node,
    Num,
    Op,
    Quantity,
    Ratio,
    Residues,
    Sym,
    Unit,
    symbols,
    walk,
    with_values,
)

_PRECISE = 6
"""Digits from which on a gold decimal may be cut off, all after the point or nine."""
_FLOAT_DIGITS = 15
"""Significant digits from which on a decimal is a double as Python prints it."""
_PRINTED_DIGITS = 12
"""The fewest of a double printed in full: by ``%.12g``, and so by Python before 2.7."""
_FLOAT_NOISE = Fraction(1, 10**13)
"""Of a double, relative; what a few operations lose."""
_ZERO_NOISE = Fraction(1, 10**14)
_ROUNDED = 2
"""Significant digits from which on a gold decimal may be the rounding of an exact answer."""


def same_number(
    gold: Num, answer: Num, percent: tuple[bool, bool], exact_digits: int | None
) -> MatchResult:
    """By the gold's precision; a percent sign may be left out or meant literally.

    ``50%`` is 50 and 1/2. Of a gold answer below one it was not left out: ``0.4%`` is not 0.4.
    """
    pairs = [(_literal(gold, percent[0]), _literal(answer, percent[1]))]
    if percent[0] != percent[1] and (percent[0] or abs(gold.value) >= 1):
        pairs.append((gold, answer))
    return outcome(any(_agree(*pair, exact_digits) for pair in pairs), "number")


def _literal(number: Num, percent: bool) -> Num:
    return _scaled(number, Fraction(1, 100)) if percent else number


def _scaled(number: Num, factor: Fraction) -> Num:
    return Num(number.value * factor, number.unit and number.unit * factor, number.digits)


def _agree(gold: Num, answer: Num, exact_digits: int | None) -> bool:
    apart = abs(gold.value - answer.value)
    if apart == 0:
        return True
    if _is_double(answer) and apart <= _FLOAT_NOISE * abs(gold.value):
        return True
    if gold.value == 0:
        return answer.digits >= _FLOAT_DIGITS and abs(answer.value) < _ZERO_NOISE
    if gold.unit is not None:
        return rounds_to(gold, apart, answer)
    return stands_for_exact(answer, exact_digits) and apart < tolerance(answer)


def rounds_to(gold: Num, apart: Fraction, answer: Num | None = None) -> bool:
    """Whether a gold decimal is the rounding of an answer `apart` from it.

    An answer that is a decimal itself must be finer, and the gold no mere half or tenth.
    """
    assert gold.unit is not None
    if answer is not None and answer.unit is not None:
        if precise(answer) and precise(gold) and apart < max(tolerance(answer), tolerance(gold)):
            return True
        finer = answer.unit < gold.unit and gold.digits > _ROUNDED
        return finer and apart <= gold.unit / 2
    if answer is not None and answer.value.denominator == 1 and gold.unit < 1:
        return precise(gold) and apart < tolerance(gold)
    allowed = tolerance(gold) if precise(gold) else gold.unit / 2
    return gold.digits >= _ROUNDED and apart <= allowed


def stands_for_exact(answer: Num, exact_digits: int | None) -> bool:
    """Whether a decimal has enough digits to be compared with an exact gold value."""
    return answer.unit is not None and answer.digits >= (exact_digits or _PRINTED_DIGITS)


def precise(number: Num) -> bool:
    """Whether a decimal beside a gold decimal is so fine that it may be cut off."""
    if number.unit is None:
        return False
    return number.digits >= _PRECISE and (number.unit <= Fraction(1, 10**6) or number.digits >= 9)


def tolerance(number: Num) -> Fraction:
    """What a decimal may be off by: half a unit in its last place, or a whole one if cut off."""
    assert number.unit is not None
    allowed = number.unit if number.digits >= 9 else number.unit / 2
    return max(allowed, abs(number.value) * _FLOAT_NOISE) if _is_double(number) else allowed


def _is_double(number: Num) -> bool:
    return number.unit is not None and _FLOAT_DIGITS <= number.digits <= 18


def same_quantity(gold: Quantity, answer: Quantity, terms: Terms) -> MatchResult:
    """Amounts in the gold's unit; two units that do not convert make different answers."""
    units = {gold.unit, answer.unit}
    if units == {DEGREE, RADIAN}:
        return same_amount(Expression(radians(gold)), Expression(radians(answer)), terms)
    if not conflict(gold.unit, answer.unit):
        return same_amount(gold.amount, answer.amount, terms)
    if gold.unit.dimensions != answer.unit.dimensions:
        return outcome(False, "unit", f"{_name(answer.unit)} where {_name(gold.unit)} is asked")
    return same_amount(
        gold.amount, _times(answer.amount, answer.unit.factor / gold.unit.factor), terms
    )


def _name(unit: Unit) -> str:
    return " ".join(name for name, _ in unit.dimensions) or "a number"


def _times(amount: Expression, factor: Fraction) -> Expression:
    if isinstance(amount.node, Num):
        return Expression(_scaled(amount.node, factor))
    return Expression(Op("mul", (amount.node, Num(factor))))


def unitless(quantity: Quantity, other: Expression) -> Expression:
    """The amount beside a number that names no unit; degrees as radians beside a multiple of pi."""
    if quantity.unit == DEGREE and Sym("pi") in walk(other.node):
        return Expression(radians(quantity))
    return quantity.amount


_UNIT_LETTERS = "mgshlLVNJWKAT"


def with_unit(gold: Quantity, answer: Expression) -> Quantity | None:
    """``5m`` as five metres, where the gold answer has a unit and the last letter names one."""
    power = Fraction(1)
    match answer.node:
        case Op("mul", (*before, Op("pow", (Sym(letter), Num(value=power))))):
            pass
        case Op("mul", (*before, Sym(letter))):
            pass
        case _:
            return None
    if not gold.unit.measured or letter not in _UNIT_LETTERS or power not in (1, 2, 3):
        return None
    amount = folded(Op("mul", tuple(before)) if len(before) > 1 else before[0])
    return Quantity(amount, unit_of(f"{letter} ^{power}"))


def same_amount(gold: Expression, answer: Expression, terms: Terms) -> MatchResult:
    """Two numbers exactly, expressions by the leaf unless their values are plainly apart."""
    if isinstance(gold.node, Num) and isinstance(answer.node, Num):
        return same_number(
            gold.node, answer.node, (gold.percent, answer.percent), terms.exact_digits
        )
    first, second = node_of(gold), node_of(answer)
    if first == second:
        return outcome(True, "expression")
    if gold.percent == answer.percent and _plainly_apart(first, second):
        return outcome(False, "expression", "their values differ")
    return terms.leaf(gold, answer)


def _plainly_apart(first: Node, second: Node) -> bool:
    """Whether two expressions differ at one point by more than any precision allows."""
    names = symbols(first) | symbols(second)
    if names & {"C", "K", "c"}:
        return False
    point = {name: 1.37 + 0.61 * place for place, name in enumerate(sorted(names))}
    left, right = approximate(first, point), approximate(second, point)
    if left is None or right is None or not abs(left) < 1e12:
        return False
    return abs(left - right) > 0.06 * max(abs(left), abs(right))


def components(node: Node) -> tuple[Node, ...] | None:
    """The coefficients of ``2i - 3j + k``, the coordinates of ``C(2, 3)``; None for no vector."""
    match node:
        case Op("call", (Sym("C"), *coordinates)):
            return tuple(coordinates)
    found: dict[str, Node] = {}
    for term in node.args if isinstance(node, Op) and node.name == "add" else (node,):
        factors = term.args if isinstance(term, Op) and term.name == "mul" else (term,)
        axes = [one.name for one in factors if isinstance(one, Sym) and one.name in "ijk"]
        rest = tuple(one for one in factors if not (isinstance(one, Sym) and one.name in "ijk"))
        if len(axes) != 1 or axes[0] in found:
            return None
        found[axes[0]] = Op("mul", rest) if rest else Num(Fraction(1))
    if "j" not in found:
        return None
    return tuple(found.get(axis, Num(Fraction(0))) for axis in ("ijk" if "k" in found else "ij"))


def same_clock(gold: Clock, answer: Clock) -> MatchResult:
    """The same time; where only one side says the half of the day, the other may mean either."""
    if gold.half_known != answer.half_known:
        bare = answer if gold.half_known else gold
        if bare.seconds < 13 * 3600:
            return outcome(gold.seconds % 43_200 == answer.seconds % 43_200, "time", "another time")
    return outcome(gold.seconds == answer.seconds, "time", "another time")


def same_date(gold: Date, answer: Date) -> MatchResult:
    same_year = gold.year is None or answer.year is None or gold.year == answer.year
    return outcome(same_year and (gold.month, gold.day) == (answer.month, answer.day), "date")


def ratio_of(clock: Clock) -> Ratio:
    """``3:20`` as a ratio of two numbers."""
    hours, rest = divmod(clock.seconds, 3600)
    return Ratio(tuple(Expression(Num(Fraction(part))) for part in (hours, rest // 60)))


def quotient(ratio: Ratio) -> Expression | None:
    """The value of a ratio of two numbers."""
    match ratio.parts:
        case (Expression() as top, Expression(bottom)) if bottom != Num(Fraction(0)):
            return folded(Op("div", (node_of(top), node_of(ratio.parts[1]))))
    return None


def same_residues(gold: Residues, answer: Residues) -> MatchResult:
    modulus = math.lcm(gold.modulus, answer.modulus)
    if modulus > 10**6:
        return outcome(False, "congruence", "two moduli that are too large")
    lifted = [
        {value + step for value in one.values for step in range(0, modulus, one.modulus)}
        for one in (gold, answer)
    ]
    return outcome(lifted[0] == lifted[1], "congruence")


def progression(node: Node) -> Residues | None:
    """``7k + 3`` as its residues."""
    names = symbols(node)
    if len(names) != 1:
        return None
    name = names.pop()
    values = [rational(with_values(node, {name: Num(Fraction(k))})) for k in range(3)]
    known = [int(value) for value in values if value is not None and value.denominator == 1]
    if len(known) < 3 or known[2] - known[1] != known[1] - known[0]:
        return None
    step = abs(known[1] - known[0])
    return Residues(frozenset({known[0] % step}), step, True) if 1 < step < 10**5 else None
