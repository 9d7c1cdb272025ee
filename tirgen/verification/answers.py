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
from functools import lru_cache

from tirgen.verification.cursor import Beyond
from tirgen.verification.functions import LIBRARY
from tirgen.verification.special import plain_of, special
from tirgen.verification.statements import Statements
from tirgen.verification.tokens import Kind, Token, Unreadable, spelled, tokenize
from tirgen.verification.units import UnitError
from tirgen.verification.values import (
    Listing,
    Opaque,
    Text,
    Value,
)
from tirgen.verification.vocabulary import (
    is_word,
    words_of,
)

_WRAPPED = re.compile(r"^\s*(\*\*|__|`+|\"|“|'(?=.*'\s*$))(.+?)(?:\1|”)\s*[.。]?\s*$", re.DOTALL)
_JSON = re.compile(r'^\s*\[\s*".*"\s*\]\s*$', re.DOTALL)
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
    if _JSON.match(answer):
        return _listed_in_json(answer)
    if len(answer) > 4000:
        raise Unreadable("too long")
    plain = plain_of(answer)
    whole = special(plain, read)
    if whole is not None:
        return whole
    tokens = tokenize(answer)
    if any(token.kind is Kind.BAD for token in tokens):
        raise Unreadable("a character that mathematics does not have")
    try:
        return Statements(tokens, read).whole()
    except Beyond:
        known = all(token.text in LIBRARY for token in tokens if token.kind is Kind.COMMAND)
        source = spelled(answer)
        return Opaque(source, readable=known and not _BURNING.search(source))
    except Unreadable:
        if _is_wordy(tokens):
            raise
        return Opaque(spelled(answer), readable=False)


def _is_wordy(tokens: list[Token]) -> bool:
    return any(
        token.kind is Kind.WORD or (token.kind is Kind.NAME and is_word(token.text))
        for token in tokens
    )


def _listed_in_json(answer: str) -> Value:
    try:
        items = json.loads(answer)
    except ValueError as error:
        raise Unreadable("a broken list") from error
    values = [read(item) for item in items if isinstance(item, str)]
    if len(values) != len(items) or not values:
        raise Unreadable("a list of other things than answers")
    return values[0] if len(values) == 1 else Listing(tuple(values))
