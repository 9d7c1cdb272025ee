"""Problem families: a question drawn with a seeded generator, and a solution in steps."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from fractions import Fraction

LEVELS = (1, 2, 3)
"""Level 1 can be solved by mental arithmetic; level 3 is far too hard for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolutionStep:
    """One computation, worded so that it can be understood without the question.

    In `claim` and `finding` the value replaces the mark `{}`.
    """

    claim: str
    """The step without program: operands and claimed value in one paragraph."""
    task: str
    """The same without the value."""
    code: str
    """Python that prints the value, with its imports and without blank lines."""
    value: str
    """The output of the code, computed when the step was made."""
    finding: str
    """The sentence that states the value after the code has run."""

    def plain(self, value: str) -> str:
        """The paragraph that claims `value`, which can be wrong."""
        return self.claim.replace("{}", value)

    def found(self, value: str) -> str:
        """The finding for an observed `value`."""
        return self.finding.replace("{}", value)


Solution = Generator[SolutionStep, str, str]
"""Yields steps, gets the assumed value of each one by `send`, and returns the final answer.

Later steps compute with these values: an error propagates, as in real reasoning.
"""


@dataclass(frozen=True, slots=True)
class Draw:
    """One problem of a family."""

    question: str
    solve: Callable[[random.Random], Solution]
    """Starts the solution; the generator chooses wordings and programs, but no numbers."""


Family = Callable[[random.Random, int], Draw]
"""From a seeded generator and a level (one of `LEVELS`) to a problem."""


def answer_of(draw: Draw) -> str:
    """The gold answer: the result of the solution with the true values."""
    solution = draw.solve(random.Random(0))
    try:
        step = next(solution)
        while True:
            step = solution.send(step.value)
    except StopIteration as end:
        return str(end.value)


def sized(rng: random.Random, level: int, *ranges: tuple[int, int]) -> int:
    """An integer from the inclusive range of this level."""
    low, high = ranges[level - 1]
    return rng.randint(low, high)


def latex(value: str) -> str:
    """An integer or a reduced fraction in LaTeX."""
    number = Fraction(value)
    if number.denominator == 1:
        return str(number.numerator)
    sign = "-" if number < 0 else ""
    return f"{sign}\\frac{{{abs(number.numerator)}}}{{{number.denominator}}}"


def calculation(
    rng: random.Random, noun: str, expression: str, value: object, code: str
) -> SolutionStep:
    """A step with an arithmetic expression: "The cost is 3 * 4 = 12."."""
    claim, task = rng.choice(
        (
            (f"{upper(noun)} is {expression} = {{}}.", f"{upper(noun)} is {expression}."),
            (f"We compute {noun}: {expression} = {{}}.", f"We compute {noun}: {expression}."),
        )
    )
    return SolutionStep(
        claim=claim, task=task, code=code, value=str(value), finding=_finding(rng, noun)
    )


def description(
    rng: random.Random, noun: str, operands: str, value: object, code: str
) -> SolutionStep:
    """A step that describes the computation: "The remainder of 7^9 modulo 5 is 2."."""
    claim, task = rng.choice(
        (
            (f"{upper(noun)} {operands} is {{}}.", f"{upper(noun)} {operands} is needed."),
            (f"We find {noun} {operands}: {{}}.", f"We find {noun} {operands}."),
        )
    )
    return SolutionStep(
        claim=claim, task=task, code=code, value=str(value), finding=_finding(rng, noun)
    )


def upper(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _finding(rng: random.Random, noun: str) -> str:
    return rng.choice((f"{upper(noun)} is {{}}.", f"So {noun} is {{}}."))
