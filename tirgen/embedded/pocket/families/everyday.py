"""Word problems: shopping, growth, travel, choosing teams, chains of operations."""

from __future__ import annotations

import math
import random
from fractions import Fraction

from tirgen.embedded.pocket.families import code
from tirgen.embedded.pocket.families.base import (
    Draw,
    Solution,
    calculation,
    description,
    latex,
    sized,
)

NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo")
GOODS = ("pens", "books", "cups", "lamps", "rolls", "stamps", "plates", "chairs")
VEHICLES = ("A train", "A bus", "A ship", "A truck")


def purchase(rng: random.Random, level: int) -> Draw:
    """Two products, their sum, and the change: four steps."""
    prices = [sized(rng, level, (1, 5), (12, 60), (103, 989)) for _ in range(2)]
    counts = [sized(rng, level, (1, 5), (3, 19), (12, 98)) for _ in range(2)]
    first, second = rng.sample(GOODS, 2)
    name = rng.choice(NAMES)
    cost = sum(price * count for price, count in zip(prices, counts, strict=True))
    paid = cost + sized(rng, level, (1, 9), (5, 300), (50, 9000))
    question = rng.choice(
        (
            f"{name} buys {counts[0]} {first} at {prices[0]} cents each and {counts[1]} {second} "
            f"at {prices[1]} cents each, and pays with {paid} cents. "
            f"How many cents of change does {name} get?",
            f"{name} has {paid} cents and buys {counts[0]} {first} for {prices[0]} cents each and "
            f"{counts[1]} {second} for {prices[1]} cents each. How many cents are left?",
        )
    )

    def solve(words: random.Random) -> Solution:
        costs = []
        for goods, price, count in zip((first, second), prices, counts, strict=True):
            noun = f"the cost of the {goods}"
            program = code.product(words, count, price)
            costs.append(
                int((yield calculation(words, noun, f"{count} * {price}", count * price, program)))
            )
        left, right = costs
        program = code.total(words, left, right)
        both = int(
            (yield calculation(words, "the total", f"{left} + {right}", left + right, program))
        )
        program = code.arithmetic(words, f"{paid} - {both}")
        noun = words.choice(("the change", "the rest"))
        return (yield calculation(words, noun, f"{paid} - {both}", paid - both, program))

    return Draw(question, solve)


def growth(rng: random.Random, level: int) -> Draw:
    """Compound growth in integers, and what was gained: two steps."""
    start = sized(rng, level, (1, 40), (120, 990), (1200, 98000))
    percent = rng.choice((100, 200)) if level == 1 else rng.randint(2, 35)
    years = sized(rng, level, (1, 2), (3, 6), (7, 29))
    thing = rng.choice(("A town has {} people", "A pond holds {} fish", "A forest has {} trees"))
    question = (
        f"{thing.format(start)}. Each year the number grows by {percent} percent, rounded down. "
        f"By how much has it grown after {years} years?"
    )
    factor = 100 + percent

    def solve(words: random.Random) -> Solution:
        number = start
        for _ in range(years):
            number = number * factor // 100
        operands = f"of n -> n * {factor} // 100 from {start} after {years} rounds"
        program = code.either(
            words,
            f"n = {start}\nfor _ in range({years}):\n    n = n * {factor} // 100\nprint(n)",
            "from functools import reduce\n"
            f"print(reduce(lambda n, _: n * {factor} // 100, range({years}), {start}))",
        )
        final = int((yield description(words, "the result", operands, number, program)))
        program = code.arithmetic(words, f"{final} - {start}")
        return (
            yield calculation(words, "the growth", f"{final} - {start}", final - start, program)
        )

    return Draw(question, solve)


