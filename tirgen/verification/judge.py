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

_HEDGE = re.compile(
    r"\?|\.\.\.|\\[lcd]?dots|\b(?:maybe|possibly|probably|either|perhaps|could|might"
    r"|not(?! exist)|unless|if|otherwise|guess|unknown|around|roughly|instead|but|wrong"
    r"|(?:in)?correct|invalid|impossible|twice|double|dozen|squared|cubed|root|ignore|gold)\b",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"^(?:\\text\{)?\s*(?:the\s+)?(?:final\s+)?answer\s*(?:is|:)\s*\}?\s*", re.IGNORECASE
)
_SUBJECT = re.compile(
    r"^\\text\{\s*(?:the )?"
    r"(?:(?:final|total|required|expected|maximum|minimum|vertical|horizontal) )?"
    r"(?:probability|value|area|volume|length|width|height|sum|total|number|perimeter|distance|time"
    r"|cost|ratio|angle|radius|speed|solutions?|roots?|minimum|maximum|result|product|difference"
    r"|average|mean|median|remainder|equation|line|circle|plane|interval|set|point)"
    r"(?: of [a-z]+)?(?: (?:is|are|equals))?\s*:?\s*\}\s*(?=\S)",
    re.IGNORECASE,
)
_APPROXIMATELY = re.compile(
    r"\s*(?:\\text\{)?\s*\(?\b(?:approximately|approx\.?|exactly)\s*\)?\s*\}?\s*$"
)
_LEADING = re.compile(r"^\s*(?:\\approx|\\sim|=|\+(?=\s*[\d\\]))\s*")
_FOR_ALL = re.compile(
    r"\s*,?\s*(?:\\text\{\s*,?\s*)?\bfor (?:all|any|every|each"
    r"|some (?:real |arbitrary |fixed )*(?:constant|integer|number))\b[^\d<>=]{0,40}$"
)
_WHOLE_PARAMETER = re.compile(
    r"\s*[,(]\s*(?:\\text\{\s*(?:where|with|for)\s*\}\s*)?[a-z] ?(?:\\in ?\\mathbb\{[ZNR]\}"
    r"|\\text\{ is (?:an?|any) (?:arbitrary |real )*(?:integer|whole number|number|constant)\})\)?$"
)
_ADDS_NOTHING = (_PREAMBLE, _SUBJECT, _LEADING, _APPROXIMATELY, _FOR_ALL, _WHOLE_PARAMETER)
_RELATION = re.compile(r"[<>]|\\(?:le|ge|ne|equiv|approx|mid|in)(?![a-zA-Z])")
_LONGEST_PHRASE = 8
"""Words; a longer answer can be said in too many ways for any spelling to be wrong."""
_EITHER = re.compile(r"\bor\b")
_BASE = re.compile(
    r"(?:\(|\\text\{)?([0-9A-Fa-f]+)[)}]?"
    r"(?: ?_ ?\{ ?([a-z0-9]+) ?\}| ?(?:\\text\{)? ?\(?(?:in )?base ?\}? ?(\w+) ?\)?\}?)?"
)
_BASES = dict(
    two=2, three=3, four=4, five=5, six=6, seven=7, eight=8, nine=9, ten=10, twelve=12, sixteen=16
)


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
    gold, answer = words.translated(_bare(gold)), words.translated(_bare(answer))
    if spelling(gold) == spelling(answer):
        return right("equal", gold, answer)
    if words.phrase(gold) is not None and words.spoken(gold) == words.spoken(answer):
        return right("text", gold, answer)
    compare: Compare = partial(_compare, symbolic=symbolic)
    return (
        _exact(gold, answer)
        or _approximated(gold, answer, compare)
        or _whole(gold, answer)
        or _choices(gold, answer, compare)
        or compare_shapes(shape_of(gold), shape_of(answer), compare)
        or compare_equations(gold, answer, compare, symbolic)
        or _phrases(gold, answer)
        or _bases(gold, answer)
        or _relations(gold, answer)
        or compare_quantities(gold, answer, compare)
        or symbolic(gold, answer)
    )


def _bare(text: str) -> str:
    """Without what adds nothing: a leading plus, an approximation sign, "for all x"."""
    for adds_nothing in _ADDS_NOTHING:
        text = adds_nothing.sub("", text)
    return normalise(text)


def _exact(gold: str, answer: str) -> Verdict | None:
    asked, given = parse_rational(gold), parse_rational(answer)
    if asked is None or given is None:
        return None
    return decided(same_number(asked, given), "exact", gold, answer)


def _approximated(gold: str, answer: str, compare: Compare) -> Verdict | None:
    r"""An exact value followed by its decimals, ``\sqrt{2} \approx 1.414``, is that value."""
    exact, sign, decimals = answer.partition("\\approx")
    rounded, value = parse_rational(normalise(decimals)), parse_rational(normalise(exact))
    if not sign or rounded is None or not rounded.places:
        return None
    shown = rounded.value / 100 if rounded.percent else rounded.value
    if value is not None and abs(value.value - shown) * 50 > abs(value.value):
        return wrong("relation", gold, answer)
    return compare(gold, exact)


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


def _bases(gold: str, answer: str) -> Verdict | None:
    asked, given = _BASE.fullmatch(gold), _BASE.fullmatch(answer)
    if asked is None or given is None:
        return None
    gold_base, base = asked[2] or asked[3], given[2] or given[3]
    if gold_base is None and base is None:
        return None
    if base is None:
        if _in_base(asked[1], gold_base) is None:
            return None
        same = asked[1].lower() == given[1].lower()
    else:
        first, second = _in_base(asked[1], gold_base or "10"), _in_base(given[1], base)
        same = first is not None and first == second
    return decided(same, "base", gold, answer)


def _relations(gold: str, answer: str) -> Verdict | None:
    """A relation is never equal to a value: ``x > 2`` says too little where 3 is asked."""
    if bool(_RELATION.search(gold)) == bool(_RELATION.search(answer)):
        return None
    return wrong("relation", gold, answer)


def _in_base(digits: str, base: str) -> int | None:
    """The number, or None if these are no digits of that base; one letter is a variable."""
    if digits.isalpha() and len(digits) == 1:
        return None
    radix = _BASES.get(base) or (int(base) if base.isdigit() else 0)
    try:
        return int(digits, radix) if 2 <= radix <= 36 else None
    except ValueError:
        return None
