"""The packaged problems: drawn on demand from the families, split by a hash of the question."""

from __future__ import annotations

import hashlib
import random
from itertools import count as counting
from typing import Literal

from storage.records import Problem
from tirgen.pocket.families import FAMILIES, LEVELS, Draw, answer_of

Split = Literal["train", "test"]

TEST_SHARE = 8
"""One question in so many belongs to the test split."""


def problems(
    split: Split, count: int, *, seed: int = 0, levels: tuple[int, ...] = LEVELS
) -> list[Problem]:
    """`count` different problems, spread evenly over families and levels.

    A longer list starts with the shorter one of the same seed. No question is in both splits.
    """
    cells = [(family, level) for level in levels for family in FAMILIES]
    seen: set[str] = set()
    found: list[Problem] = []
    for place in range(count):
        family, level = cells[place % len(cells)]
        rng = random.Random(f"{seed}/{split}/{place}")
        draw = _new_draw(rng, family, level, split, seen)
        seen.add(draw.question)
        found.append(_problem(draw, family, level, split))
    return found


def draw_problem(rng: random.Random, family: str, level: int, split: Split) -> Draw:
    """One problem of the split, its solution with it."""
    while True:
        draw = FAMILIES[family](rng, level)
        if split_of(draw.question) == split:
            return draw


def split_of(question: str) -> Split:
    """Which split a question belongs to, from its text alone."""
    digest = hashlib.sha256(question.encode()).digest()
    return "test" if digest[0] % TEST_SHARE == 0 else "train"


def _new_draw(rng: random.Random, family: str, level: int, split: Split, seen: set[str]) -> Draw:
    for tries in counting():
        draw = draw_problem(rng, family, level, split)
        if draw.question not in seen:
            return draw
        if tries > 1000:
            raise ValueError(
                f"the {split} split has no further {family} problem of level {level}; "
                "ask for fewer problems or for higher levels only"
            )
    raise AssertionError("unreachable")


def _problem(draw: Draw, family: str, level: int, split: Split) -> Problem:
    digest = hashlib.sha256(draw.question.encode()).hexdigest()[:8]
    return Problem(
        problem_id=f"pocket-{family}-{level}-{digest}",
        source=f"pocket:{split}",
        question=draw.question,
        answer=answer_of(draw),
        difficulty=f"level {level}",
    )
