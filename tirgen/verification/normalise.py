r"""One spelling for what is typeset the same: Unicode and LaTeX variants of an answer.

Meaning is never touched here: ``\frac{2}{4}`` stays what it is. Text keeps its ``\text{}`` so that
the units of ``5\text{ m}`` are told apart from the variable of ``5m``.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from tirgen.verification.spellings import (
    INVISIBLE,
    LATEX,
    SUBSCRIPTS,
    SUPERSCRIPTS,
    SYMBOLS,
    VULGAR,
)

_RELATION = r"(?:[=<>]|\\(?:le|ge|approx)(?![a-z]))"
_ALIGNED = re.compile(rf"(?<!\\)&\s*(?={_RELATION})")
_NEXT_ROW = re.compile(r"\\\\")
_CONTINUED = re.compile(rf"\\\\\s*&\s*(?={_RELATION})")
_DOLLAR = re.compile(r"(?<!\\)\$")
_EDGES = re.compile(r"^[\s,;:]+|[\s,;:]+$|(?<!\.)\.\s*$")


@lru_cache(maxsize=8192)
def normalise(answer: str) -> str:
    """The canonical spelling of an answer; equal results are the same answer."""
    text = _dollars(_unicode(answer))
    for pattern, replacement in LATEX:
        text = pattern.sub(replacement, text)
    text = _EDGES.sub("", _without_outer_braces(_in_one_row(text).strip()))
    return text.strip()


def plain(text: str) -> str:
    r"""A normalised answer read as words: ``\text{}`` unwrapped, markup removed."""
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text)
    text = re.sub(r"[\s{}\"]+", " ", text).strip(" .,;:")
    return text.strip("'") if text.startswith("'") else text


def _unicode(text: str) -> str:
    text = INVISIBLE.sub("", text)
    for char, spelled in VULGAR.items():
        text = text.replace(char, " " + spelled.replace("⁄", "/"))
    text = re.sub(
        "[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ]+", lambda run: "^{" + run[0].translate(SUPERSCRIPTS) + "}", text
    )
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙ]+", lambda run: "_{" + run[0].translate(SUBSCRIPTS) + "}", text)
    text = unicodedata.normalize("NFKC", text)
    for char, spelled in SYMBOLS.items():
        text = text.replace(char, spelled)
    return text


def _in_one_row(text: str) -> str:
    r"""Aligned rows as a list; a row that starts with its relation continues the one before."""
    if "\\begin" in text or not _ALIGNED.search(text):
        return text
    return _ALIGNED.sub(" ", _NEXT_ROW.sub(", ", _CONTINUED.sub(" ", text)))


def _dollars(text: str) -> str:
    """Dollar signs in pairs delimit mathematics; a single one before a number is money."""
    signs = _DOLLAR.findall(text)
    if len(signs) == 1:
        text = re.sub(r"(?<!\\)\$(?=\s*[\d.])", r"\\dollar ", text)
    return _DOLLAR.sub("", text)


def _without_outer_braces(text: str) -> str:
    while text.startswith("{") and text.endswith("}") and _closes_at_end(text):
        text = text[1:-1].strip()
    return text


def _closes_at_end(text: str) -> bool:
    depth = 0
    for position, char in enumerate(text):
        if char in "{}" and text[position - 1 : position] != "\\":
            depth += 1 if char == "{" else -1
        if depth == 0:
            return position == len(text) - 1
    return False
