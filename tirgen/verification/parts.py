"""What an answer of several parts is, and how text is taken apart at its outermost level."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from tirgen.verification.normalise import normalise


class Kind(StrEnum):
    SCALAR = "scalar"
    LIST = "list"
    SET = "set"
    TUPLE = "tuple"
    INTERVAL = "interval"
    UNION = "union"
    MATRIX = "matrix"
    CASES = "cases"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True)
class Shape:
    """An answer taken apart one level; `parts` are normalised answers themselves."""

    kind: Kind
    parts: tuple[str, ...]
    closed: tuple[bool, bool] = (False, False)
    """Of an interval: whether each end belongs to it."""
    columns: int = 0
    """Of a matrix."""


def split_top(text: str, separators: str = ",;") -> list[str]:
    """Split at separators outside every bracket; thousands separators are not separators."""
    parts, depth, start = [], 0, 0
    for position, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char in separators and depth == 0 and not _is_thousands(text, position):
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return [normalise(part) for part in parts]


def _is_thousands(text: str, comma: int) -> bool:
    if text[comma] != ",":
        return False
    before = re.search(r"(?:^|[^\d,.])\d{1,3}(?:,\d{3})*$", text[:comma])
    return bool(before and re.match(r"\d{3}(?!\d)", text[comma + 1 :]))


def split_outside(text: str, separator: re.Pattern[str]) -> list[str]:
    """Split at matches outside every bracket."""
    parts, start = [], 0
    for match in separator.finditer(text):
        if _balanced(text[start : match.start()]):
            parts.append(text[start : match.start()])
            start = match.end()
    parts.append(text[start:])
    return [normalise(part) for part in parts]


def _balanced(text: str) -> bool:
    return sum((char in "([{") - (char in ")]}") for char in text) == 0


def spans(text: str) -> bool:
    """The first bracket closes at the very end."""
    depth = 0
    for position, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0:
            return position == len(text) - 1
    return False
