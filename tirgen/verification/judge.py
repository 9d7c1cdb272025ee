"""The layers of verification, cheapest first, over two extracted answers.

Equal strings, guards, exact rationals, shapes compared part by part, equations and assignments,
words, units, bases: all without a parser of mathematics. What is left goes to `symbolic`, which the
caller supplies: math-verify inside a worker process, or a refusal that says a worker is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from storage.records import Verdict
from tirgen.verification import words
from tirgen.verification.guards import dangerous, deceptive, too_long
from tirgen.verification.normalise import normalise, plain
from tirgen.verification.rationals import parse_rational, same_number
from tirgen.verification.structure import Kind, Shape, shape_of, split_outside
from tirgen.verification.units import DEGREES, Unit, letter_unit, split_unit

Symbolic = Callable[[str, str], Verdict]
"""Decides two scalar expressions, gold first."""

_MAX_PARTS = 32
_HEDGE = re.compile(
    r"\?|\.\.\.|\\[lcd]?dots|\b(?:maybe|possibly|probably|either|perhaps|could|might"
    r"|not(?! exist)|unless|if|otherwise|guess|unknown|around|roughly|instead|but|wrong|correct"
    r"|ignore|gold)\b",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"^(?:\\text\{)?\s*(?:the\s+)?(?:final\s+)?answer\s*(?:is|:)\s*\}?\s*", re.IGNORECASE
)
_EQUALS = re.compile(r"(?<![<>!\\:])=(?!=)")
_RELATION = re.compile(r"[<>]|\\(?:le|ge|ne|equiv|approx|mid|in)(?![a-zA-Z])")
_CONSTANTS = {"\\pi", "\\infty", "e", "i", "\\emptyset"}
_NAME = re.compile(
    r"(?:[a-zA-Z]|\\[a-zA-Z]+|\\text\{[^{}]*\}|[a-zA-Z]{3,})(?: ?_ ?\{[^{}]*\})?'?"
    r"(?: ?\([a-zA-Z0-9, ]*\))?"
)
_BASE = re.compile(
    r"\(?([0-9A-Fa-f]+)\)?"
    r"(?: ?_ ?\{ ?([a-z0-9]+) ?\}| ?(?:\\text\{)? ?\(?base ?\}? ?(\w+) ?\)?\}?)?"
)
_BASES = dict(
    two=2, three=3, four=4, five=5, six=6, seven=7, eight=8, nine=9, ten=10, twelve=12, sixteen=16
)


def judge(gold: str, answer: str, symbolic: Symbolic) -> Verdict:
    """Is `answer` the same as `gold`? Both as extracted, without their boxes."""
    if gold.strip() == answer.strip():
        return Verdict(correct=True, method="equal", reason=f"{_brief(answer)} as given")
    if why := too_long(gold, answer):
        return Verdict(correct=False, method="guard", reason=why)
    left, right = normalise(gold), normalise(answer)
    if _spelling(left) == _spelling(right):
        return Verdict(correct=True, method="equal", reason=f"{_brief(answer)} as given")
    if why := deceptive(answer) or dangerous(right) or dangerous(left):
        return Verdict(correct=False, method="guard", reason=why)
    hedge = _HEDGE.search(right)
    if hedge and not _HEDGE.search(left):
        return _wrong("hedge", gold, answer, f"the answer says {hedge[0]!r}")
    return _compare(left, right, symbolic)


def _compare(gold: str, answer: str, symbolic: Symbolic) -> Verdict:
    gold, answer = words.translated(_bare(gold)), words.translated(_bare(answer))
    if _spelling(gold) == _spelling(answer):
        return _right("equal", gold, answer)
    return (
        _exact(gold, answer)
        or _choices(gold, answer)
        or _shapes(shape_of(gold), shape_of(answer), symbolic)
        or _equations(gold, answer, symbolic)
        or _phrases(gold, answer)
        or _bases(gold, answer)
        or _relations(gold, answer)
        or _quantities(gold, answer, symbolic)
        or symbolic(gold, answer)
    )


def _bare(text: str) -> str:
    """Without what adds nothing: a leading plus, an approximation sign, brackets around it all."""
    text = _PREAMBLE.sub("", text)
    return normalise(re.sub(r"^\s*(?:\\approx|\\sim|=|\+(?=\s*[\d\\]))\s*", "", text))


def _exact(gold: str, answer: str) -> Verdict | None:
    left, right = parse_rational(gold), parse_rational(answer)
    if left is None or right is None:
        return None
    return (_right if same_number(left, right) else _wrong)("exact", gold, answer)


def _choices(gold: str, answer: str) -> Verdict | None:
    wanted = words.choice(gold)
    given = words.chosen(answer)
    if wanted is None or given is None:
        return None
    return (_right if wanted == given else _wrong)("choice", gold, answer)


def _phrases(gold: str, answer: str) -> Verdict | None:
    left, right = words.phrase(gold), words.phrase(answer)
    if left is None and right is None:
        return None
    if words.spoken(gold) is not None and words.spoken(gold) == words.spoken(answer):
        return _right("text", gold, answer)
    if left is None and split_unit(answer)[1] is not None:
        return None
    return _wrong("text", gold, answer)


def _bases(gold: str, answer: str) -> Verdict | None:
    left, right = _BASE.fullmatch(gold), _BASE.fullmatch(answer)
    if left is None or right is None:
        return None
    left_base, right_base = left[2] or left[3], right[2] or right[3]
    if left_base is None and right_base is None:
        return None
    if left_base is None or right_base is None:
        same = left[1].lower() == right[1].lower()
    else:
        first, second = _in_base(left[1], left_base), _in_base(right[1], right_base)
        same = first is not None and first == second
    return (_right if same else _wrong)("base", gold, answer)


def _relations(gold: str, answer: str) -> Verdict | None:
    """A relation is never equal to a value: ``x > 2`` says too little where 3 is asked."""
    if bool(_RELATION.search(gold)) == bool(_RELATION.search(answer)):
        return None
    return _wrong("relation", gold, answer)


def _in_base(digits: str, base: str) -> int | None:
    radix = _BASES.get(base) or (int(base) if base.isdigit() else 0)
    try:
        return int(digits, radix) if 2 <= radix <= 36 else None
    except ValueError:
        return None


def _quantities(gold: str, answer: str, symbolic: Symbolic) -> Verdict | None:
    """Numbers with units: the same without them, or after conversion where both name one."""
    (left, left_unit), (right, right_unit) = split_unit(gold), split_unit(answer)
    if left_unit is None and right_unit is None:
        return None
    if left_unit is None:
        left, left_unit = letter_unit(left)
    if right_unit is None:
        right, right_unit = letter_unit(right)
    if left_unit and right_unit and _conflict(left_unit, right_unit):
        return _converted(gold, answer, (left, left_unit), (right, right_unit))
    if left_unit == DEGREES and "\\pi" in right:
        left = rf"\frac{{{left}\pi}}{{180}}"
    inner = _compare(left, right, symbolic)
    return Verdict(correct=inner.correct, method=inner.method, reason=f"{inner.reason} (units)")


def _conflict(left: Unit, right: Unit) -> bool:
    """Two different units; a bare "square units" agrees with any."""
    return bool(left.dimensions and right.dimensions) and left != right


def _converted(
    gold: str, answer: str, left: tuple[str, Unit], right: tuple[str, Unit]
) -> Verdict | None:
    first, second = parse_rational(normalise(left[0])), parse_rational(normalise(right[0]))
    same = (
        left[1].dimensions == right[1].dimensions
        and first is not None
        and second is not None
        and first.value * left[1].factor == second.value * right[1].factor
    )
    return (_right if same else _wrong)("units", gold, answer)


def _equations(gold: str, answer: str, symbolic: Symbolic) -> Verdict | None:
    """Assignments compared by value, equations as equations, chains link by link."""
    (gold_name, gold_values), (name, values) = _sides(gold), _sides(answer)
    if gold_name is name is None and len(gold_values) == len(values) == 1:
        return None
    if len(gold_values) > 1 or (len(values) > 1 and gold_name and _has_variable(gold_values[0])):
        return symbolic(gold, answer)
    if gold_name and name and _contradict(gold_name, name):
        if _has_variable(gold_values[0]) and len(values) == 1:
            return symbolic(gold, answer)
        return _wrong("name", gold, answer, f"{name} where {gold_name} was asked")
    verdicts = [_compare(gold_values[0], value, symbolic) for value in values]
    return next((verdict for verdict in verdicts if not verdict.correct), verdicts[-1])


def _sides(text: str) -> tuple[str | None, list[str]]:
    """(the name being assigned, the values it is said to equal)."""
    parts = split_outside(text, _EQUALS)
    if len(parts) > 1 and _is_name(parts[0]):
        return parts[0], parts[1:]
    if len(parts) > 1 and _is_name(parts[-1]):
        return parts[-1], parts[:-1]
    return None, parts


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and text not in _CONSTANTS


def _has_variable(text: str) -> bool:
    return bool(re.search(r"(?<![a-zA-Z\\])[a-df-hj-zA-Z](?![a-zA-Z])", text))


def _contradict(first: str, second: str) -> bool:
    """Two single letters that are not the same one; functions and words may be renamed."""
    return len(first) == len(second) == 1 and first.lower() != second.lower()


def _shapes(gold: Shape, answer: Shape, symbolic: Symbolic) -> Verdict | None:
    if gold.kind is answer.kind is Kind.SCALAR:
        return None
    if Kind.SCALAR in (gold.kind, answer.kind):
        return _one_against_many(gold, answer, symbolic)
    left, right = _shown(gold), _shown(answer)
    if not _comparable(gold, answer) or len(gold.parts) != len(answer.parts):
        return _wrong("shape", left, right, f"{gold.kind} {left} vs {answer.kind} {right}")
    if len(gold.parts) > _MAX_PARTS:
        return _wrong("guard", left, right, f"more than {_MAX_PARTS} parts")
    unordered = gold.kind in (Kind.LIST, Kind.SET, Kind.UNION) and answer.kind is not Kind.TUPLE
    matched = (_match_any if unordered else _match_each)(gold.parts, answer.parts, symbolic)
    return (_right if matched else _wrong)(gold.kind.value, left, right)


def _one_against_many(gold: Shape, answer: Shape, symbolic: Symbolic) -> Verdict | None:
    """A list is one answer only if every member of it is that answer; the rest is hedging."""
    if gold.kind is Kind.SCALAR and answer.kind is Kind.LIST:
        verdicts = [_compare(gold.parts[0], part, symbolic) for part in answer.parts[:_MAX_PARTS]]
        if all(verdict.correct for verdict in verdicts):
            return verdicts[0]
        return _wrong("hedge", gold.parts[0], _shown(answer), "several answers where one was asked")
    if gold.kind is Kind.LIST or (answer.kind is Kind.SET and len(answer.parts) > 1):
        return _wrong("shape", _shown(gold), _shown(answer))
    if gold.kind is Kind.SET and len(gold.parts) == 1:
        return _compare(gold.parts[0], answer.parts[0], symbolic)
    if answer.kind is Kind.SET and len(answer.parts) == 1:
        return _compare(gold.parts[0], answer.parts[0], symbolic)
    return None


def _comparable(gold: Shape, answer: Shape) -> bool:
    """Kinds that can mean the same: a list is written as a set or, in order, as a tuple."""
    kinds = {gold.kind, answer.kind}
    if kinds == {Kind.INTERVAL}:
        return gold.closed == answer.closed
    if kinds == {Kind.INTERVAL, Kind.TUPLE}:
        return gold.closed == answer.closed == (False, False)
    if kinds == {Kind.MATRIX}:
        return gold.columns == answer.columns
    if gold.kind is Kind.MATRIX and answer.kind is Kind.TUPLE:
        return gold.columns == 1
    return len(kinds) == 1 or kinds in ({Kind.LIST, Kind.SET}, {Kind.LIST, Kind.TUPLE})


def _match_each(gold: tuple[str, ...], answer: tuple[str, ...], symbolic: Symbolic) -> bool:
    return all(
        _compare(left, right, symbolic).correct for left, right in zip(gold, answer, strict=True)
    )


def _match_any(gold: tuple[str, ...], answer: tuple[str, ...], symbolic: Symbolic) -> bool:
    """A one-to-one matching; equality being transitive, taking the first match is enough."""
    left = list(answer)
    for part in gold:
        same = [o for o in left if _spelling(o) == _spelling(part)]
        found = next(
            (other for other in same or left if _compare(part, other, symbolic).correct), None
        )
        if found is None:
            return False
        left.remove(found)
    return True


def _shown(shape: Shape) -> str:
    return ", ".join(shape.parts)


def _spelling(text: str) -> str:
    """What decides whether two normalised answers are spelled the same."""
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", text)
    return re.sub(r"\s+", "", re.sub(r"(?<=\d)\s+(?=\d)", "|", text))


def _brief(text: str) -> str:
    text = plain(text) if "\\text" in text else text
    return text if len(text) <= 60 else text[:57] + "..."


def _right(method: str, gold: str, answer: str) -> Verdict:
    return Verdict(correct=True, method=method, reason=f"{_brief(gold)} = {_brief(answer)}")


def _wrong(method: str, gold: str, answer: str, why: str = "") -> Verdict:
    reason = f"{method}: {_brief(gold)} vs {_brief(answer)}"
    return Verdict(correct=False, method=method, reason=f"{reason}; {why}" if why else reason)
