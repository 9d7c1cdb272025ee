"""The letters of an expression: quantities, whole-number parameters, arbitrary constants.

Texts in, texts out, for `symbolic`, whose parser takes M for m and knows no arbitrary constants.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import permutations

_LETTER = re.compile(r"\\(?:text|begin|end)\{[^{}]*\}|_\{[^{}]*\}|\\[a-zA-Z]+|[a-zA-Z]")
"""Commands, words and indices are matched whole, so that their letters are none."""
_GREEK = re.compile(
    r"\\(?:alpha|beta|gamma|delta|theta|lambda|mu|nu|rho|sigma|tau|phi|varphi|psi|omega|xi|eta|zeta)"
)
_QUOTIENT = re.compile(r"\\frac ?\{ ?d ?([a-zA-Z]|\\[a-z]+) ?\} ?\{ ?d ?[a-zA-Z] ?\}")
_DOT = re.compile(r"\\dot ?\{ ?([a-zA-Z]|\\[a-z]+) ?\}(?! ?_)")
_CONSTANT = re.compile(r"(?<![a-zA-Z\\])[CcKkAB](?:_\{\d\})?(?![a-zA-Z_])")
_OF_A_SOLUTION = re.compile(r"(?<![a-zA-Z\\])(?:[Cc]|[Cc]_\{\d\})(?![a-zA-Z_])")
_MOST_CONSTANTS = 3
_SOLVES = re.compile(r"e ?\^|\\(?:exp|sin|cos|ln)(?![a-z])")
"""What the solutions of differential equations are made of."""
_ADDED = re.compile(
    r"(?P<before>.*\S) ?\+ ?(?P<last>[CcKkD]|\\text\{ ?const(?:ant|\.)? ?\})"
    r"|(?P<first>[CcKkD]) ?(?P<after>[+-].*)",
    re.DOTALL,
)


def letters(text: str) -> set[str]:
    """The letters that stand for quantities, Greek ones included."""
    found = _LETTER.findall(text)
    return {one for one in found if len(one) == 1 or _GREEK.fullmatch(one)}


def distinct_case(gold: str, answer: str) -> tuple[str, str]:
    """Both texts with a capital that also occurs small renamed: math-verify reads M as m."""
    used = {letter for text in (gold, answer) for letter in letters(text)}
    free = iter(sorted(set("uvwzpqrlhk") - {letter.lower() for letter in used}))
    new = {big: next(free, big) for big in sorted(used) if big.isupper() and big.lower() in used}
    if not new or (not _mixes_case(gold, new) and not _mixes_case(answer, new)):
        return gold, answer
    return _renamed(gold, new), _renamed(answer, new)


def one_notation(gold: str, answer: str) -> tuple[str, str]:
    r"""Both texts with derivatives as primes, where only one has them as ``\dot{x}`` or ``x'``."""
    for pattern in (_QUOTIENT, _DOT):
        if bool(pattern.search(gold)) != bool(pattern.search(answer)):
            gold, answer = (pattern.sub(r"\1_{prime}", text) for text in (gold, answer))
    return gold, answer


def without_added_constants(gold: str, answer: str) -> tuple[str, str] | None:
    """Two antiderivatives without their ``+ C``, or None if either lacks it."""
    asked, given = _added(gold), _added(answer)
    if asked is None or given is None or asked[1] not in ("C", given[1]):
        return None
    return asked[0], given[0]


def namings(gold: str, answer: str) -> Iterator[str]:
    r"""The answer with its whole-number parameter, or its constants, named as in the gold one.

    ``k\pi`` is ``n\pi``; ``A e^x + B`` is ``C_1 e^x + C_2``, in any order of the constants.
    """
    yield _same_parameter(gold, answer)
    if not (_OF_A_SOLUTION.search(gold) and _SOLVES.search(gold) and _SOLVES.search(answer)):
        return
    wanted, own = (sorted(set(_CONSTANT.findall(text))) for text in (gold, answer))
    if len(wanted) != len(own) or len(own) > _MOST_CONSTANTS:
        return
    for order in permutations(wanted):
        new = dict(zip(own, order, strict=True))
        yield _CONSTANT.sub(lambda match, new=new: new[match[0]], answer)  # type: ignore[misc]


def _added(text: str) -> tuple[str, str] | None:
    """(the rest, the constant) of a sum with an arbitrary constant that occurs nowhere else."""
    match = _ADDED.fullmatch(text.strip())
    if match is None:
        return None
    rest, constant = match["before"] or match["after"], match["last"] or match["first"]
    return None if constant in letters(rest) else (rest, constant)


def _mixes_case(text: str, capitals: dict[str, str]) -> bool:
    own = letters(text)
    return any(big in own and big.lower() in own for big in capitals)


def _same_parameter(gold: str, answer: str) -> str:
    if "\\pi" not in gold or "\\pi" not in answer:
        return answer
    asked, given = letters(gold), letters(answer)
    missing, extra = asked - given, given - asked
    if len(missing) != 1 or len(extra) != 1 or not missing | extra <= set("kmnl"):
        return answer
    return _renamed(answer, {extra.pop(): missing.pop()})


def _renamed(text: str, new: dict[str, str]) -> str:
    return _LETTER.sub(lambda match: new.get(match[0], match[0]), text)
