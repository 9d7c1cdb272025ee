"""Answers of several parts: lists, sets, tuples, intervals, unions, matrices, cases, ratios.

Parts are compared by the caller's `compare`, which knows every layer.
"""

from __future__ import annotations

from storage.records import Verdict
from tirgen.verification.parts import Kind, Shape
from tirgen.verification.rationals import parse_rational
from tirgen.verification.verdicts import Compare, decided, spelling, wrong

_MAX_PARTS = 32
_UNORDERED = (Kind.LIST, Kind.SET, Kind.UNION, Kind.CASES)
_SYNONYMS = ({Kind.LIST, Kind.SET}, {Kind.LIST, Kind.TUPLE})
"""Kinds that can mean the same: a list is written as a set or, in order, as a tuple."""


def compare_shapes(gold: Shape, answer: Shape, compare: Compare) -> Verdict | None:
    """The verdict part by part, or None if both are scalars or one is best compared whole."""
    if gold.kind is answer.kind is Kind.SCALAR:
        return None
    if Kind.RATIO in (gold.kind, answer.kind):
        return _ratios(gold, answer, compare)
    if Kind.SCALAR in (gold.kind, answer.kind):
        return _one_against_many(gold, answer, compare)
    left, right = _shown(gold), _shown(answer)
    if not _comparable(gold, answer) or len(gold.parts) != len(answer.parts):
        return wrong("shape", left, right, f"{gold.kind} {left} vs {answer.kind} {right}")
    if len(gold.parts) > _MAX_PARTS:
        return wrong("guard", left, right, f"more than {_MAX_PARTS} parts")
    if pairs := _same_names(gold.parts, answer.parts):
        return decided(_match_each(*pairs, compare), gold.kind.value, left, right)
    unordered = gold.kind in _UNORDERED and answer.kind is not Kind.TUPLE
    matched = (_match_any if unordered else _match_each)(gold.parts, answer.parts, compare)
    return decided(matched, gold.kind.value, left, right)


def _ratios(gold: Shape, answer: Shape, compare: Compare) -> Verdict | None:
    r"""``2:4:6`` for ``1:2:3``, and ``a:b`` for ``\frac{a}{b}``."""
    if gold.kind is answer.kind:
        left, right = _shown(gold), _shown(answer)
        if len(gold.parts) != len(answer.parts):
            return wrong("ratio", left, right, "different numbers of terms")
        return decided(_proportional(gold.parts, answer.parts, compare), "ratio", left, right)
    if Kind.SCALAR in (gold.kind, answer.kind) and len(gold.parts) + len(answer.parts) == 3:
        return compare(_as_quotient(gold), _as_quotient(answer))
    return wrong("shape", _shown(gold), _shown(answer), f"{gold.kind} vs {answer.kind}")


def _proportional(gold: tuple[str, ...], answer: tuple[str, ...], compare: Compare) -> bool:
    if [spelling(part) for part in gold] == [spelling(part) for part in answer]:
        return True
    return all(
        compare(_quotient(gold[k], gold[0]), _quotient(answer[k], answer[0])).correct
        for k in range(1, len(gold))
    )


def _as_quotient(shape: Shape) -> str:
    return _quotient(*shape.parts) if shape.kind is Kind.RATIO else shape.parts[0]


def _quotient(top: str, bottom: str) -> str:
    first, second = parse_rational(top), parse_rational(bottom)
    if first and second and second.value:
        value = first.value / second.value
        return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
    return rf"\frac{{{top}}}{{{bottom}}}"


def _one_against_many(gold: Shape, answer: Shape, compare: Compare) -> Verdict | None:
    """A list is one answer only if every member of it is that answer; the rest is hedging."""
    if gold.kind is Kind.SCALAR and answer.kind is Kind.LIST:
        verdicts = [compare(gold.parts[0], part) for part in answer.parts[:_MAX_PARTS]]
        if all(verdict.correct for verdict in verdicts):
            return verdicts[0]
        return wrong("hedge", gold.parts[0], _shown(answer), "several answers where one was asked")
    if gold.kind is Kind.LIST or (answer.kind is Kind.SET and len(answer.parts) > 1):
        return wrong("shape", _shown(gold), _shown(answer))
    if Kind.CASES in (gold.kind, answer.kind):
        return wrong("shape", _shown(gold), _shown(answer), f"{gold.kind} vs {answer.kind}")
    if Kind.SET in (gold.kind, answer.kind) and len(gold.parts) == len(answer.parts) == 1:
        if "\\emptyset" in gold.parts + answer.parts:
            return wrong("shape", _shown(gold), _shown(answer), "the empty set is no member")
        if "\\{" in gold.parts[0] + answer.parts[0]:
            return wrong("shape", _shown(gold), _shown(answer), "a set is no member of itself")
        return compare(gold.parts[0], answer.parts[0])
    return None


def _comparable(gold: Shape, answer: Shape) -> bool:
    kinds = {gold.kind, answer.kind}
    if kinds == {Kind.INTERVAL}:
        return gold.closed == answer.closed
    if kinds == {Kind.INTERVAL, Kind.TUPLE}:
        return gold.closed == answer.closed == (False, False)
    if kinds == {Kind.MATRIX}:
        return gold.columns == answer.columns
    if kinds == {Kind.MATRIX, Kind.TUPLE}:
        matrix = gold if gold.kind is Kind.MATRIX else answer
        return matrix.columns in (1, len(matrix.parts))
    return len(kinds) == 1 or kinds in _SYNONYMS


def _same_names(
    gold: tuple[str, ...], answer: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Equations for the same different names, such as ``f(n) = n, g(n) = 1``, in one order."""
    asked, given = _by_name(gold), _by_name(answer)
    if asked.keys() != given.keys() or len(asked) < len(gold):
        return None
    return tuple(asked.values()), tuple(given[name] for name in asked)


def _by_name(parts: tuple[str, ...]) -> dict[str, str]:
    named = [part.partition("=") for part in parts]
    return {
        spelling(name): part for part, (name, sign, _) in zip(parts, named, strict=True) if sign
    }


def _match_each(gold: tuple[str, ...], answer: tuple[str, ...], compare: Compare) -> bool:
    return all(compare(left, right).correct for left, right in zip(gold, answer, strict=True))


def _match_any(gold: tuple[str, ...], answer: tuple[str, ...], compare: Compare) -> bool:
    """A one-to-one matching; equality being transitive, taking the first match is enough."""
    left = list(answer)
    for part in gold:
        same = [other for other in left if spelling(other) == spelling(part)]
        found = next((other for other in same or left if compare(part, other).correct), None)
        if found is None:
            return False
        left.remove(found)
    return True


def _shown(shape: Shape) -> str:
    return (":" if shape.kind is Kind.RATIO else ", ").join(shape.parts)
