"""The layers of verification, cheapest first, over two extracted answers.

Equal strings, guards, exact rationals, shapes compared part by part, equations and assignments,
words, units, bases: all without a parser of mathematics. What is left goes to `symbolic`, which the
caller supplies: math-verify inside a worker process, or a refusal that says a worker is needed.
"""

from __future__ import annotations

import re
from functools import partial

from storage.records import Verdict
from tirgen.verification import words
from tirgen.verification.bases import compare_bases
from tirgen.verification.composites import compare_shapes
from tirgen.verification.equations import compare_equations
from tirgen.verification.guards import dangerous, deceptive, too_long, unread
from tirgen.verification.moments import same_moment
from tirgen.verification.normalise import normalise, plain
from tirgen.verification.quantities import compare_quantities
from tirgen.verification.rationals import parse_rational, same_number
from tirgen.verification.residues import same_residues
from tirgen.verification.structure import shape_of
from tirgen.verification.units import split_unit
from tirgen.verification.verdicts import (
    Compare,
    brief,
    decided,
    right,
    spelling,
    unverifiable,
    wrong,
)
from tirgen.verification.wrapping import bare

_HEDGE = re.compile(
    r"\?|\.\.\.|\\[lcd]?dots|\b(?:maybe|possibly|probably|either|perhaps|could|might"
    r"|not(?! exist)|unless|if|otherwise|guess|unknown|around|roughly|instead|but|wrong"
    r"|(?:in)?correct|invalid|impossible|twice|double|dozen|(?<![a-z] )(?:squared|cubed)|root"
    r"|ignore|gold)\b",
    re.IGNORECASE,
)
_RELATION = re.compile(r"[<>]|\\(?:le|ge|ne|equiv|approx|mid|in)(?![a-zA-Z])")
_TWICE = re.compile(r"(\S.*?) ?\(([^()]+)\)")
_LONGEST_PHRASE = 8
"""Words; a longer answer can be said in too many ways for any spelling to be wrong."""
_EITHER = re.compile(r"\bor\b")


def judge(gold: str, answer: str, symbolic: Compare) -> Verdict:
    """Is `answer` the same as `gold`? Both as extracted, without their boxes."""
    if gold.strip() == answer.strip():
        return Verdict(correct=True, method="equal", reason=f"{brief(answer)} as given")
    if not gold.strip(" $."):
        return unverifiable(gold, "it is empty")
    if why := too_long(gold):
        return unverifiable(gold, why)
    if why := too_long(answer):
        return Verdict(correct=False, method="guard", reason=why)
    asked, given = normalise(gold), normalise(answer)
    if why := deceptive(answer):
        return Verdict(correct=False, method="guard", reason=why)
    if spelling(asked) == spelling(given):
        return Verdict(correct=True, method="equal", reason=f"{brief(answer)} as given")
    if why := dangerous(given) or unread(given, asked):
        return Verdict(correct=False, method="guard", reason=why)
    if why := dangerous(asked):
        return unverifiable(gold, why)
    hedge = _HEDGE.search(given)
    if hedge and not _HEDGE.search(asked) and not words.affirmed(plain(given)):
        return wrong("hedge", gold, answer, f"the answer says {hedge[0]!r}")
    return _told_apart(asked, given, symbolic)


def _told_apart(gold: str, answer: str, symbolic: Compare) -> Verdict:
    """A gold answer of which some part cannot be read makes nothing wrong."""
    unread: list[Verdict] = []

    def noting(part: str, other: str) -> Verdict:
        verdict = symbolic(part, other)
        unread.extend(() if verdict.is_decided else (verdict,))
        return verdict

    verdict = _compare(gold, answer, noting)
    return unread[0] if unread and not verdict.correct else verdict


