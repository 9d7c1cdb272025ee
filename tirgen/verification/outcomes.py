"""What a comparison finds out, and what the leaves of comparisons are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tirgen.verification.values import Value


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether two values are the same, by which rule, and what else there is to say."""

    same: bool
    rule: str
    why: str = ""
    decided: bool = True
    """False where the gold value cannot be judged by."""


Leaf: TypeAlias = Callable[[Value, Value], Outcome]
"""Decides two expressions, equations or unread mathematics, gold first."""


def outcome(same: bool, rule: str, why: str = "") -> Outcome:
    return Outcome(same, rule, "" if same else why)


def undecided(why: str) -> Outcome:
    return Outcome(False, "unverifiable", why, decided=False)
