r"""The grammar of answers: from the text of a box to one typed value.

    answer    := group (("or" | ";" | newline) group)*
    group     := statement (("," | "and") statement)*
    statement := [label] relation [condition]
    relation  := side (("=" | "<" | "\le" | ... | "\in") side)*

What is no mathematics is `Text`, what is mathematics beyond the grammar `Opaque`. Reading never
raises, and takes time linear in the length of the answer but for its bounded nesting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

from tirgen.verification.cursor import OutsideGrammar, is_worded
from tirgen.verification.literals import base_of, based
from tirgen.verification.statements import Statements
from tirgen.verification.symbols import LIBRARY
from tirgen.verification.tokens import Kind, Unreadable, spelled, tokenize
from tirgen.verification.units import UnitError
from tirgen.verification.values import (
    Choice,
    Clock,
    Date,
    Expression,
    Listing,
    Named,
    Num,
    Opaque,
    Text,
    Value,
)
from tirgen.verification.vocabulary import LATEX_TEXT, meaning, words_of

_CLOCK = re.compile(
    r"(?:at )?(\d{1,2})(?: ?: ?([0-5]\d))?(?: ?: ?([0-5]\d))? ?"
    r"(?:([ap])[ .]{0,2}m\b[ .]?|(noon|midnight)|(o ?'? ?clock))?",
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
    if not half and fields == 1 and not match[6]:
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


_LABELLED = re.compile(r"(?:\(([A-J])\)|([A-J])(?=$| ?\)| ?[.:])) ?[).:]? ?(.*)", re.DOTALL)
_LETTERS = re.compile(r"\(?[A-H]\)?(?:(?: ?[,&] ?| )?(?:and )?\(?[A-H]\)?)+")
_CHOSEN = re.compile(
    r"(?:the )?(?:correct )?(?:option|choice|answer)(?: is)?\s*:?\s*\(?([A-Ja-j])\)?", re.IGNORECASE
)
_MARKERS = re.compile(r"\([A-Z]\)|\b[A-Z] ?[:.)]")
_AFFIRMED = re.compile(r"(yes|no|true|false)[,.;:] (.*)", re.IGNORECASE | re.DOTALL)
_WHOLE = frozenset(["does not exist", "yes", "no", "true", "false"])
_REMAINDER = re.compile(r"\d+ remainder \d+")
_REFUSED = re.compile(r"\b(?:not|never)\b|n't\b", re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"\b(?:if|unless|but|except|only|maybe|perhaps|sometimes|when|however|otherwise|or|yes|no"
    r"|false|true)\b|\?",
    re.IGNORECASE,
)
_BASED = re.compile(
    r"(?:\\overline )?\(? ?([0-9a-fA-F ]+?) ?\)? ?"
    r"(?:_|(?:in )?\(?(?=base|binary|octal|hex))[ (]*(?:base ?)?(\w+) ?\)?",
    re.IGNORECASE,
)
_COMMAS = re.compile(r"(-?)([0-9]+),([0-9]+)(?P<rest>\s*(?:\\?%|[^\W\d_]{2,}.*)?)", re.DOTALL)


def plain_of(answer: str) -> str:
    """An answer as its reader sees the words of it."""
    text = LATEX_TEXT.sub(" ", spelled(answer).replace("\\circled{", "\\circled "))
    text = re.sub(r"\s+", " ", re.sub(r"(?<!\\)[{}]", " ", text))
    return re.sub(r"\\ |\\[,;:!]|\\q?quad", " ", text).strip(' .,;:"')


def special(plain: str, read: Callable[[str], Value]) -> Value | None:
    """Forms whose parts mean nothing by themselves: choices, times, dates, phrases, yes and no."""
    labels = re.findall(r"\\circled (\w+)", plain)
    if labels and not re.sub(r"\\circled \w+|[\s,;]|and", "", plain):
        return Choice(frozenset(labels))
    if plain.endswith("?"):
        return Text(words_of(plain) + "?")
    if letters := _chosen(plain, read):
        return letters
    words = words_of(plain)
    if words in _WHOLE or _REMAINDER.fullmatch(words):
        return Text(words)
    if (based := _BASED.fullmatch(plain)) and (number := _based(based)):
        return number
    if grouped := _grouped(plain, read):
        return grouped
    if phrase := meaning(plain):
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
        return based(digits, match[2])
    except Unreadable:
        return None


def _grouped(plain: str, read: Callable[[str], Value]) -> Value | None:
    """Numbers with a comma that may also be two, or a list of them."""
    match = _COMMAS.fullmatch(plain)
    thousands = match and len(match[3]) == 3 and not match[2].startswith("0")
    if match is None or thousands or re.match(r"\s*(?:and|or|mod)\b", match["rest"]):
        return None
    if match["rest"].strip():
        return read(plain.replace(",", ".", 1))
    sign, whole, places = match.groups()[:3]
    decimal = read(f"{sign}{whole}.{places}")
    pair = tuple(Expression(Num(Fraction(int(digits)))) for digits in (sign + whole, places))
    return Listing(pair, decimal=decimal if isinstance(decimal, Expression) else None)


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


_WRAPPED = re.compile(r"^\s*(\*\*|__|`+|\"|“|'(?=.*'\s*$))(.+?)(?:\1|”)\s*[.。]?\s*$", re.DOTALL)
_JSON = re.compile(r'^\s*\[\s*".*"\s*\]\s*$', re.DOTALL)
_LETTER = re.compile(r"(?:\\text\s*\{)?\s*\(?([a-e]|i{1,3}|iv|v)\)(?:\s*\})?")
_ORDERS = ("abcde", ("i", "ii", "iii", "iv", "v"))
_DERIVED = re.compile(
    r"(.*)(?:\\(?:Rightarrow|implies|Longrightarrow)(?![a-zA-Z])|⇒)\s*([a-zA-Z])\s*=(.*)", re.DOTALL
)
"""A derivation: an equation, and what it says of one of its variables."""
_BURNING = re.compile(r"\d{5,}|\d\s*\^\s*\{?\s*\d{3,}|\^\s*\{?\s*[\w\\]+\s*\^|!\s*[)}]*\s*!")
"""Towers of powers and large bounds, which the libraries would try to compute."""


@lru_cache(maxsize=16_384)
def read(answer: str) -> Value:
    """The value that an answer says, whatever the text."""
    try:
        return _read(answer)
    except (Unreadable, UnitError, ArithmeticError, ValueError):
        return Text(words_of(answer[:4000]))


def _read(answer: str) -> Value:
    while wrapped := _WRAPPED.match(answer):
        answer = wrapped[2]
    parts = _listed_in_json(answer) if _JSON.match(answer) else _lettered(answer)
    if parts is not None:
        return parts
    if len(answer) > 4000:
        raise Unreadable("too long")
    if (derived := _DERIVED.fullmatch(answer)) and derived[2] in derived[1]:
        answer = answer[derived.start(2) :]
    plain = plain_of(answer)
    whole = special(plain, read)
    if whole is not None:
        return whole
    tokens = tokenize(answer)
    if any(token.kind is Kind.BAD for token in tokens):
        raise Unreadable("a character that mathematics does not have")
    try:
        return Statements(tokens, read).whole()
    except OutsideGrammar:
        known = all(token.text in LIBRARY for token in tokens if token.kind is Kind.COMMAND)
        source = spelled(answer)
        return Opaque(source, readable=known and not _BURNING.search(source))
    except Unreadable:
        if any(map(is_worded, tokens)):
            raise
        return Opaque(spelled(answer), readable=False)


def _lettered(answer: str) -> Value | None:
    """``(a) 3; (b) 5``: several answers by their letters or small numerals."""
    before, *pieces = _LETTER.split(answer)
    letters, texts = pieces[::2], pieces[1::2]
    known = any(letters == list(order[: len(letters)]) for order in _ORDERS)
    if before.strip() or len(letters) < 2 or not known:
        return None
    pairs = zip(letters, texts, strict=True)
    return Listing(tuple(Named(f"({one})", read(text.strip(" ,;\\\n"))) for one, text in pairs))


def _listed_in_json(answer: str) -> Value:
    try:
        items = json.loads(answer)
    except ValueError as error:
        raise Unreadable("a broken list") from error
    values = [read(item) for item in items if isinstance(item, str)]
    if len(values) != len(items) or not values:
        raise Unreadable("a list of other things than answers")
    return values[0] if len(values) == 1 else Listing(tuple(values))
