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
_LETTER = re.compile(r"\\(?:text|begin|end)\{[^{}]*\}|_\{[^{}]*\}|\\[a-zA-Z]+|[a-zA-Z]")
"""Commands, words and indices are matched whole, so that their letters are none."""
_GREEK = re.compile(
    r"\\(?:alpha|beta|gamma|delta|theta|lambda|mu|nu|rho|sigma|tau|phi|varphi|psi|omega|xi|eta|zeta)"
)
_BINDS = re.compile(r"\\(?:sum|prod|int|lim|max|min)(?![a-z])|=|\\in(?![a-z])")
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
    first, second = _distinct_case(_prepared(gold), _prepared(answer))
    second = _same_parameter(first, second)
    left = _parsed(first)
    if not left:
        return unverifiable(gold, "it is neither words nor mathematics that can be read")
    if _has_other_variables(first, second):
        return _verdict(False, "name", gold, answer)
    right = _parsed(second)
    if _TWO_NUMBERS.search(second):
        return _verdict(False, "math-verify", gold, f"{answer}, which is two numbers")
    if not right:
        return _verdict(False, "math-verify", gold, f"{answer}, which is not mathematics")
    agreed = math_verify.verify(left, right, float_rounding=6, timeout_seconds=None)
    if not agreed and identical(left[0], right[0]):
        return _verdict(True, "identity", gold, answer)
    near = numerically_equal(gold, answer, left[0], right[0])
    if near is not None and near != agreed and "%" not in gold + answer:
        return _verdict(near, "numeric", gold, answer)
    return _verdict(agreed, "math-verify", gold, answer)


def _distinct_case(gold: str, answer: str) -> tuple[str, str]:
    """Both texts with a capital that also occurs small renamed: math-verify reads M as m."""
    letters = {letter for text in (gold, answer) for letter in _letters(text)}
    free = iter(sorted(set("uvwzpqrlhk") - {letter.lower() for letter in letters}))
    new = {
        big: next(free, big) for big in sorted(letters) if big.isupper() and big.lower() in letters
    }

    def renamed(match: re.Match[str]) -> str:
        return new.get(match[0], match[0])

    if not new or (not _mixes_case(gold, new) and not _mixes_case(answer, new)):
        return gold, answer
    return _LETTER.sub(renamed, gold), _LETTER.sub(renamed, answer)


def _mixes_case(text: str, capitals: dict[str, str]) -> bool:
    letters = _letters(text)
    return any(big in letters and big.lower() in letters for big in capitals)


def _letters(text: str) -> set[str]:
    """The letters that stand for quantities, Greek ones included."""
    found = _LETTER.findall(text)
    return {one for one in found if len(one) == 1 or _GREEK.fullmatch(one)}


def _same_parameter(gold: str, answer: str) -> str:
    r"""The answer with its whole-number parameter named as in the gold one: ``k\pi``, ``n\pi``."""
    if "\\pi" not in gold or "\\pi" not in answer:
        return answer
    asked, given = _letters(gold), _letters(answer)
    missing, extra = asked - given, given - asked
    if len(missing) != 1 or len(extra) != 1 or not missing | extra <= set("kmnl"):
        return answer
    renamed = {extra.pop(): missing.pop()}
    return _LETTER.sub(lambda match: renamed.get(match[0], match[0]), answer)


def _has_other_variables(gold: str, answer: str) -> bool:
    """Whether the answer mentions a variable that was not asked for, as ``x/x`` does beside 1."""
    if _BINDS.search(gold) or _BINDS.search(answer):
        return False
    first, second = ({letter.lower() for letter in _letters(text)} for text in (gold, answer))
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
