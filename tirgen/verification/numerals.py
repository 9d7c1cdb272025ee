"""Numbers in English words: ``twenty-five``, ``one hundred and four``, ``three fifths``."""

from __future__ import annotations

import re

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {name: value for value, name in enumerate(_ONES)}
_VALUES |= {name: 10 * decade for decade, name in enumerate(_TENS, 2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_PARTS = {
    "half": 2, "third": 3, "fourth": 4, "quarter": 4, "fifth": 5, "sixth": 6, "seventh": 7,
    "eighth": 8, "ninth": 9, "tenth": 10,
}  # fmt: skip


def in_digits(phrase: str) -> str | None:
    """A lower-case phrase as a number in digits, or None if it is no number."""
    sign = re.match(r"\s*(?:negative|minus) ", phrase)
    phrase = phrase[sign.end() :] if sign else phrase
    words = [word for word in re.split(r"[- ]+", phrase.strip()) if word != "and"]
    part = _PARTS.get(words[-1].removesuffix("s").replace("halve", "half")) if words else None
    number = _whole(words[:-1] if part else words)
    if number is None:
        return None
    value = rf"\frac{{{number}}}{{{part}}}" if part else str(number)
    return f"-{value}" if sign else value


def _whole(words: list[str]) -> int | None:
    """Groups below a thousand, each followed by its scale; ten words at most."""
    total = group = 0
    last = 10**12
    if not 0 < len(words) <= 10:
        return None
    for word in words:
        if word in _SCALES:
            scale = _SCALES[word]
            group = max(group, 1) * scale
            if scale > 100:
                total, group = total + group, 0
            last = 10**12
        elif word in _VALUES and _fits(_VALUES[word], last):
            group += _VALUES[word]
            last = _VALUES[word]
        else:
            return None
    return total + group


def _fits(value: int, after: int) -> bool:
    """``twenty five`` is one number, ``five twenty`` and ``five six`` are two."""
    return after == 10**12 or (after >= 20 and 0 < value < 10)
