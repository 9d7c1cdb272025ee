"""Extracts the gold answer from a published column: text, number, list or whole solution."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

from tirgen.data.errors import LeftOut, NoAnswer
from tirgen.verification import extract_answer, same_answer

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_COUNTED = re.compile(r"(?P<number>[-+]?[\d.,/]*\d%?)\s*\([A-Za-z][A-Za-z .'/-]*\)")
"""ASDiv's ``9 (apples)``. ``3 (mod 7)`` does not match: it has a digit in its brackets."""
NO_ANSWERS = frozenset({"proof", "notfound", "not found", "n/a", "nan", "null"})
"""What publishers write instead of a missing answer (NuminaMath-1.5, OpenR1-Math)."""


def plain(value: object) -> str:
    """The answer in a column of text, a number, or a list (several right answers together).

    Raises `NoAnswer`.
    """
    match value:
        case str() if value.strip():
            return _bare(value.strip())
        case bool():
            raise NoAnswer("has true or false for an answer")
        case int():
            return _digits(value)
        case float() | Decimal() if math.isfinite(value):
            return _number(value)
        case [_, *_]:
            return ", ".join(plain(item) for item in value)
        case None | str() | float() | Decimal() | []:
            raise NoAnswer("has no answer")
    raise NoAnswer(f"has an answer of a kind that cannot be read ({type(value).__name__})")


def any_of(value: object) -> str:
    """The ground truth of a rule-based reward: one answer, or several right alternatives.

    A column may hold alternatives as JSON text (Skywork-OR1's ``["84"]``). Alternatives that are
    equal become one; a row with different ones is left out, since a gold answer must be one.
    """
    value = _listed(value)
    if isinstance(value, dict):
        raise LeftOut("is judged by tests or a program, not by an answer")
    if not isinstance(value, list) or not value:
        return from_any(value)
    first, *others = [from_any(item) for item in value]
    if any(other != first and not same_answer(first, other) for other in others):
        raise LeftOut("accepts any of several different answers, and a gold answer is one")
    return first


def after_hashes(value: object) -> str:
    """GSM8K's ``... #### 1,234``: the number after the marker, without thousands separators."""
    _, marker, answer = plain(value).rpartition("####")
    if not marker or not answer.strip():
        raise NoAnswer('has no "#### answer" at its end')
    return _THOUSANDS.sub("", answer.strip())


def last_box(value: object) -> str:
    r"""MATH's and Minerva's: the content of the solution's last ``\boxed{}``."""
    answer = extract_answer(plain(value))
    if answer is None:
        raise NoAnswer("has a solution without a \\boxed{} answer")
    return answer


def from_any(value: object) -> str:
    r"""A column of solutions that end in ``####`` or a box, or of bare answers."""
    if isinstance(value, str) and "####" in value:
        return after_hashes(value)
    if isinstance(value, str) and "\\boxed" in value:
        return last_box(value)
    return plain(value)


def _bare(text: str) -> str:
    """Text without the counted thing. Raises `LeftOut` for a word that means "no answer"."""
    if text.lower().strip(".") in NO_ANSWERS:
        raise LeftOut(f"has {text!r} for an answer, which is none to verify")
    counted = _COUNTED.fullmatch(text)
    return counted["number"] if counted else text


def _listed(value: object) -> Any:
    """A list of strings or an object given as JSON text; a value like ``[1, 2]`` stays text."""
    if not isinstance(value, str) or value.strip()[:1] + value.strip()[-1:] not in ("[]", "{}"):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    quoted = isinstance(found, list) and found and all(isinstance(item, str) for item in found)
    return found if quoted or isinstance(found, dict) else value


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than Python prints
        raise NoAnswer("has an integer of more than 4,300 digits for an answer") from None


def _number(value: float | Decimal) -> str:
    """27.0 is "27", 3.5 is "3.5", 1e+20 has its digits."""
    text = format(Decimal(repr(value) if isinstance(value, float) else value), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
