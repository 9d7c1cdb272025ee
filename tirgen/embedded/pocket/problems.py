"""The packaged problems: drawn from the families, and split by a hash of the question."""

from __future__ import annotations

import hashlib
import random
from itertools import count as counting
from typing import Literal

from storage.records import Problem
from tirgen.embedded.pocket.families import FAMILIES, LEVELS, Draw, answer_of

Split = Literal["train", "test"]

TEST_SHARE = 8
"""One of this many questions belongs to the test split."""
MOST_DRAWS = 1000
"""Draws from one family and level without a new question, after which it counts as exhausted."""


def problems(
    split: Split, count: int, *, seed: int = 0, levels: tuple[int, ...] = LEVELS
) -> list[Problem]:
    """`count` different problems, evenly over the families and levels that are not exhausted.

    A longer list starts with the shorter list of the same seed. No question is in both splits.
    Raises ValueError if there are not that many problems.
    """
    cells = [(family, level) for level in levels for family in FAMILIES]
    exhausted: set[tuple[str, int]] = set()
    seen: set[str] = set()
    found: list[Problem] = []
    for place in counting():
        if len(found) == count:
            return found
        family, level = cell = cells[place % len(cells)]
        if len(exhausted) == len(cells):
            raise ValueError(f"the {split} split has {len(found)} problems, not {count}")
        if cell in exhausted:
            continue
        draw = _new_draw(random.Random(f"{seed}/{split}/{place}"), family, level, split, seen)
        if draw is None:
            exhausted.add(cell)
            continue
        seen.add(draw.question)
        found.append(_problem(draw, family, level, split))
    raise AssertionError("unreachable")


def draw_problem(rng: random.Random, family: str, level: int, split: Split) -> Draw:
    """One problem of the split with its solution."""
    while True:
        draw = FAMILIES[family](rng, level)
        if split_of(draw.question) == split:
            return draw


def split_of(question: str) -> Split:
    """The split of a question, by its text."""
    digest = hashlib.sha256(question.encode()).digest()
    return "test" if digest[0] % TEST_SHARE == 0 else "train"


def _new_draw(
    rng: random.Random, family: str, level: int, split: Split, seen: set[str]
) -> Draw | None:
    """A new problem; None after `MOST_DRAWS` draws without one."""
    draws = (draw_problem(rng, family, level, split) for _ in range(MOST_DRAWS))
    return next((draw for draw in draws if draw.question not in seen), None)


def _problem(draw: Draw, family: str, level: int, split: Split) -> Problem:
    digest = hashlib.sha256(draw.question.encode()).hexdigest()[:8]
    return Problem(
        problem_id=f"pocket-{family}-{level}-{digest}",
        source=f"pocket:{split}",
        question=draw.question,
        answer=answer_of(draw),
        difficulty=f"level {level}",
    )
