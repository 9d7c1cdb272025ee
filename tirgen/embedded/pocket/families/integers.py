"""Number theory: powers modulo m, gcd and lcm, digit sums, bases, primes, divisors."""

from __future__ import annotations

import math
import random

from tirgen.embedded.pocket.families import code
from tirgen.embedded.pocket.families.base import (
    Draw,
    Solution,
    SolutionStep,
    calculation,
    description,
    sized,
)


def power_remainder(rng: random.Random, level: int) -> Draw:
    """The remainder of a power; at level 3 of the sum of two: one or three steps."""
    modulus = sized(rng, level, (2, 7), (13, 97), (101, 9973))
    powers = [
        (
            sized(rng, level, (2, 12), (3, 30), (12, 350)),
            sized(rng, level, (2, 3), (5, 30), (31, 999)),
        )
        for _ in range(2 if level == 3 else 1)
    ]
    written = " + ".join(f"{base}^{exponent}" for base, exponent in powers)
    question = rng.choice(
        (
            f"What is the remainder of {written} divided by {modulus}?",
            f"Which remainder does {written} leave modulo {modulus}?",
        )
    )

    def power(words: random.Random, base: int, exponent: int) -> SolutionStep:
        program = code.either(
            words,
            f"r = 1\nfor _ in range({exponent}):\n    r = r * {base} % {modulus}\nprint(r)",
            f"from sympy import Integer\nprint(Integer({base}) ** {exponent} % {modulus})",
            f"print(pow({base}, {exponent}, {modulus}))",
        )
        operands = f"of {base}^{exponent} modulo {modulus}"
        return description(words, "the remainder", operands, pow(base, exponent, modulus), program)

    def solve(words: random.Random) -> Solution:
        found = []
        for base, exponent in powers:
            found.append(int((yield power(words, base, exponent))))
        if len(found) == 1:
            return str(found[0])
        expression = f"({found[0]} + {found[1]}) % {modulus}"
        program = code.arithmetic(words, expression)
        value = sum(found) % modulus
        return (yield calculation(words, "the final remainder", expression, value, program))

    return Draw(question, solve)


def common_multiple(rng: random.Random, level: int) -> Draw:
    """The greatest common divisor, and from it the least common multiple: two steps."""
    shared = sized(rng, level, (1, 4), (4, 24), (12, 180))
    left, right = (shared * sized(rng, level, (1, 6), (5, 40), (41, 360)) for _ in range(2))
    question = rng.choice(
        (
            f"What is the least common multiple of {left} and {right}?",
            f"Find the smallest positive number divisible by both {left} and {right}.",
        )
    )

    def solve(words: random.Random) -> Solution:
        program = code.either(
            words,
            f"import math\nprint(math.gcd({left}, {right}))",
            f"a, b = {left}, {right}\nwhile b:\n    a, b = b, a % b\nprint(a)",
        )
        noun, operands = "the greatest common divisor", f"of {left} and {right}"
        value = math.gcd(left, right)
        divisor = int((yield description(words, noun, operands, value, program)))
        expression = f"{left} * {right} // {divisor}"
        program = code.arithmetic(words, expression)
        value = left * right // divisor
        return (yield calculation(words, "the least common multiple", expression, value, program))

    return Draw(question, solve)


def digit_sum(rng: random.Random, level: int) -> Draw:
    """A power and the sum of its digits: two steps."""
    base = sized(rng, level, (2, 199), (11, 99), (12, 99))
    exponent = 2 if level == 1 else sized(rng, level, (2, 2), (3, 4), (5, 7))
    question = rng.choice(
        (
            f"What is the sum of the digits of {base}^{exponent}?",
            f"Add up the decimal digits of {base}^{exponent}. What is the sum?",
        )
    )

    def solve(words: random.Random) -> Solution:
        program = code.either(
            words,
            f"import math\nprint(math.prod([{base}] * {exponent}))",
            f"n = 1\nfor _ in range({exponent}):\n    n *= {base}\nprint(n)",
            f"print({base} ** {exponent})",
        )
        noun = "the power"
        expression = f"{base}^{exponent}"
        power = int((yield calculation(words, noun, expression, base**exponent, program)))
        program = code.either(
            words,
            f"print(sum(int(digit) for digit in str({power})))",
            f"n, s = {power}, 0\nwhile n:\n    n, digit = divmod(n, 10)\n    s += digit\nprint(s)",
        )
        value = sum(map(int, str(power)))
        return (yield description(words, "the digit sum", f"of {power}", value, program))

    return Draw(question, solve)


