"""Rules about the policy's text: mathematics delimiters, language, repetition (method A26)."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_ALWAYS_ALLOWED = {"LATIN", "GREEK"}
_PRICE = re.compile(r"(?<!\\)\$\d[\d,]*(?:\.\d+)?(?![\d$\\^_{}=+*/(])")
_DOLLAR = re.compile(r"(?<!\\)\$")


def unbalanced_dollars(text: str) -> str | None:
    """Why the ``$`` delimiters cannot pair up; None if they can.

    A single dollar is a price, as in the official rule. So are dollars before plain numbers, if the
    number of the others is then even.
    """
    count = len(_DOLLAR.findall(text))
    without_prices = len(_DOLLAR.findall(_PRICE.sub("", text)))
    if count == 1 or count % 2 == 0 or without_prices % 2 == 0:
        return None
    return f"{count} unescaped $ cannot pair up"


def foreign_script(question: str, text: str) -> str | None:
    """Why the text is not in the language of its question; None if it is.

    Generalises the official rule against Traditional Chinese: a script that the question does not
    use is another language. Latin and Greek are used in mathematics and always allowed.
    """
    allowed = set(_letters_by_script(question)) | _ALWAYS_ALLOWED
    for script, letter in _letters_by_script(text).items():
        if script not in allowed:
            return f"{script.lower()} letters such as {letter!r}"
    return None


def repeated_ngram(text: str, length: int, most: int) -> str | None:
    """The n-gram of characters that occurs more than `most` times, as a reason; else None."""
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
