"""Assignments compared by value, equations as equations, chains link by link."""

from __future__ import annotations

import re

from storage.records import Verdict
from tirgen.verification.parts import split_outside
from tirgen.verification.verdicts import Compare, wrong

_EQUALS = re.compile(r"(?<![<>!\\:])=(?!=)")
_CONSTANTS = {"\\pi", "\\infty", "e", "i", "\\emptyset"}
_SYMBOL = (
    r"(?:\\frac ?\{ ?d ?[a-zA-Z]? ?\} ?\{ ?d ?[a-zA-Z] ?\}"
    r"|[a-zA-Z] ?\^ ?\{ ?(?:-1|\(\w\)) ?\}|[a-zA-Z]"
    r"|\\(?:vec|hat|bar|overrightarrow) ?\{ ?[a-zA-Z]+ ?\}"
    r"|\\(?!frac|sqrt|text|begin)[a-zA-Z]+|\\text\{[^{}]*\})"
    r"(?: ?_ ?\{[^{}]*\})?'*(?: ?\([a-zA-Z0-9, ]*\))?"
)
_NAME = re.compile(_SYMBOL)
_SEGMENT = re.compile(r"[A-Z]{2}")
_DERIVATIVE_OF = re.compile(r"^\\frac ?\{ ?d ?\} ?\{ ?d ?[a-zA-Z] ?\} ?(?=[a-zA-Z])")
_WORD = re.compile(r"[a-zA-Z]{3,}")
_POINT = re.compile(rf"\(({_SYMBOL}(?: ?, ?{_SYMBOL})+)\)")
_LETTERS = re.compile(
    r"\\(?:alpha|beta|theta|lambda|mu|angle)|(?<![a-zA-Z\\])[a-zA-Z]|(?<=[A-Z])[A-Z]"
)
_OPERATION = re.compile(r"[-+/^!\d]|\\(?:sqrt|frac|sin|cos|tan|log|ln|exp)(?![a-z])")
_INDEXED = re.compile(rf"(?:{_LETTERS.pattern})(?: ?_ ?\{{[^{{}}]*\}})?")
_APPLIED = re.compile(rf"(?<![a-zA-Z\\])(?:{_INDEXED.pattern})'?\([^()]*\)")
_TEXT = re.compile(r"\\text\{[^{}]*\}")
_VARIABLE = re.compile(r"(?<![a-zA-Z\\])[a-df-hj-zA-Z](?![a-zA-Z])")


def compare_equations(
    gold: str, answer: str, compare: Compare, symbolic: Compare
) -> Verdict | None:
    """The verdict where at least one side is an equation, else None."""
    (gold_name, gold_values), (name, values) = _sides(gold), _sides(answer)
    if gold_name is name is None and len(gold_values) == len(values) == 1:
        return None
    if len(gold_values) > 1 or (len(values) > 1 and gold_name and _has_variable(gold_values[0])):
        return symbolic(gold, answer)
    if gold_name is None and len(values) > 1 and _is_label(values[0], gold_values[0]):
        values = values[1:]
    while gold_name is None and len(values) > 1 and _SEGMENT.fullmatch(values[0]):
        values = values[1:]
    if gold_name and name and _contradict(gold_name, name):
        if _has_variable(gold_values[0]) and len(values) == 1:
            return symbolic(gold, answer)
        return wrong("name", gold, answer, f"{name} where {gold_name} was asked")
    verdicts = [compare(gold_values[0], value) for value in values]
    return next((verdict for verdict in verdicts if not verdict.correct), verdicts[-1])


def _sides(text: str) -> tuple[str | None, list[str]]:
    """(the name being assigned, the values it is said to equal)."""
    parts = split_outside(text, _EQUALS)
    if len(parts) > 1 and (_is_name(parts[0]) or _WORD.fullmatch(parts[0])):
        return parts[0], parts[1:]
    if len(parts) > 1 and _is_name(parts[-1]):
        return parts[-1], parts[:-1]
    return None, parts


def _is_name(text: str) -> bool:
    text = _DERIVATIVE_OF.sub("", text)
    return bool(_NAME.fullmatch(text) or _POINT.fullmatch(text)) and text not in _CONSTANTS


def _is_label(text: str, gold: str) -> bool:
    """Whether the left side of ``AB = 7`` or ``f(1) + f(2) = 7`` only says what 7 is.

    ``7x = 7`` does not: it is an equation to be solved.
    """
    values, applied = re.subn(_APPLIED, "", text)
    if applied and not re.sub(r"\\frac|[-+/{} ]", "", values):
        return True
    if _LETTERS.search(_TEXT.sub("", gold)):
        return False
    bare = re.sub(r"\([^()]*\)|_ ?\{[^{}]*\}", "", text)
    letters = {match[0] for match in _INDEXED.finditer(re.sub(r"\([^()]*\)", "", text))}
    return len(letters) > 1 or (bool(letters) and not _OPERATION.search(bare))


def _has_variable(text: str) -> bool:
    return bool(_VARIABLE.search(text))


def _contradict(first: str, second: str) -> bool:
    """Two letters that are not the same one, or one point's coordinates in another order.

    Functions and words may be renamed.
    """
    if (left := _POINT.fullmatch(first)) and (right := _POINT.fullmatch(second)):
        return sorted(left[1]) == sorted(right[1]) and left[1] != right[1]
    return len(first) == len(second) == 1 and first.lower() != second.lower()
