"""Answers in words: choice letters, names, yes and no, phrases that stand for mathematics."""

from __future__ import annotations

import re

from tirgen.verification.normalise import plain

_LABELLED = re.compile(r"^(?:\(([A-Z])\)|([A-Z])(?=$|\)| ?[.:] ))[).:]? ?(.*)$", re.DOTALL)
_LETTERS = re.compile(r"\(?[A-H]\)?(?:(?: ?, ?| ?& ?| )?(?:and )?\(?[A-H]\)?)+")
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
_DECADES = {
    name: decade
    for decade, name in enumerate(
        ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 2
    )
}
_PARTS = {
    "half": 2, "halve": 2, "third": 3, "fourth": 4, "quarter": 4, "fifth": 5, "sixth": 6,
    "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10,
}  # fmt: skip
_TENS = re.compile(rf"({'|'.join(_DECADES)})(?:[- ]({'|'.join(list(_NUMERALS)[1:10])}))?")
_FRACTION = re.compile(rf"({'|'.join(_NUMERALS)})[- ]({'|'.join(_PARTS)})s?")
_SYNONYMS = {
    "none": "\\emptyset",
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
    "infinitely many": "\\infty",
    "infinitely many solutions": "\\infty",
    "diverges to \\infty": "\\infty",
    "tends to \\infty": "\\infty",
    "infinite": "\\infty",
    "negative infinity": "-\\infty",
}
_KIND = re.compile(r"(?<=[a-z]) (?:functions?|numbers?|triangles?|curves?|lines?|ones?)$")
"""What an answer is a kind of: ``odd function`` says ``odd``."""
_WEEKDAY = re.compile(r"\b(mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}day\b|\b(?:tues|thurs?)\b")
_SUBJECT = re.compile(
    r"^(?:the )?(?:series|integral|sequence|limit|statement|function|graph) (?:is )?(?=[a-z]+$)",
    re.IGNORECASE,
)
_AFFIRMATION = re.compile(r"(yes|no|true|false)[,.;:] (.*)", re.IGNORECASE | re.DOTALL)
_AFFIRMED = re.compile(r"\b(?:yes|no|true|false|not)\b|\d", re.IGNORECASE)
_ARTICLES = re.compile(r"\b(?:the|a|an|on)\b ?")


def labelled(text: str) -> tuple[str, str] | None:
    """(letter, text) of one choice: ``(B)``, ``B``, ``(E) 20``; None if it is none."""
    match = _LABELLED.match(plain(text))
    if match is None or _MARKERS.search(match[3]):
        return None
    return match[1] or match[2], match[3].strip()


def letters(text: str) -> frozenset[str] | None:
    """Several choice letters: ``A, B and D``, ``(A), (D)``, or in an answer ``ABD``."""
    words = plain(text)
    if not _LETTERS.fullmatch(words):
        return None
    return frozenset(re.findall(r"[A-H]", re.sub(r"\band\b", "", words)))


def chosen(text: str) -> str | None:
    """The letter an answer chooses: ``(b)``, ``B) 5``, ``Option B``, ``B: because``."""
    words = plain(text)
    match = _CHOSEN.match(words)
    if match is None or len(_MARKERS.findall(words)) > 1 or re.search(r"\bor\b", words):
        return None
    return next((group.upper() for group in match.groups() if group), None)


def translated(text: str) -> str:
    """Phrases with a mathematical meaning, and numerals up to twenty, in symbols."""
    text = _SUBJECT.sub("", text)
    phrase = re.sub(r"^there (?:is|are) ", "", plain(text).lower())
    if number := _FRACTION.fullmatch(phrase):
        return rf"\frac{{{_NUMERALS[number[1]]}}}{{{_PARTS[number[2].removesuffix('s')]}}}"
    if number := _TENS.fullmatch(phrase):
        return str(10 * _DECADES[number[1]] + int(_NUMERALS.get(number[2] or "", "0")))
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


def _affirmed(words: str) -> str:
    """``Yes`` of ``Yes, it is continuous``, unless the rest takes it back."""
    match = _AFFIRMATION.fullmatch(words)
    return match[1] if match and not _AFFIRMED.search(match[2]) else words


def spoken(text: str) -> str | None:
    """The answer read as words, mathematics or not; None if it is more than letters."""
    words = _affirmed(plain(text))
    if not _WORDS.match(words):
        return None
    words = re.sub(r"(?<=[a-z])'s\b", "", words)
    said = _ARTICLES.sub("", re.sub(r"[^a-z0-9]+", " ", words.lower())).strip()
    said = re.sub(r"^(con|di)vergent$", r"\1verges", _SUBJECT.sub("", said))
    return _WEEKDAY.sub(r"\1", _KIND.sub("", said))
