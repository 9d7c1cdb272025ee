"""The leaves of comparisons: expressions, equations and what lies beyond the grammar.

For worker processes only. Expressions of the grammar are evaluated (`evaluate`); sums, integrals
and limits are read by math-verify, and both can take any time and memory (`worker` limits them).
"""

from __future__ import annotations

import logging
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

import math_verify
import mpmath  # type: ignore[import-untyped]
import sympy
from latex2sympy2_extended.math_normalization import NormalizationConfig

from tirgen.verification.evaluate import NoValue, both_at, identical, same_zeros
from tirgen.verification.literals import node_of
from tirgen.verification.matching import MatchResult, outcome, undecided
from tirgen.verification.scalars import precise, stands_for_exact, tolerance
from tirgen.verification.show import latex, said
from tirgen.verification.values import (
    Expression,
    Named,
    Node,
    Num,
    Op,
    Opaque,
    Quantity,
    Relation,
    Sym,
    Value,
    symbols,
)

_EXTRACTION = math_verify.LatexExtractionConfig(
    boxed_match_priority=0,
    normalization_config=NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all"
    ),
)
_PLACES = 12
"""Decimal places to which math-verify compares decimals; fewer would accept a rounded answer."""
logging.getLogger("math_verify").setLevel(logging.CRITICAL)
logging.getLogger("latex2sympy2_extended").setLevel(logging.CRITICAL)


def decide(gold: Value, answer: Value, exact_digits: int | None = None) -> MatchResult:
    """Decide two expressions, equations or unread mathematics, gold first.

    `exact_digits` is that of `Terms`.
    """
    if (
        isinstance(gold, Relation)
        and isinstance(answer, Relation)
        and (isinstance(gold.sides[0], Expression) and isinstance(answer.sides[0], Expression))
    ):
        same = same_zeros(gold.sides[0].node, answer.sides[0].node)
        return outcome(same, "curve", "another equation")
    if isinstance(gold, Expression) and isinstance(answer, Expression):
        return _expressions(gold, answer, exact_digits)
    return _unread(gold, answer, exact_digits)


def _expressions(gold: Expression, answer: Expression, exact_digits: int | None) -> MatchResult:
    first, second = node_of(gold), node_of(answer)
    for rounded, exact in ((gold, second), (answer, first)):
        if isinstance(rounded.node, Num) and rounded.node.unit is not None:
            allowed = (
                _off_as_gold(rounded.node)
                if rounded is gold
                else _off_as_answer(rounded.node, exact_digits)
            )
            near = _near(rounded, exact, allowed)
            return outcome(near, "number", "not equal at that precision")
    constants = _without_added_constant(first), _without_added_constant(second)
    if constants[0] and constants[1]:
        same = identical(constants[0], constants[1], up_to_constant=True)
        return outcome(bool(same), "expression", "another function")
    same = identical(first, second)
    if same is None and identical(first, first) is None:
        return undecided("the gold answer has no value that can be computed")
    return outcome(bool(same), "expression", "not equal where both are evaluated")


def _near(rounded: Expression, exact: Node, allowed: Fraction) -> bool:
    """Whether a decimal is a rounding of an exact value."""
    try:
        left, right, _ = both_at(node_of(rounded), exact, {})
    except NoValue:
        return False
    if rounded.percent:
        allowed /= 100
    return bool(abs(left - right) <= mpmath.mpf(allowed.numerator) / allowed.denominator)


def _off_as_gold(decimal: Num) -> Fraction:
    """What a gold decimal may be off by."""
    assert decimal.unit is not None
    allowed = decimal.unit / 2 if decimal.digits >= 2 else Fraction(0)
    return max(allowed, tolerance(decimal) if precise(decimal) else Fraction(0))


def _off_as_answer(decimal: Num, exact_digits: int | None) -> Fraction:
    """What the decimal of an answer may be off by, of an exact value."""
    return tolerance(decimal) if stands_for_exact(decimal, exact_digits) else Fraction(0)


def _without_added_constant(node: Node) -> Node | None:
    """An antiderivative without its ``+ C``, where C occurs nowhere else."""
    match node:
        case Op("add", args):
            for place, arg in enumerate(args):
                if arg in (Sym("C"), Sym("K"), Sym("c")):
                    rest = args[:place] + args[place + 1 :]
                    if rest and not any(
                        str(getattr(arg, "name", "")) in symbols(one) for one in rest
                    ):
                        return Op("add", rest) if symbols(Op("add", rest)) else None
    return None


# -- what lies beyond the grammar


def _unread(gold: Value, answer: Value, exact_digits: int | None) -> MatchResult:
    left = _parsed(_source(gold))
    if not left:
        return undecided("it is no mathematics that can be read")
    right = _parsed(_source(answer))
    if not right:
        return outcome(False, "math-verify", "no mathematics that can be read")
    if not _same_variables(left[0], right[0]):
        return outcome(False, "name", "other variables than were asked")
    allowed = Fraction(0)
    match answer:
        case Expression(Num(unit=Fraction()) as decimal):
            allowed = _off_as_answer(decimal, exact_digits)
    same = math_verify.verify(left, right, float_rounding=_PLACES, timeout_seconds=None)
    near = bool(same) or _same_value(left[0], right[0], allowed)
    return outcome(near, "math-verify", "not equal")


def _same_variables(left: Any, right: Any) -> bool:
    try:
        return bool(left.free_symbols == right.free_symbols)
    except AttributeError:
        return True


def _same_value(left: Any, right: Any, allowed: Fraction) -> bool:
    """Whether two numbers agree to 30 digits, or are at most `allowed` apart."""
    if not (isinstance(left, sympy.Expr) and isinstance(right, sympy.Expr)):
        return False
    if left.free_symbols:
        return False
    first, second = sympy.N(left.doit(), 50), sympy.N(right.doit(), 50)
    if not (first.is_number and second.is_number and first.is_finite and second.is_finite):
        return False
    noise = abs(first) * sympy.Rational(1, 10**30)
    return bool(abs(first - second) <= max(noise, sympy.Rational(allowed)))


def _source(value: Value) -> str:
    match value:
        case Opaque(text):
            return re.sub(r"\\(?:text|mathrm)\{[^{}]*\}", " ", text)
        case Expression(node):
            return latex(node)
        case Quantity(amount, _) | Named(_, amount):
            return _source(amount)
        case Relation(sides, signs):
            return f" {signs[0]} ".join(map(_source, sides))
    return said(value)


@lru_cache(maxsize=512)
def _parsed(text: str) -> list[Any]:
    parsed = math_verify.parse(
        f"\\boxed{{{text}}}", [_EXTRACTION], fallback_mode="no_fallback", parsing_timeout=None
    )
    return list(parsed)
