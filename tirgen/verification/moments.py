"""Times of day and calendar dates: ``6 P.M.`` is ``18:00``, ``June 20th`` is ``20 June``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tirgen.verification.normalise import plain

_CLOCK = re.compile(
    r"(?:at )?(\d{1,2})(?: ?: ?([0-5]\d))? ?(?:([ap])[ .]{0,2}m\b[ .]?|(noon|midnight))?",
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


@dataclass(frozen=True, slots=True)
class Clock:
    minutes: int
    """Since midnight if the half of the day is known, else since some twelve o'clock."""
    half_known: bool
    digital: bool
    """Written with minutes, which a bare number is not."""


@dataclass(frozen=True, slots=True)
class Date:
    month: int
    day: int
    year: int | None


def same_moment(gold: str, answer: str) -> bool | None:
    """Whether two normalised answers name the same time or date; None if they are neither."""
    first, second = _clock(gold), _clock(answer)
    if first and second and (first.half_known or second.half_known or first.digital):
        return _same_clock(first, second)
    start, end = _date(gold), _date(answer)
    if start is None or end is None:
        return None
    same_year = start.year is None or end.year is None or start.year == end.year
    return same_year and (start.month, start.day) == (end.month, end.day)


def _same_clock(first: Clock, second: Clock) -> bool | None:
    if first.half_known == second.half_known:
        return first.minutes == second.minutes if first.half_known else None
    bare = second if first.half_known else first
    if not bare.digital:
        return None
    return first.minutes % 720 == second.minutes % 720


def _clock(text: str) -> Clock | None:
    words = plain(text)
    if words.lower() in ("noon", "midnight"):
        words = f"12 {words}"
    match = _CLOCK.fullmatch(words)
    if match is None or int(match[1]) > 24:
        return None
    hour, minute = int(match[1]), int(match[2] or 0)
    half = (match[3] or {"noon": "p", "midnight": "a"}.get((match[4] or "").lower(), "")).lower()
    if half and hour <= 12:
        return Clock((hour % 12 + 12 * (half == "p")) * 60 + minute, True, match[2] is not None)
    known = hour > 12 and match[2] is not None
    return Clock(hour * 60 + minute, known, match[2] is not None)


def _date(text: str) -> Date | None:
    words = plain(text)
    if match := _MONTH_FIRST.fullmatch(words):
        month, day, year = match.groups()
    elif match := _DAY_FIRST.fullmatch(words):
        day, month, year = match.groups()
    else:
        return None
    number = next(k for k, name in enumerate(_MONTHS, 1) if name.startswith(month.lower()[:3]))
    return Date(number, int(day), int(year) if year else None)
