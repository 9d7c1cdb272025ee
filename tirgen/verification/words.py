"""Answers in words: choice letters, names, yes and no, phrases that stand for mathematics."""

from __future__ import annotations

import re

from tirgen.verification.normalise import plain

_CHOICE = re.compile(r"^\(?([A-Z])\)?$")
_CHOSEN = re.compile(
    r"^(?:(?:the )?(?:correct )?(?:option|choice|answer)(?: is)?\s*:?\s*)?"
    r"(?:\(([A-Za-z])\)(?:\s.*)?|([A-Z]) ?(?:\)|\.|:)(?:\s?.*)?|([A-Za-z]))$",
    re.IGNORECASE | re.DOTALL,
)
_MARKERS = re.compile(r"\([A-Z]\)|\b[A-Z] ?[:.)]")
_WORDS = re.compile(r"^[A-Za-z][A-Za-z \-',.!/&]*$")
_SHORT = {"yes", "no", "odd", "even", "true", "none", "all", "dne", "red", "blue", "east", "west"}
_NUMERALS = {
    word: str(value)
    for value, word in enumerate(
        (
            *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
            *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
            *("seventeen", "eighteen", "nineteen", "twenty"),
        )
    )
}
_SYNONYMS = {
    "no solution": "\\emptyset",
    "no solutions": "\\emptyset",
    "no real solution": "\\emptyset",
    "no real solutions": "\\emptyset",
    "empty set": "\\emptyset",
    "\\{\\}": "\\emptyset",
    "dne": "does not exist",
    "all real numbers": "(-\\infty,\\infty)",
    "all reals": "(-\\infty,\\infty)",
    "\\mathbb{R}": "(-\\infty,\\infty)",
    "positive infinity": "\\infty",
    "negative infinity": "-\\infty",
}
_ARTICLES = re.compile(r"\b(?:the|a|an|on)\b ?")


def choice(text: str) -> str | None:
    """The letter if a gold answer is one choice, ``(B)`` or ``B``."""
    match = _CHOICE.match(plain(text))
    return match[1] if match else None


def chosen(text: str) -> str | None:
    """The letter an answer chooses: ``(b)``, ``B) 5``, ``Option B``, ``B: because``."""
    words = plain(text)
    match = _CHOSEN.match(words)
    if match is None or len(_MARKERS.findall(words)) > 1 or re.search(r"\bor\b", words):
        return None
    return next((group.upper() for group in match.groups() if group), None)


def translated(text: str) -> str:
    """Phrases with a mathematical meaning, and numerals up to twenty, in symbols."""
    phrase = plain(text).lower()
    if phrase in _NUMERALS:
        return _NUMERALS[phrase]
    return _SYNONYMS.get(phrase, _SYNONYMS.get(text.strip(), text))


def phrase(text: str) -> str | None:
    """The answer as comparable words, or None if it is mathematics."""
    words = plain(text)
    long_word = re.search(r"[A-Za-z]{4,}", words)
    if "\\text{" not in text and not long_word and words.lower() not in _SHORT:
        return None
    return spoken(text)


def spoken(text: str) -> str | None:
    """The answer read as words, mathematics or not; None if it is more than letters."""
    words = plain(text)
    if not _WORDS.match(words):
        return None
    return _ARTICLES.sub("", re.sub(r"[^a-z0-9]+", " ", words.lower())).strip()
