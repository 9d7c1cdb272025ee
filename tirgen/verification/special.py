"""Forms whose parts mean nothing by themselves: choices, bases, grouped digits, yes and no."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from tirgen.verification.literals import base_of
from tirgen.verification.moments import clock, date
from tirgen.verification.tokens import spelled
from tirgen.verification.values import (
    Based,
    Choice,
    Listing,
    Number,
    Text,
    Value,
)
from tirgen.verification.vocabulary import (
    MEANINGS,
    words_of,
)

_LATEX_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal|up)?|mbox|hbox|mathrm|mathbf|mathit|operatorname|emph|bf|rm)"
    r"(?![a-z])\s*"
)
_LABELLED = re.compile(r"(?:\(([A-J])\)|([A-J])(?=$| ?\)| ?[.:])) ?[).:]? ?(.*)", re.DOTALL)
_LETTERS = re.compile(r"\(?[A-H]\)?(?:(?: ?[,&] ?| )?(?:and )?\(?[A-H]\)?)+")
_CHOSEN = re.compile(
    r"(?:the )?(?:correct )?(?:option|choice|answer)(?: is)?\s*:?\s*\(?([A-Ja-j])\)?", re.IGNORECASE
)
_MARKERS = re.compile(r"\([A-Z]\)|\b[A-Z] ?[:.)]")
_CIRCLES = re.compile(r"(?:\\circled\s*\{\w+\}[\s,;]*(?:and)?\s*)+")
_AFFIRMED = re.compile(r"(yes|no|true|false)[,.;:] (.*)", re.IGNORECASE | re.DOTALL)
_REFUSED = re.compile(r"\b(?:not|never)\b|n't\b", re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"\b(?:if|unless|but|except|only|maybe|perhaps|sometimes|when|however|otherwise|or|yes|no"
    r"|false|true)\b|\?",
    re.IGNORECASE,
)
_BASED = re.compile(
    r"(?:\\overline )?\(? ?([0-9a-fA-F ]+?) ?\)? ?(?:_|\(?(?=base))[ (]*(?:base ?)?(\w+) ?\)?",
    re.IGNORECASE,
)
_COMMAS = re.compile(r"(-?)([0-9]+),([0-9]+)(?P<rest>\s*(?:\\?%|[^\W\d_]{2,}.*)?)", re.DOTALL)
_GROUPS = re.compile(r"\d{1,3}(?:,\d{3})+", re.ASCII)


def plain_of(answer: str) -> str:
    """An answer as its reader sees the words of it."""
    text = _LATEX_TEXT.sub(" ", spelled(answer).replace("\\circled{", "\\circled "))
    text = re.sub(r"\s+", " ", re.sub(r"(?<!\\)[{}]", " ", text))
    return re.sub(r"\\ |\\[,;:!]|\\q?quad", " ", text).strip(' .,;:"')


def special(plain: str, read: Callable[[str], Value]) -> Value | None:  # noqa: C901  one line for each form
    """Forms whose parts mean nothing by themselves: choices, times, dates, phrases, yes and no."""
    if _CIRCLES.fullmatch(
        plain.replace("\\circled ", "\\circled{").replace("\\circled{", "\\circled{", 1)
    ) or (plain.startswith("\\circled ")):
        labels = re.findall(r"\\circled (\w+)", plain)
        if labels and not re.sub(r"\\circled \w+|[\s,;]|and", "", plain):
            return Choice(frozenset(labels))
    if plain.endswith("?"):
        return Text(words_of(plain) + "?")
    if letters := _chosen(plain, read):
        return letters
    if words_of(plain) == "does not exist":
        return Text("does not exist")
    if (based := _BASED.fullmatch(plain)) and (number := _based(based)):
        return number
    if grouped := _grouped(plain, read):
        return grouped
    words = words_of(plain)
    if phrase := MEANINGS.get(plain.lower()) or MEANINGS.get(words):
        return read(phrase)
    if affirmed := _AFFIRMED.fullmatch(plain):
        refused = affirmed[1].lower() in ("yes", "true") and _REFUSED.search(affirmed[2])
        if not refused and not _TAKEN_BACK.search(affirmed[2]):
            return Text(affirmed[1].lower())
        return Text(words)
    return date(plain) or clock(plain)


def _based(match: re.Match[str]) -> Value | None:
    """A number with its base, the letters of which are digits from eleven on."""
    digits, base = match[1].replace(" ", ""), base_of(match[2])
    hexadecimal = base is not None and base > 10 and (base == 16 or re.search(r"\d", digits))
    if base is None or not (digits.isdigit() or hexadecimal):
        return None
    try:
        int(digits, base)
    except ValueError:
        return None
    return Based(digits.upper(), base)


def _grouped(plain: str, read: Callable[[str], Value]) -> Value | None:
    """Numbers with a comma that may also be two, or a list of them."""
    if _GROUPS.fullmatch(plain.removeprefix("-")) and not plain.lstrip("-").startswith("0"):
        groups = tuple(Fraction(int(group)) for group in plain.split(","))
        return Number(Fraction(int(plain.replace(",", ""))), groups=groups)
    match = _COMMAS.fullmatch(plain)
    thousands = match and len(match[3]) == 3 and not match[2].startswith("0")
    if match is None or thousands or re.match(r"\s*(?:and|or|mod)\b", match["rest"]):
        return None
    if match["rest"].strip():
        return read(plain.replace(",", ".", 1))
    sign, whole, places = match.groups()[:3]
    decimal = read(f"{sign}{whole}.{places}")
    pair = (Number(Fraction(int(sign + whole))), Number(Fraction(int(places))))
    return Listing(pair, decimal=decimal if isinstance(decimal, Number) else None)


def _chosen(plain: str, read: Callable[[str], Value]) -> Choice | None:
    if match := _CHOSEN.fullmatch(plain):
        return Choice(frozenset(match[1].upper()))
    if _LETTERS.fullmatch(plain):
        letters = re.findall(r"[A-H]", plain)
        return Choice(frozenset(letters)) if len(set(letters)) == len(letters) else None
    match = _LABELLED.fullmatch(plain)
    if match is None or _MARKERS.search(match[3]):
        return None
    rest = match[3].strip()
    if rest[:1] in tuple("=^_+*/<>-"):
        return None
    return Choice(frozenset(match[1] or match[2]), read(rest) if rest else None)