def base_change(rng: random.Random, level: int) -> Draw:
    """From one base to another over base ten: two steps."""
    source, target = rng.sample(range(2, 10), 2) if level > 1 else rng.sample((2, 3, 4, 5), 2)
    number = sized(rng, level, (3, 40), (60, 900), (2000, 60000))
    digits = to_base(number, source)
    question = rng.choice(
        (
            f"Write the base {source} number {digits} in base {target}.",
            f"What is {digits} (base {source}) in base {target}?",
        )
    )

    def solve(words: random.Random) -> Solution:
        program = code.either(
            words,
            f"n = 0\nfor digit in [{', '.join(digits)}]:\n    n = n * {source} + digit\nprint(n)",
            f'n = 0\nfor digit in "{digits}":\n    n = n * {source} + int(digit)\nprint(n)',
            f'print(int("{digits}", {source}))',
        )
        operands = f"of {digits} in base {source}"
        decimal = int((yield description(words, "the value", operands, number, program)))
        program = (
            f'n, digits = {decimal}, ""\nwhile n:\n    n, digit = divmod(n, {target})\n'
            "    digits = str(digit) + digits\nprint(digits)"
        )
        noun, operands = f"the base {target} form", f"of {decimal}"
        return (yield description(words, noun, operands, to_base(decimal, target), program))

    return Draw(question, solve)


def prime_count(rng: random.Random, level: int) -> Draw:
    """How many numbers of a range are not prime: three steps."""
    low = sized(rng, level, (2, 30), (50, 400), (500, 9000))
    high = low + sized(rng, level, (2, 7), (30, 150), (200, 2000))
    question = rng.choice(
        (
            f"How many integers from {low} to {high} are not prime?",
            f"Count the integers from {low} to {high} that are not prime.",
        )
    )

    def solve(words: random.Random) -> Solution:
        expression = f"{high} - {low} + 1"
        program = code.arithmetic(words, expression)
        value = high - low + 1
        count = int(
            (yield calculation(words, "the number of integers", expression, value, program))
        )
        program = code.either(
            words,
            f"from sympy import primerange\nprint(len(list(primerange({low}, {high} + 1))))",
            f"from sympy import isprime\nprint(sum(isprime(n) for n in range({low}, {high} + 1)))",
        )
        noun, operands = "the number of primes", f"from {low} to {high}"
        primes = int((yield description(words, noun, operands, _primes(low, high), program)))
        expression = f"{count} - {primes}"
        program = code.arithmetic(words, expression)
        return (yield calculation(words, "the difference", expression, count - primes, program))

    return Draw(question, solve)


def divisors(rng: random.Random, level: int) -> Draw:
    """How many divisors a number has, or their sum: one step."""
    number = sized(rng, level, (4, 120), (121, 2000), (10000, 900000))
    noun = rng.choice(("the number of divisors", "the sum of the divisors"))
    question = rng.choice((f"What is {noun} of {number}?", f"Find {noun} of {number}."))
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    parts = {*small, *(number // d for d in small)}

    def solve(words: random.Random) -> Solution:
        counting = noun == "the number of divisors"
        value, function = (
            (len(parts), "divisor_count") if counting else (sum(parts), "divisor_sigma")
        )
        shown = "1" if counting else "d"
        program = code.either(
            words,
            f"from sympy import {function}\nprint({function}({number}))",
            f"print(sum({shown} for d in range(1, {number} + 1) if {number} % d == 0))",
        )
        return (yield description(words, noun, f"of {number}", value, program))

    return Draw(question, solve)


def to_base(number: int, base: int) -> str:
    """The digits of a positive integer in a base of at most ten."""
    digits = ""
    while number:
        number, digit = divmod(number, base)
        digits = str(digit) + digits
    return digits


def _primes(low: int, high: int) -> int:
    return sum(
        n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(low, high + 1)
    )