def travel(rng: random.Random, level: int) -> Draw:
    """Distance, time and average speed of a journey in two legs: three steps, often a fraction."""
    speeds = [sized(rng, level, (2, 9), (31, 99), (103, 989)) for _ in range(2)]
    hours = [sized(rng, level, (1, 2), (3, 12), (13, 97)) for _ in range(2)]
    vehicle = rng.choice(VEHICLES)
    question = (
        f"{vehicle} travels {hours[0]} hours at {speeds[0]} km/h and then {hours[1]} hours at "
        f"{speeds[1]} km/h. What is its average speed in km/h?"
    )

    def solve(words: random.Random) -> Solution:
        expression = f"{hours[0]} * {speeds[0]} + {hours[1]} * {speeds[1]}"
        pairs = f"[({hours[0]}, {speeds[0]}), ({hours[1]}, {speeds[1]})]"
        program = code.either(
            words,
            f"print({expression})",
            f"print(sum(hours * speed for hours, speed in {pairs}))",
            f"way = 0\nfor hours, speed in {pairs}:\n    way += hours * speed\nprint(way)",
        )
        value = hours[0] * speeds[0] + hours[1] * speeds[1]
        way = int((yield calculation(words, "the distance", expression, value, program)))
        program = code.total(words, *hours)
        expression = f"{hours[0]} + {hours[1]}"
        time = int((yield calculation(words, "the time", expression, sum(hours), program)))
        program = f"from fractions import Fraction\nprint(Fraction({way}, {time}))"
        speed = Fraction(way, time)
        return latex(
            (yield calculation(words, "the average speed", f"{way} / {time}", speed, program))
        )

    return Draw(question, solve)


def teams(rng: random.Random, level: int) -> Draw:
    """Two binomial coefficients and their product: three steps."""
    sizes = [sized(rng, level, (2, 5), (6, 14), (18, 45)) for _ in range(2)]
    chosen = [rng.randint(1, min(size, level * 2)) for size in sizes]
    first, second = rng.sample(("girls", "boys", "cats", "dogs", "red balls", "blue balls"), 2)
    question = (
        f"In how many ways can one choose {chosen[0]} of {sizes[0]} {first} and {chosen[1]} of "
        f"{sizes[1]} {second}?"
    )

    def solve(words: random.Random) -> Solution:
        ways = []
        for thing, size, count in zip((first, second), sizes, chosen, strict=True):
            program = code.either(
                words,
                f"import math\nprint(math.comb({size}, {count}))",
                f"from sympy import binomial\nprint(binomial({size}, {count}))",
            )
            noun = f"the number of ways for the {thing}"
            value = math.comb(size, count)
            ways.append(
                int((yield calculation(words, noun, f"C({size}, {count})", value, program)))
            )
        left, right = ways
        program = code.product(words, left, right)
        return (yield calculation(words, "the product", f"{left} * {right}", left * right, program))

    return Draw(question, solve)


def chain(rng: random.Random, level: int) -> Draw:
    """Multiply, add, take the remainder: three steps."""
    start = sized(rng, level, (1, 5), (23, 99), (1234, 9876))
    factor = sized(rng, level, (1, 5), (6, 49), (123, 987))
    plus = sized(rng, level, (1, 9), (31, 990), (10234, 98765))
    modulus = sized(rng, level, (2, 5), (7, 60), (101, 997))
    question = rng.choice(
        (
            f"Multiply {start} by {factor} and add {plus}. "
            f"What is the remainder of the result modulo {modulus}?",
            f"Take {start} times {factor}, plus {plus}. "
            f"Which remainder does it leave when divided by {modulus}?",
        )
    )

    def solve(words: random.Random) -> Solution:
        program = code.product(words, start, factor)
        expression = f"{start} * {factor}"
        first = int((yield calculation(words, "the product", expression, start * factor, program)))
        program = code.total(words, first, plus)
        expression = f"{first} + {plus}"
        second = int((yield calculation(words, "the sum", expression, first + plus, program)))
        program = code.arithmetic(words, f"{second} % {modulus}")
        expression = f"{second} % {modulus}"
        return (yield calculation(words, "the remainder", expression, second % modulus, program))

    return Draw(question, solve)
