"""How a layer states what it decided: a method, and a reason that a person can read."""

from __future__ import annotations

import re
from collections.abc import Callable

from storage.records import UNVERIFIABLE, Verdict
from tirgen.verification.normalise import plain

Compare = Callable[[str, str], Verdict]
"""Decides two normalised answers, gold first."""


def right(method: str, gold: str, answer: str) -> Verdict:
    return Verdict(correct=True, method=method, reason=f"{brief(gold)} = {brief(answer)}")


def wrong(method: str, gold: str, answer: str, why: str = "") -> Verdict:
    reason = f"{method}: {brief(gold)} vs {brief(answer)}"
    return Verdict(correct=False, method=method, reason=f"{reason}; {why}" if why else reason)


def decided(correct: bool, method: str, gold: str, answer: str) -> Verdict:
    return (right if correct else wrong)(method, gold, answer)


def unverifiable(gold: str, why: str) -> Verdict:
    """The gold answer is nothing to judge by, which says nothing about the answer."""
    reason = f"gold answer {brief(gold)!r} cannot be verified: {why}"
    return Verdict(correct=False, method=UNVERIFIABLE, reason=reason)


def spelling(text: str) -> str:
    """What decides whether two normalised answers are spelled the same."""
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", text)
    return re.sub(r"\s+", "", re.sub(r"(?<=\d)\s+(?=\d)", "|", text))


def brief(text: str) -> str:
    text = plain(text) if "\\text" in text else text
    return text if len(text) <= 60 else text[:57] + "..."
