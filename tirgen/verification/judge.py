"""From two answers as text to a verdict: read both, compare, say why.

What needs a library that can run away is left to `leaf`, which the caller supplies: the real one
in a worker process, or a refusal that says a worker is needed.
"""

from __future__ import annotations

import re
from functools import lru_cache

from storage.records import UNVERIFIABLE, Verdict
from tirgen.verification.answers import read
from tirgen.verification.compare import Comparison
from tirgen.verification.matching import Leaf, Terms
from tirgen.verification.show import shown
from tirgen.verification.tokens import MAX_LENGTH, spelled
from tirgen.verification.values import Listing, Named, Opaque, Several, Text, Value

_BRIEF = 60
_LONGEST_PHRASE = 8
"""Words; a longer gold answer can be said in too many ways for any spelling to be wrong."""
_SENTENCE = "sentences can be compared by spelling only"
_WORD = re.compile(r"(?<!\\)\b[^\W\d_]+")
_DEFAULT = re.compile(r"(?<![\w.,])\s+|(?<=,)\s+(?!\d{3}(?!\d))|\s+(?![\w.])|\\[,;:! ](?!\d)|\$")
_SINGLE = re.compile(r"(?<=[_^])\{(\w)\}")
_LEQ = re.compile(r"\\([lg])eq(?:slant)?(?![a-z])")
_PUNCTUATION = " \t\n.,;$"


def judge(gold: str, answer: str, leaf: Leaf, exact_digits: int | None = None) -> Verdict:
    """Is `answer` the same as `gold`? Both as extracted, without their boxes.

    A decimal of `exact_digits` significant digits may stand for an exact gold answer.
    """
    if why := too_long_or_empty(gold):
        same = gold.strip() == answer.strip() != ""
        return (
            _verdict(same, "equal", f"{brief(answer)} as given")
            if same
            else _unverifiable(gold, why)
        )
    if len(answer) > MAX_LENGTH:
        return _verdict(False, "length", f"{len(answer)} characters, more than {MAX_LENGTH}")
    if _key(gold) == _key(answer):
        return _verdict(True, "equal", f"{brief(answer)} as given", gold, answer)
    if why := undecidable(gold):
        return _unverifiable(gold, why, answer)
    outcome = Comparison(Terms(leaf, exact_digits)).whole(read(gold), read(answer))
    if not outcome.decided:
        return _unverifiable(gold, outcome.why, answer)
    sign = "=" if outcome.same else "vs"
    why = f": {outcome.why}" if outcome.why else ""
    reason = f"{outcome.rule}: {brief(gold)} {sign} {brief(answer)}{why}"
    return _verdict(outcome.same, outcome.rule, reason, gold, answer)


def _verdict(same: bool, rule: str, reason: str, gold: str = "", answer: str = "") -> Verdict:
    values = [shown(read(text)) if text else "" for text in (gold, answer)]
    return Verdict(
        correct=same, method=rule, reason=reason, gold_value=values[0], answer_value=values[1]
    )


def _unverifiable(gold: str, why: str, answer: str = "") -> Verdict:
    """Both values are shown where both were read."""
    reason = f"the gold answer {brief(gold)} cannot be verified: {why}"
    return _verdict(False, UNVERIFIABLE, reason, gold if answer else "", answer)


def _key(text: str) -> str:
    key = _DEFAULT.sub("", spelled(text)).strip(" \t\n,;$")
    key = key[:-1].rstrip() if key.endswith(".") and not key.endswith("..") else key
    return _SINGLE.sub(r"\1", _LEQ.sub(r"\\\1e", key))


@lru_cache(maxsize=16_384)
def undecidable(gold: str) -> str | None:
    """Why no answer could be judged by a gold answer, or None: a proof, a sentence, broken LaTeX.

    Known without any answer, so before inference is paid for. What only a worker can find out
    (mathematics that its libraries cannot read) is not known here.
    """
    return too_long_or_empty(gold) or _why_undecidable(read(gold), len(_WORD.findall(gold)))


def too_long_or_empty(gold: str) -> str | None:
    if not gold.strip(_PUNCTUATION):
        return "it is empty"
    if len(gold) > MAX_LENGTH:
        return f"it has {len(gold)} characters, more than {MAX_LENGTH}"
    return None


def _why_undecidable(value: Value, words: int) -> str | None:
    match value:
        case Text(said):
            if len(said.split()) > _LONGEST_PHRASE:
                return _SENTENCE
            return None if said else "it is neither words nor mathematics that can be read"
        case Opaque(readable=False):
            return "it is no mathematics that can be read"
        case Named() | Listing() if _only_words(value):
            return _SENTENCE if words > _LONGEST_PHRASE else None
        case Named(_, inner):
            return _why_undecidable(inner, words)
        case Several(items):
            return next((why for item in items if (why := _why_undecidable(item, words))), None)
    return None


def _only_words(value: Value) -> bool:
    match value:
        case Named(str(), inner):
            return _only_words(inner)
        case Listing(items):
            return all(map(_only_words, items))
    return isinstance(value, Text)


def brief(text: str) -> str:
    r"""An answer as a reason quotes it."""
    text = " ".join(text.split())
    return text if len(text) <= _BRIEF else text[: _BRIEF - 1] + "…"
