"""Rules about the policy's words: mathematics delimiters, language, repetition (method A26)."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_ALWAYS_ALLOWED = {"LATIN", "GREEK"}
_PRICE = re.compile(r"(?<!\\)\$\d[\d,]*(?:\.\d+)?(?![\d$\\^_{}=+*/(])")
_DOLLAR = re.compile(r"(?<!\\)\$")


def unbalanced_dollars(text: str) -> str | None:
    """Why the ``$`` delimiters cannot pair up, or None if they can.

    One lone dollar is a price, as in the official rule, and so are dollars before plain numbers
    wherever that makes the rest even.
    """
    count = len(_DOLLAR.findall(text))
    without_prices = len(_DOLLAR.findall(_PRICE.sub("", text)))
    if count == 1 or count % 2 == 0 or without_prices % 2 == 0:
        return None
    return f"{count} unescaped $ cannot pair up"


def foreign_script(question: str, text: str) -> str | None:
    """Why the text leaves the language of its question, or None if it does not.

    Generalises the official ban on Traditional Chinese: any script that the question does not use
    is a slip into another language. Latin and Greek are mathematics and always allowed.
    """
    allowed = set(_letters_by_script(question)) | _ALWAYS_ALLOWED
    for script, letter in _letters_by_script(text).items():
        if script not in allowed:
            return f"{script.lower()} letters such as {letter!r}"
    return None


def repeated_ngram(text: str, length: int, most: int) -> str | None:
    """Why the text repeats itself, or None: an n-gram of characters more than `most` times."""
    text = re.sub(r"\s+", " ", text)
    grams = Counter(text[start : start + length] for start in range(len(text) - length + 1))
    if not grams:
        return None
    gram, count = grams.most_common(1)[0]
    return f"{gram!r} occurs {count} times" if count > most else None


def _letters_by_script(text: str) -> dict[str, str]:
    """The scripts of a text, each with its first letter."""
    scripts: dict[str, str] = {}
    for char in unicodedata.normalize("NFKC", text):
        if not char.isascii() and unicodedata.category(char) in ("Lo", "Lu", "Ll", "Lt"):
            scripts.setdefault(unicodedata.name(char, "UNNAMED").split()[0].split("-")[0], char)
    return scripts
