"""What a comparison finds, and several values against several: in order, in any order, all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tirgen.verification.values import Value


@dataclass(frozen=True, slots=True)
class MatchResult:
    """Whether two values are the same, by which rule, and what else there is to say."""

    same: bool
    rule: str
    why: str = ""
    decided: bool = True
    """False where the gold value cannot be judged by."""


Leaf: TypeAlias = Callable[[Value, Value], MatchResult]
"""Decides two expressions, equations or unread mathematics, gold first."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How two values are compared."""

    leaf: Leaf
    exact_digits: int | None = None
    """Significant digits from which on a decimal may stand for an exact gold value; None for those
    of a double only."""


def outcome(same: bool, rule: str, why: str = "") -> MatchResult:
    return MatchResult(same, rule, "" if same else why)


def undecided(why: str) -> MatchResult:
    return MatchResult(False, "unverifiable", why, decided=False)


class Matching(ABC):
    """Compares values on the same terms."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def _in_order(self, gold: Sequence[Value], answer: Sequence[Value], rule: str) -> MatchResult:
        if len(gold) != len(answer):
            return outcome(False, rule, f"{len(answer)} parts where {len(gold)} are asked")
        return self._every(list(zip(gold, answer, strict=True)), rule)

    def _any_order(self, gold: Sequence[Value], answer: Sequence[Value], rule: str) -> MatchResult:
        if len(gold) != len(answer):
            return outcome(False, rule, f"{len(answer)} parts where {len(gold)} are asked")
        left = list(answer)
        unsure: MatchResult | None = None
        for item in gold:
            for candidate in left:
                result = self.same(item, candidate)
                if result.same:
                    left.remove(candidate)
                    break
                unsure = unsure or (None if result.decided else result)
            else:
                return unsure or outcome(False, rule, "a part is missing")
        return outcome(True, rule)

    def _every(self, pairs: Sequence[tuple[Value, Value]], rule: str) -> MatchResult:
        for gold, answer in pairs:
            result = self.same(gold, answer)
            if not result.same:
                return result
        return outcome(bool(pairs), rule)

    @abstractmethod
    def same(self, gold: Value, answer: Value) -> MatchResult: ...
