"""Times of day and calendar dates: ``6 P.M.`` is ``18:00``, ``June 20th`` is ``20 June``."""

from __future__ import annotations

import re

from tirgen.verification.values import Clock, Date

_CLOCK = re.compile(
    r"(?:at )?(\d{1,2})(?: ?: ?([0-5]\d))?(?: ?: ?([0-5]\d))? ?"
    r"(?:([ap])[ .]{0,2}m\b[ .]?|(noon|midnight))?",
    re.IGNORECASE,
)
_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september"),
    *("october", "november", "december"),
)
_MONTH = "(" + "|".join(rf"{month[:3]}(?:{month[3:]})?" for month in _MONTHS) + r")\.?"
_DAY = r"(\d{1,2})(?: ?(?:st|nd|rd|th))?"
_YEAR = r"(?: ?,? ?(\d{4}))?"
_MONTH_FIRST = re.compile(rf"{_MONTH} (?:the )?{_DAY}{_YEAR}", re.IGNORECASE)
_DAY_FIRST = re.compile(rf"(?:the )?{_DAY} (?:of )?{_MONTH}{_YEAR}", re.IGNORECASE)


def clock(text: str) -> Clock | None:
    """A time of day in digits, or a duration written like one; a bare hour is none."""
    if text.lower() in ("noon", "midnight"):
        text = f"12 {text}"
    match = _CLOCK.fullmatch(text)
    if match is None or int(match[1]) > 24:
        return None
    hour, minute, second = (int(field or 0) for field in match.groups()[:3])
    half = (match[4] or {"noon": "p", "midnight": "a"}.get((match[5] or "").lower(), "")).lower()
    fields = 1 + (match[2] is not None) + (match[3] is not None)
    if not half and fields == 1:
        return None
    if half and hour <= 12:
        hour = hour % 12 + 12 * (half == "p")
    return Clock(hour * 3600 + minute * 60 + second, fields, bool(half))


def date(text: str) -> Date | None:
    """A day of a month, perhaps with its year."""
    if match := _MONTH_FIRST.fullmatch(text):
        month, day, year = match.groups()
    elif match := _DAY_FIRST.fullmatch(text):
        day, month, year = match.groups()
    else:
        return None
    number = next(k for k, name in enumerate(_MONTHS, 1) if name.startswith(month.lower()[:3]))
    return Date(number, int(day), int(year) if year else None)
