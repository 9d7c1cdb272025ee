"""What a problem family is: a question drawn from a seeded generator, and a solution in steps."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from fractions import Fraction

LEVELS = (1, 2, 3)
"""Level 1 is within reach of head arithmetic, level 3 is far beyond it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One computation, worded so that it can be understood without the question.

    In `claim` and `finding` the mark `{}` stands where the value goes.
    """

    claim: str
    """The step as head arithmetic writes it: operands and claimed value in one paragraph."""
    task: str
    """The same before the value is known."""
    code: str
    """Python that prints the value; imports all it uses, holds no blank line."""
    value: str
    """What the code prints, computed by Python when the step was made."""
    finding: str
    """The sentence that states the value once the code has run."""

    def plain(self, value: str) -> str:
        """The paragraph that claims `value`, right or wrong."""
        return self.claim.replace("{}", value)

    def found(self, value: str) -> str:
        """The concluding sentence for an observed `value`."""
        return self.finding.replace("{}", value)


Solution = Generator[Step, str, str]
"""Yields steps, is sent the value each one is believed to have, and returns the final answer.

Later steps compute with the believed values: a wrong one is carried on, as in real reasoning.
"""


@dataclass(frozen=True, slots=True)
class Draw:
    """One problem of a family."""

    question: str
    solve: Callable[[random.Random], Solution]
    """Starts the solution; the generator chooses among wordings and programs, never numbers."""


Family = Callable[[random.Random, int], Draw]
"""From a seeded generator and a level (one of `LEVELS`) to a problem."""


def answer_of(draw: Draw) -> str:
    """The gold answer: the solution with every value as Python computed it."""
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
    """An integer or a reduced fraction as it stands in the box."""
    number = Fraction(value)
    if number.denominator == 1:
        return str(number.numerator)
    sign = "-" if number < 0 else ""
    return f"{sign}\\frac{{{abs(number.numerator)}}}{{{number.denominator}}}"


def calculation(rng: random.Random, noun: str, expression: str, value: object, code: str) -> Step:
    """A step around an arithmetic expression: "The cost is 3 * 4 = 12."."""
    claim, task = rng.choice(
        (
            (f"{upper(noun)} is {expression} = {{}}.", f"{upper(noun)} is {expression}."),
            (f"We compute {noun}: {expression} = {{}}.", f"We compute {noun}: {expression}."),
        )
    )
    return Step(claim=claim, task=task, code=code, value=str(value), finding=_finding(rng, noun))


def description(rng: random.Random, noun: str, operands: str, value: object, code: str) -> Step:
    """A step that says in words what is computed: "The remainder of 7^9 modulo 5 is 2."."""
    claim, task = rng.choice(
        (
            (f"{upper(noun)} {operands} is {{}}.", f"{upper(noun)} {operands} is needed."),
            (f"We find {noun} {operands}: {{}}.", f"We find {noun} {operands}."),
        )
    )
    return Step(claim=claim, task=task, code=code, value=str(value), finding=_finding(rng, noun))


def upper(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _finding(rng: random.Random, noun: str) -> str:
    return rng.choice((f"{upper(noun)} is {{}}.", f"So {noun} is {{}}."))
