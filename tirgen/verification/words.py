"""Answers in words: choice letters, names, yes and no; what phrases mean stands in `phrases`."""

from __future__ import annotations

import re

from tirgen.verification.normalise import plain
from tirgen.verification.numerals import in_digits
from tirgen.verification.phrases import SYMBOLS
from tirgen.verification.units import unit_of

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
_MEMBER = re.compile(r"^\s*[a-zA-Z] ?\\in(?![a-z])(?= ?\\mathbb)")
_KIND = re.compile(r"(?<=[a-z]) (?:functions?|numbers?|triangles?|curves?|lines?|ones?)$")
"""What an answer is a kind of: ``odd function`` says ``odd``."""
_WEEKDAY = re.compile(r"\b(mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}day\b|\b(?:tues|thurs?)\b")
_SUBJECT = re.compile(
    r"^(?:(?:it|this) (?:is|was|will be) |they are "
    r"|(?:the )?(?:two )?(?:lines|planes|vectors|triangles|circles|events|sets) are (?=[a-z]+$)"
    r"|(?:the )?(?:series|integral|sequence|limit|statement|function|graph) (?:is )?"
    r"(?=[a-z]+$|does not exist$))",
    re.IGNORECASE,
)
_RESPELLED = tuple(
    (re.compile(pattern), spelled)
    for pattern, spelled in (
        (r"^(?:(absolutely|conditionally) )?(con|di)vergent$", r"\2verges \1"),
        (r"^((?:con|di)verges) ?$", r"\1"),
        (r"^neither \w+ nor \w+$", "neither"),
        (r"^right angled\b", "right"),
    )
)
_AFFIRMATION = re.compile(r"(yes|no|true|false)[,.;:] (.*)", re.IGNORECASE | re.DOTALL)
_TAKEN_BACK = re.compile(
    r"\b(?:if|unless|but|except|only|maybe|perhaps|sometimes|when|however|otherwise|or)\b|[\d?]",
    re.IGNORECASE,
)
_BECAUSE = re.compile(r"^(?:because|since) [^\d?]*\d*(?=[^\d]*$)", re.IGNORECASE)
"""A reason may speak of a number."""
_OPPOSITE = {
    "yes": re.compile(r"\b(?:no|not|false|never)\b", re.IGNORECASE),
    "no": re.compile(r"\b(?:yes|true)\b", re.IGNORECASE),
}
_OPPOSITE |= {"true": _OPPOSITE["yes"], "false": _OPPOSITE["no"]}
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
    """Phrases with a mathematical meaning, and numbers in words, in symbols."""
    text = _SUBJECT.sub("", text)
    phrase = re.sub(r"^there (?:is|are) ", "", plain(text).lower())
    if number := in_digits(phrase):
        return number
    count, _, counted = phrase.rpartition(" ")
    if count and (unit := unit_of(counted)) and unit.measured and (number := in_digits(count)):
        return rf"{number}\text{{ {counted}}}"
    return SYMBOLS.get(phrase, SYMBOLS.get(_MEMBER.sub("", text).replace(" ", ""), text))


def phrase(text: str) -> str | None:
    """The answer as comparable words, or None if it is mathematics."""
    words = plain(text)
    long_word = re.search(r"[A-Za-z]{4,}", words)
    if "\\text{" not in text and not long_word and words.lower() not in _SHORT:
        return None
    return spoken(text)


def affirmed(words: str) -> str | None:
    """``Yes`` of ``Yes, it is continuous``, unless the rest takes it back; else None."""
    match = _AFFIRMATION.fullmatch(words)
    if match is None or _TAKEN_BACK.search(_BECAUSE.sub("", match[2])):
        return None
    return None if _OPPOSITE[match[1].lower()].search(match[2]) else match[1]


def same_words(first: str, second: str) -> bool:
    """Whether two answers say the same words, hyphens and spaces aside."""
    said, heard = spoken(first), spoken(second)
    return said is not None and heard is not None and _joined(said) == _joined(heard)


def _joined(words: str) -> str:
    return words.replace(" ", "")


def spoken(text: str) -> str | None:
    """The answer read as words, mathematics or not; None if it is more than letters."""
    words = affirmed(plain(text)) or plain(text)
    if not _WORDS.match(words):
        return None
    words = re.sub(r"(?<=[a-z])'s\b", "", words)
    said = _ARTICLES.sub("", re.sub(r"[^a-z0-9]+", " ", words.lower())).strip()
    for pattern, spelled in _RESPELLED:
        said = pattern.sub(spelled, said)
    said = _SUBJECT.sub("", said)
    return _WEEKDAY.sub(r"\1", _KIND.sub("", said))
