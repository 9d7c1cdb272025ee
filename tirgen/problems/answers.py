"""The gold answer as published, freed from the solution or the number format around it."""

from __future__ import annotations

import math
import re
from decimal import Decimal

from tirgen.verification import extract_answer

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


class NoAnswer(ValueError):
    """The row has no gold answer; the message completes "this row ..."."""


def plain(value: object) -> str:
    """An answer column: text, a number, or a list of them (several right answers together)."""
    match value:
        case str() if value.strip():
            return value.strip()
        case bool():
            raise NoAnswer("has true or false for an answer")
        case int():
            return str(value)
        case float() | Decimal() if math.isfinite(value):
            return _number(value)
        case [_, *_]:
            return ", ".join(plain(item) for item in value)
        case None | str() | float() | Decimal() | []:
            raise NoAnswer("has no answer")
    raise NoAnswer(f"has an answer of a kind that cannot be read ({type(value).__name__})")


def after_hashes(value: object) -> str:
    """GSM8K's ``... #### 1,234``: the number after the marker, thousands separators removed."""
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
    r"""A column the user named: a solution that ends in ``####`` or a box, or a bare answer."""
    if isinstance(value, str) and "####" in value:
        return after_hashes(value)
    if isinstance(value, str) and "\\boxed" in value:
        return last_box(value)
    return plain(value)


def _number(value: float | Decimal) -> str:
    """27.0 is "27", 3.5 is "3.5", 1e+20 has its digits."""
    text = format(Decimal(repr(value) if isinstance(value, float) else value), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
