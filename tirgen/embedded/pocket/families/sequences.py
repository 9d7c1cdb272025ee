"""Sequences: arithmetic series, sums of powers, linear recurrences modulo m."""

from __future__ import annotations

import random

from tirgen.embedded.pocket.families import code
from tirgen.embedded.pocket.families.base import Draw, Solution, calculation, description, sized


def arithmetic_series(rng: random.Random, level: int) -> Draw:
    """The last term of an arithmetic sequence and the sum: two steps."""
    first = sized(rng, level, (1, 9), (3, 60), (120, 990))
    step = sized(rng, level, (1, 5), (2, 19), (21, 98))
    count = sized(rng, level, (3, 6), (8, 40), (60, 900))
    question = rng.choice(
        (
            f"An arithmetic sequence starts with {first} and grows by {step} from term to term. "
            f"What is the sum of its first {count} terms?",
            f"In a theatre the first row has {first} seats and each further row {step} more. "
            f"How many seats are there in {count} rows?",
        )
    )

    def solve(words: random.Random) -> Solution:
        expression = f"{first} + ({count} - 1) * {step}"
        program = code.arithmetic(words, expression)
        value = first + (count - 1) * step
        last = int((yield calculation(words, "the last term", expression, value, program)))
        expression = f"{count} * ({first} + {last}) // 2"
        program = code.arithmetic(words, expression)
        value = count * (first + last) // 2
        return (yield calculation(words, "the sum", expression, value, program))

    return Draw(question, solve)


def power_sum(rng: random.Random, level: int) -> Draw:
    """A sum of squares or cubes, from level 2 on its remainder: one or two steps."""
    low = sized(rng, level, (1, 40), (2, 90), (41, 499))
    high = low + sized(rng, level, (1, 4), (5, 30), (40, 499))
    modulus = sized(rng, level, (1, 1), (7, 97), (101, 997))
    exponent, name = rng.choice(((2, "squares"), (3, "cubes")) if level > 1 else ((2, "squares"),))
    noun = f"the sum of the {name}"
    question = (
        f"What is {noun} of the integers from {low} to {high}?"
        if level == 1
        else f"What is {noun} of the integers from {low} to {high}, modulo {modulus}?"
    )

    def solve(words: random.Random) -> Solution:
        program = code.either(
            words,
            f"print(sum(n**{exponent} for n in range({low}, {high} + 1)))",
            f"s = 0\nfor n in range({low}, {high} + 1):\n    s += n**{exponent}\nprint(s)",
        )
        value = sum(n**exponent for n in range(low, high + 1))
        total = int((yield description(words, noun, f"from {low} to {high}", value, program)))
        if level == 1:
            return str(total)
        expression = f"{total} % {modulus}"
        program = code.arithmetic(words, expression)
        return (yield calculation(words, "the remainder", expression, total % modulus, program))

    return Draw(question, solve)


def recurrence(rng: random.Random, level: int) -> Draw:
    """A linear congruential sequence after some rounds: one step."""
    modulus = sized(rng, level, (5, 10), (31, 199), (1000, 9973))
    start = sized(rng, level, (1, 4), (2, 30), (31, 999))
    factor = sized(rng, level, (2, 3), (3, 29), (30, 997))
    plus = sized(rng, level, (1, 4), (1, 29), (30, 997))
    rounds = sized(rng, level, (1, 2), (3, 12), (20, 500))
    question = rng.choice(
        (
            f"Start with x = {start} and replace x by ({factor} * x + {plus}) % {modulus}, "
            f"{rounds} times. What is x in the end?",
            f"A sequence starts with {start}; after x comes ({factor} * x + {plus}) % {modulus}. "
            f"What is it after {rounds} rounds?",
        )
    )

    def solve(words: random.Random) -> Solution:
        value = start
        for _ in range(rounds):
            value = (factor * value + plus) % modulus
        rule = f"({factor} * x + {plus}) % {modulus}"
        program = f"x = {start}\nfor _ in range({rounds}):\n    x = {rule}\nprint(x)"
        operands = f"of x -> {rule} from {start} after {rounds} rounds"
        return (yield description(words, "the result", operands, value, program))

    return Draw(question, solve)
