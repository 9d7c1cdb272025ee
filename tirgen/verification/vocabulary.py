"""Words: which runs of letters are words, numbers in words, phrases with a meaning, spellings."""

from __future__ import annotations

import re
from functools import lru_cache

from tirgen.verification.symbols import GREEK
from tirgen.verification.unit_table import BARE


def _listed(words: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(words.split())


CLOSED = _listed(
    "not no nor never if unless but except maybe perhaps possibly probably either "
    "neither might could would should must otherwise instead than then is are was were "
    "be been isn aren wasn wrong incorrect right correct false true invalid guess "
    "unknown squared cubed plus minus over times divided twice double triple half at "
    "least most less between from to or and with without where when for some any all "
    "there exists does do don factorial root modulo mod base yes none both each until "
    "up down too ignore impossible because since so therefore teen"
)
"""Words that say more of a number than what it counts: closed classes of English, and verdicts."""
_SHORT = (
    CLOSED
    | _listed(
        "odd even one two six ten the a an of in on am pm day box red blue east west north "
        "south sum sun mon tue wed thu fri sat jan feb mar apr jun jul aug sep oct nov dec "
        "per men toy egg hat dog cat pen cup bag car bus pie kid boy girl tree book who its "
        "it by as only dne un san pct min max deg ways way out men hen cow pig fox ant bee"
    )
    | frozenset(BARE)
)
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {name: value for value, name in enumerate(_ONES)}
_VALUES |= {name: 10 * decade for decade, name in enumerate(_TENS, 2)}
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9,
          "trillion": 10**12, "dozen": 12, "万": 10**4, "亿": 10**8}  # fmt: skip
_PARTS = {
    "half": 2, "third": 3, "fourth": 4, "quarter": 4, "fifth": 5, "sixth": 6, "seventh": 7,
    "eighth": 8, "ninth": 9, "tenth": 10,
}  # fmt: skip
ORDINALS = frozenset({"st", "nd", "rd", "th"})
COPULAS = frozenset({"is", "are", "equals", "was", "be", "equal", "has", "have"})
DERIVING = CLOSED - _listed(
    "is are was were be been to or and with from when for some any all there each "
    "between in until because since so therefore does do exists mod modulo base both "
    "plus minus"
) | _listed(
    "square cube opposite reciprocal inverse complement negation one another possible what"
    " which how"
)
"""Words of a label that name something else than the answer: ``the square is 7``."""
PREFIXES = _listed(
    "about approximately exactly only total a an the around roughly nearly rs usd inr "
    "approx just all real"
)
"""Words before a number that leave it what it is."""
LABELS = _listed(
    "the final answer result value solution solutions values answers is are therefore "
    "thus so hence there it that this correct option choice it we get our"
)
"""Words of a label that names nothing but the answer itself."""
DECLARING = _listed(
    "for all any every each some where is are a an and be arbitrary integer integers "
    "real reals number numbers positive negative nonnegative non constant constants "
    "natural whole in the of with being can parameter parameters"
)
"""Words of a clause that only says which numbers a variable stands for."""


@lru_cache(maxsize=4096)
def is_word(run: str) -> bool:
    """Whether a run of letters in mathematics is a word and no product of variables."""
    if len(run) == 1 or run in GREEK:
        return False
    if run.lower() in _SHORT or run.lower() in SCALES or run in ORDINALS:
        return (
            run.islower()
            or (len(run) > 2 and run[1:].islower())
            or run in ("PM", "AM", "YES", "NO", "No")
        )
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


_MEANINGS: dict[str, tuple[str, ...]] = {
    r"\emptyset": (
        *("no solution", "no solutions", "no real solution", "no real solutions", "empty set"),
        *("the empty set", "无解", "空集", "none", "no such numbers exist"),
    ),
    "(0,0)": ("the origin", "origin"),
    r"\mathbb{R}": ("all real numbers", "all reals", "real numbers", "the real numbers"),
    r"(0,\infty)": ("all positive real numbers", "all positive reals", "positive reals"),
    r"[0,\infty)": (
        *("all nonnegative real numbers", "all non negative real numbers"),
        "all nonnegative reals",
    ),
    r"(-\infty,0)": ("all negative real numbers", "all negative reals"),
    r"\mathbb{Z}": ("all integers", "the integers", "integers"),
    r"\mathbb{N}": ("all positive integers", "the positive integers", "all natural numbers"),
    r"\infty": (
        *("infinity", "positive infinity", "infinitely many", "infinitely many solutions"),
        *("infinite", "an infinite number", "diverges to infinity", "tends to infinity"),
    ),
    r"-\infty": ("negative infinity",),
}
MEANINGS = {phrase: symbol for symbol, phrases in _MEANINGS.items() for phrase in phrases}
_ARTICLES = re.compile(r"\b(?:the|a|an|on|there (?:is|are)|it is|this is|they are)\b ?")
_KIND = re.compile(r"(?<=[a-z]) (?:functions?|numbers?|triangles?|curves?|lines?|ones?)$")
_SUBJECT = re.compile(
    r"^(?:series|integral|sequence|limit|statement|function|graph|lines|planes|vectors|triangles"
    r"|circles|events|sets) (?:is |are |will be )?(?=\w+$|does not exist$)"
)
_WEEKDAY = re.compile(r"\b(mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}day\b|\b(?:tues|thurs?)\b")
_RESPELLED = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"^(?:(absolutely|conditionally) )?(con|di)vergent$", r"\2verges \1"),
        (r"^((?:con|di)verges) ?$", r"\1"),
        (r"^neither \w+ nor \w+$", "neither"),
        (r"^right angled\b", "right"),
        (r"^(?:dne|d n e)$", "does not exist"),
        (r"^(?:option|choice|statement|only) (?=\w)", ""),
        (r" only$", ""),
    )
)


def words_of(text: str) -> str:
    """Words as they are compared: small, without articles, hyphens, genitives, final stops."""
    text = re.sub(
        r"\\(?:text|mbox|mathrm|textbf|mathbf|textit|operatorname)\s*\{([^{}]*)\}", r" \1 ", text
    )
    text = re.sub(r"(?<=\w)['’]s\b", "", text)
    words = re.sub(r"[^\w+<>=^/-]+|(?<=\w)-(?=\w)|_", " ", text.casefold()).strip()
    words = _ARTICLES.sub("", words).strip()
    for pattern, new in _RESPELLED:
        words = pattern.sub(new, words)
    words = _KIND.sub("", _SUBJECT.sub("", words)).strip()
    return _WEEKDAY.sub(lambda day: day[0][:3], words)
