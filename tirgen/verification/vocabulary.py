"""Words: which runs of letters are words, numbers in words, phrases with a meaning, spellings.

The tables are in `vocabulary.toml`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from tirgen.verification.symbols import GREEK, tables


def _set(name: str) -> frozenset[str]:
    return frozenset(_TABLES[name].split())


_TABLES = tables("vocabulary")
CLOSED = _set("closed")
BARE, RATED = _set("bare"), _set("rated")
_SHORT = CLOSED | BARE | _set("short")
_VALUES = {name: value for value, name in enumerate(_TABLES["ones"].split())}
_VALUES |= {name: 10 * decade for decade, name in enumerate(_TABLES["tens"].split(), 2)}
SCALES: dict[str, int] = _TABLES["scales"]
_PARTS: dict[str, int] = _TABLES["parts"]
ORDINALS, COPULAS = _set("ordinals"), _set("copulas")
DERIVING = CLOSED - _set("plain") | _set("deriving")
CURVES = _set("curves")
LABELS, DECLARING = _set("labels"), _set("declaring")
_COMPARISONS = {
    tuple(phrase.split()): sign
    for sign, phrases in _TABLES["comparisons"].items()
    for phrase in phrases
}


@lru_cache(maxsize=4096)
def is_word(run: str) -> bool:
    """Whether a run of letters in mathematics is a word and no product of variables."""
    if len(run) == 1 or run in GREEK:
        return False
    if run.lower() in _SHORT or run.lower() in SCALES or run in ORDINALS:
        return run.islower() or (len(run) > 2 and run[1:].islower())
    return len(run) > 3 and not run.isupper()


def number_in(words: list[str]) -> tuple[str, int] | None:
    """(a number in digits, how many of the lower-case words it took) at the start of `words`."""
    for length in range(min(len(words), 12), 0, -1):
        digits = _digits(words[:length])
        if digits:
            return digits, length
    return None


def _digits(words: list[str]) -> str | None:
    sign = "-" if words[0] in ("negative", "minus") else ""
    words = words[1:] if sign else words
    part = _PARTS.get(words[-1].removesuffix("s").replace("halve", "half")) if words else None
    number = _whole([word for word in (words[:-1] if part else words) if word != "and"])
    if number is None or not words or words[0] == "and" or words[-1] == "and":
        return None
    return f"{sign}\\frac{{{number}}}{{{part}}}" if part else f"{sign}{number}"


def _whole(words: list[str]) -> int | None:
    total = group = 0
    last = 10**12
    for word in words:
        if word in SCALES:
            group = max(group, 1) * SCALES[word]
            if SCALES[word] > 100:
                total, group = total + group, 0
            last = 10**12
        elif word in _VALUES and (last == 10**12 or (last >= 20 and 0 < _VALUES[word] < 10)):
            group += _VALUES[word]
            last = _VALUES[word]
        else:
            return None
    return total + group if words else None


def comparison_in(words: Sequence[str]) -> tuple[str, int] | None:
    """(a sign, how many of the lower-case words it took) at the start of `words`."""
    for length in range(min(3, len(words)), 0, -1):
        if sign := _COMPARISONS.get(tuple(words[:length])):
            return sign, length
    return None


_ARTICLES = re.compile(
    r"^(?:it|they)\b |\b(?:the|a|an|any|every|on|there (?:is|are)|it is|this is|they are)\b ?"
)
_KIND = re.compile(
    r"(?<=[a-z]) (?:functions?|triangles?|curves?|lines?|ones?|numbers?(?: of [a-z]+)?)$"
)
_SUBJECT = re.compile(
    r"^(?:(?!.*\b(?:not|no|never|neither)\b).{1,100} (?:is|are|will be)"
    r"|series|integral|sequence|limit|function) (?=[a-z]+$|does not exist$)"
)
_WEEKDAY = re.compile(r"\b(mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}day\b|\b(?:tues|thurs?)\b")
_RESPELLED = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"\b(max|min)imum\b", r"\1"),
        (r"^(?:(absolutely|conditionally) )?(con|di)vergent$", r"\2verges \1"),
        (r"^((?:con|di)verges) ?$", r"\1"),
        (r"^neither \w+ nor \w+$", "neither"),
        (r"^(\d+) (?:r|rem|remainder) (\d+)$", r"\1 remainder \2"),
        (r"^right angled\b", "right"),
        (r"^(?:dne|d n e)$", "does not exist"),
        (r"^(?:option|choice|statement|only) (?=\w)", ""),
        (r" only$", ""),
    )
)


LATEX_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal|up)?|mbox|hbox|mathrm|mathbf|mathit|operatorname|emph|bf|rm)"
    r"(?![a-z])\s*"
)
"""Commands whose argument is words, or letters as if they were."""


def words_of(text: str) -> str:
    """Words as they are compared: small, without articles, hyphens, genitives, final stops."""
    text = re.sub(r"(?<=\w)['’]s\b", "", LATEX_TEXT.sub(" ", text))
    words = re.sub(r"[^\w+<>=^/-]+|(?<=\w)-(?=\w)|_", " ", text.casefold()).strip()
    words = _ARTICLES.sub("", words).strip()
    for pattern, new in _RESPELLED:
        words = pattern.sub(new, words)
    words = _KIND.sub("", _SUBJECT.sub("", words)).strip()
    return _WEEKDAY.sub(lambda day: day[0][:3], words)


_QUANTIFIER = re.compile(r"^(?:(?:all|each) )?(?:the )?")
_NOTHING = re.compile(
    r"no (?:(?!more|less|fewer|greater|other|further|unique|single|one|two)\w+ ){0,3}"
    r"(?:solutions?|exists?)(?: exists?)?"
)
"""Of what there is none: no comparison, and no number of it."""
_VARIABLE = re.compile(r"(?<=\w{4}) [a-z]$")


def _bare(phrase: str) -> str:
    """A phrase without what says that all are meant, and the variable that they are values of."""
    return _VARIABLE.sub("", _QUANTIFIER.sub("", words_of(phrase))).removesuffix("s")


_MEANINGS = {
    _bare(phrase): meant for meant, phrases in _TABLES["meanings"].items() for phrase in phrases
}


def meaning(phrase: str) -> str | None:
    """The answer that a phrase says in words, as LaTeX."""
    if _NOTHING.fullmatch(words_of(phrase)):
        return "\\emptyset"
    return _MEANINGS.get(_bare(phrase))
