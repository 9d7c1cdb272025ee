"""Equivalence of expressions by math-verify, then by evaluation (`numeric`).

For worker processes only: both libraries can take any time and memory on hostile input, and
nothing here limits them (`worker` does).
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

import math_verify
from latex2sympy2_extended.math_normalization import NormalizationConfig

from storage.records import Verdict
from tirgen.verification.letters import (
    distinct_case,
    letters,
    namings,
    one_notation,
    without_added_constants,
)
from tirgen.verification.numeric import identical, numerically_equal
from tirgen.verification.verdicts import unverifiable

_DEGREES = re.compile(r"(\d+(?:\.\d+)?|\([^()]*\)|\{[^{}]*\})\s*\\text\{ degrees\}")
_INDEX_I = re.compile(r"\\(?:sum|prod) ?_ ?\{ ?i ?=")
"""An index that is not the imaginary unit."""
_LETTER_I = re.compile(r"(?<![a-zA-Z\\])i(?![a-zA-Z])")
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_MISREAD = tuple(
    (re.compile(pattern), spelled)
    for pattern, spelled in (
        (r"\\text\{ degrees\}|\\dollar", ""),
        (r"\\vec ?\{([a-zA-Z])\}", r"\1"),
        (r"(?<=\}) ?(?=\\binom)", r" \\cdot "),
        (r"\\Pi(?![a-zA-Z])", r"X_{pi}"),
        (r"(?<![a-zA-Z\\])[Ee](?=_)", r"\\eta "),
        (r"(?<![a-zA-Z\\])[Ii](?=_)", r"\\iota "),
        (r"(?<=[a-zA-Z}])'{2}|(?<=[a-zA-Z}]) ?\^ ?\{ ?\\prime ?\\prime ?\}", "_{primes}"),
        (r"(?<=[\w)}\]])'|(?<=[a-zA-Z}]) ?\^ ?(?:\{ ?\\prime ?\}|\\prime(?![a-z]))", "_{prime}"),
        (r"\^ ?(?:\{ ?T ?\}|T(?![a-zA-Z]))", r"^{\\tau}"),
        (r"\\gcd(?= ?\([^()]*[a-zA-Z])", r"h_{1}"),
        (r"\\lcm(?= ?\([^()]*[a-zA-Z])", r"h_{2}"),
        (r"(?<![a-zA-Z\\])(\w+) ?\\choose ?(\w+)", r"\\binom{\1}{\2}"),
    )
)
"""Constants with an index are variables, a capital pi is not 3.14, a prime is not nothing, ``A^T``
is not A, and gcd(a, b) of two variables is not 1."""
_TWO_NUMBERS = re.compile(r"\d +\d")
"""Which math-verify adds up, as if they were a mixed number."""
_BINDS = re.compile(r"\\(?:sum|prod|int|lim|max|min)(?![a-z])|=|\\in(?![a-z])")
_TENDS = re.compile(r"\\(?:sum|prod|int|lim)(?![a-z])")
_EXTRACTION = math_verify.LatexExtractionConfig(
    boxed_match_priority=0,
    normalization_config=NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all"
    ),
)
"""Units are ours: math-verify takes the b of ``\\frac{1}{2}ab`` for one and reads 1/2."""
logging.getLogger("math_verify").setLevel(logging.CRITICAL)
logging.getLogger("latex2sympy2_extended").setLevel(logging.CRITICAL)


def equivalent(gold: str, answer: str) -> Verdict:
    """Decide two normalised scalar answers, gold first (math-verify is not symmetric)."""
    first, second = one_notation(_prepared(gold), _prepared(answer))
    first, second = distinct_case(first, second)
    if integrals := without_added_constants(first, second):
        first, second = integrals
    if not _parsed(first):
        return unverifiable(gold, "it is neither words nor mathematics that can be read")
    verdicts = []
    for named in namings(first, second):
        correct, method, why = _compared(first, named, up_to_constant=integrals is not None)
        verdicts.append(_verdict(correct, method, gold, answer + why))
        if correct:
            return verdicts[-1]
    return verdicts[0]


def _compared(gold: str, answer: str, up_to_constant: bool) -> tuple[bool, str, str]:
    """(whether two prepared texts are equal, what decided it, what to say about the answer)."""
    if _has_other_variables(gold, answer):
        return False, "name", ""
    if "\\infty" in answer and "\\infty" not in gold and not _TENDS.search(answer):
        return False, "math-verify", ", which reckons with infinity"
    left, right = _parsed(gold), _parsed(answer)
    if _TWO_NUMBERS.search(answer):
        return False, "math-verify", ", which is two numbers"
    if not right:
        return False, "math-verify", ", which is not mathematics"
    agreed = math_verify.verify(left, right, float_rounding=6, timeout_seconds=None)
    if not agreed and identical(left[0], right[0], up_to_constant=up_to_constant):
        return True, "identity", ""
    near = numerically_equal(gold, answer, left[0], right[0])
    if near is not None and near != agreed and "%" not in gold + answer:
        return near, "numeric", ""
    return agreed, "math-verify", ""


def _has_other_variables(gold: str, answer: str) -> bool:
    """Whether the answer mentions a variable that was not asked for, as ``x/x`` does beside 1."""
    if _BINDS.search(gold) or _BINDS.search(answer):
        return False
    first, second = ({letter.lower() for letter in letters(text)} for text in (gold, answer))
    return bool((second - first) - {"e", "i", "d"})


def _verdict(correct: bool, method: str, gold: str, answer: str) -> Verdict:
    sign = "=" if correct else "vs"
    return Verdict(correct=correct, method=method, reason=f"{method}: {gold} {sign} {answer}")


def _prepared(text: str) -> str:
    """Spelled so that math-verify reads what is meant; degrees in trigonometry as radians."""
    if _TRIGONOMETRY.search(text):
        text = _DEGREES.sub(r"(\\frac{\1\\pi}{180})", text)
    if _INDEX_I.search(text):
        text = _LETTER_I.sub("h", text)
    for misread, spelled in _MISREAD:
        text = misread.sub(spelled, text)
    return text


@lru_cache(maxsize=512)
def _parsed(text: str) -> list[Any]:
    parsed = math_verify.parse(
        f"\\boxed{{{text}}}", [_EXTRACTION], fallback_mode="no_fallback", parsing_timeout=None
    )
    return list(parsed)