def _compare(gold: str, answer: str, symbolic: Compare) -> Verdict:
    gold, answer = words.translated(bare(gold)), words.translated(bare(answer))
    if spelling(gold) == spelling(answer):
        return right("equal", gold, answer)
    if words.phrase(gold) is not None and words.same_words(gold, answer):
        return right("text", gold, answer)
    compare: Compare = partial(_compare, symbolic=symbolic)
    return (
        _exact(gold, answer)
        or _approximated(gold, answer, compare)
        or _restated(gold, answer, compare)
        or _whole(gold, answer)
        or _choices(gold, answer, compare)
        or compare_shapes(shape_of(gold), shape_of(answer), compare)
        or compare_equations(gold, answer, compare, symbolic)
        or _phrases(gold, answer)
        or compare_bases(gold, answer)
        or _relations(gold, answer)
        or compare_quantities(gold, answer, compare)
        or symbolic(gold, answer)
    )


def _exact(gold: str, answer: str) -> Verdict | None:
    asked, given = parse_rational(gold), parse_rational(answer)
    if asked is None or given is None:
        return None
    return decided(same_number(asked, given), "exact", gold, answer)


def _approximated(gold: str, answer: str, compare: Compare) -> Verdict | None:
    r"""An exact value followed by its decimals, ``\sqrt{2} \approx 1.414``, is that value."""
    exact, sign, decimals = answer.partition("\\approx")
    decimals, exact = (split_unit(normalise(side))[0] for side in (decimals, exact))
    rounded, value = parse_rational(decimals), parse_rational(exact)
    if not sign or rounded is None or not rounded.places:
        return None
    shown = rounded.value / 100 if rounded.percent else rounded.value
    if value is not None and abs(value.value - shown) * 50 > abs(value.value):
        return wrong("relation", gold, answer)
    return compare(gold, exact)


def _restated(gold: str, answer: str, compare: Compare) -> Verdict | None:
    r"""The same number twice, ``\frac{1}{2} (0.5)``, is that number."""
    match = _TWICE.fullmatch(answer)
    first, second = (parse_rational(match[1]), parse_rational(match[2])) if match else (None, None)
    if match is None or first is None or second is None or not same_number(first, second):
        return None
    return compare(gold, match[1])


def _whole(gold: str, answer: str) -> Verdict | None:
    """Times, dates and congruences, whose parts mean nothing by themselves."""
    for method, same in (("moment", same_moment), ("congruence", same_residues)):
        verdict = same(gold, answer)
        if verdict is not None:
            return decided(verdict, method, gold, answer)
    return None


def _choices(gold: str, answer: str, compare: Compare) -> Verdict | None:
    """Choice letters, with or without the text of the choice; several letters as a set."""
    if (wanted := words.letters(gold)) and (given := words.letters(answer)):
        return decided(wanted == given, "choice", gold, answer)
    if wanted and _EITHER.search(plain(answer)):
        return wrong("hedge", gold, answer)
    labelled, chosen = words.labelled(gold), words.chosen(answer)
    if labelled and not chosen:
        return compare(labelled[1], answer) if labelled[1] else None
    text = words.labelled(answer)
    if labelled and chosen:
        same = labelled[0] == chosen and not _other_number(labelled[1], text[1] if text else "")
        return decided(same, "choice", gold, answer)
    return compare(gold, text[1]) if text and text[1] else None


def _other_number(gold: str, answer: str) -> bool:
    """Whether the texts of two choices are numbers, and not the same one."""
    asked, given = parse_rational(normalise(gold)), parse_rational(normalise(answer))
    return asked is not None and given is not None and not same_number(asked, given)


def _phrases(gold: str, answer: str) -> Verdict | None:
    asked, given = words.phrase(gold), words.phrase(answer)
    if asked is None and given is None:
        return None
    if asked is None and split_unit(answer)[1] is not None:
        return None
    if len((asked or "").split()) > _LONGEST_PHRASE:
        return unverifiable(gold, "sentences can be compared by spelling only")
    return wrong("text", gold, answer)


def _relations(gold: str, answer: str) -> Verdict | None:
    """A relation is never equal to a value: ``x > 2`` says too little where 3 is asked."""
    if bool(_RELATION.search(gold)) == bool(_RELATION.search(answer)):
        return None
    return wrong("relation", gold, answer)
