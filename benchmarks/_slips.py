"""A mistake put into recorded reasoning: one wrong value, and everything that follows from it.

The recordings were sampled with a calculator, so they contain almost no wrong values.
"""

from __future__ import annotations

import random

from benchmarks._claims import CLAIM, Corrections, as_number, computed, numbers_in, shown_after


def spoil(question: str, solution: str, rng: random.Random) -> str | None:
    """The solution with one calculation wrong by a digit, and everything after it computed from
    that.

    None where the true and the wrong value cannot both be distinguished from every other number in
    the text: then no reader of the text could follow the mistake.
    """
    lines = solution.splitlines()
    given = set(numbers_in(question))
    around = given | set(numbers_in(solution))
    places = [
        (index, claim.start("value"), wrong)
        for index, line in enumerate(lines)
        for claim in CLAIM.finditer(line)
        if (value := as_number(claim["value"])) and value == computed(claim) and value not in given
        for wrong in _wrong_values(value)
        if wrong not in around
    ]
    if not places:
        return None
    row, column, wrong = rng.choice(places)
    corrections = Corrections(question)
    return "\n".join(
        _retold(line, corrections, {column: wrong} if index == row else {})
        for index, line in enumerate(lines)
    )


def _wrong_values(value: float) -> list[float]:
    """The value with one of its digits off by one."""
    powers = [10.0**place for place in range(len(str(int(abs(value)))))]
    return [value + power for power in powers] + [value - power for power in powers]


def _retold(line: str, corrections: Corrections, slips: dict[int, float]) -> str:
    """The line with its claims computed from the values so far, or made wrong."""
    parts, position = [], 0
    for claim in CLAIM.finditer(line):
        parts.append(corrections.apply(line[position : claim.start()]))
        position = claim.end() + len(shown_after(line, claim))
        told = CLAIM.fullmatch(corrections.apply(claim[0]))
        value = slips.get(claim.start("value"), computed(told) if told else None)
        if told is None or value is None:
            parts.append(line[claim.start() : position])
            continue
        said = corrections.learn(claim["value"], str(value))
        parts.append(f"<<{told['expression']}={said}>>{said}")
    return "".join([*parts, corrections.apply(line[position:])])
