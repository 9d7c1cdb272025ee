"""Equations, polynomials and fractions."""

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


def linear_system(rng: random.Random, level: int) -> Draw:
    """Two equations in x and y, and a combination of the unknowns: three steps."""
    x, y = (sized(rng, level, (1, 5), (4, 30), (31, 400)) for _ in range(2))
    a, b, d, e = (sized(rng, level, (1, 4), (2, 12), (12, 98)) for _ in range(4))
    if a * e == b * d:
        a += 1 if a * e + e != b * d else 2
    first, second = f"{a}*x + {b}*y = {a * x + b * y}", f"{d}*x + {e}*y = {d * x + e * y}"
    sign, word = rng.choice((("+", "the sum"), ("*", "the product")))
    question = rng.choice(
        (
            f"Solve {first} and {second}. What is x {sign} y?",
            f"The numbers x and y satisfy {first} and {second}. Find x {sign} y.",
        )
    )

    def solve(words: random.Random) -> Solution:
        left, right = a * x + b * y, d * x + e * y
        program = code.either(
            words,
            'from sympy import Eq, solve, symbols\nx, y = symbols("x y")\n'
            f"pair = solve([Eq({a}*x + {b}*y, {left}), Eq({d}*x + {e}*y, {right})])\n"
            "print(pair[x])",
            "from fractions import Fraction\n"
            f"print(Fraction({left} * {e} - {b} * {right}, {a} * {e} - {b} * {d}))",
        )
        found = Fraction((yield description(words, "the x", f"of {first}, {second}", x, program)))
        expression = f"({left} - {a} * {found}) / {b}"
        program = code.either(
            words,
            f"from sympy import Rational\nprint(Rational({left} - {a} * {found}, {b}))",
            f"from fractions import Fraction\nprint(Fraction({left} - {a} * {found}, {b}))",
        )
        value = (left - a * found) / b
        other = Fraction((yield calculation(words, "the y", expression, value, program)))
        expression = f"{found} {sign} {other}"
        program = code.arithmetic(words, expression)
        value = found + other if sign == "+" else found * other
        return latex((yield calculation(words, word, expression, value, program)))

    return Draw(question, solve)


def quadratic(rng: random.Random, level: int) -> Draw:
    """Discriminant, its root, and one solution of a quadratic equation: three steps."""
    low, high = sorted(sized(rng, level, (1, 12), (13, 60), (61, 499)) for _ in range(2))
    total, product = low + high, low * high
    wanted, sign = rng.choice((("larger", "+"), ("smaller", "-")))
    question = rng.choice(
        (
            f"What is the {wanted} solution of x^2 - {total}x + {product} = 0?",
            f"Find the {wanted} root of x^2 - {total}x + {product}.",
        )
    )

    def solve(words: random.Random) -> Solution:
        expression = f"{total}^2 - 4 * {product}"
        program = code.arithmetic(words, expression.replace("^", "**"))
        value = total**2 - 4 * product
        square = int((yield calculation(words, "the discriminant", expression, value, program)))
        program = code.either(
            words,
            f"import math\nprint(math.isqrt({square}))",
            f"n = 0\nwhile (n + 1) ** 2 <= {square}:\n    n += 1\nprint(n)",
        )
        value = math.isqrt(square)
        root = int((yield description(words, "the square root", f"of {square}", value, program)))
        expression = f"({total} {sign} {root}) // 2"
        program = code.arithmetic(words, expression)
        value = (total + root) // 2 if sign == "+" else (total - root) // 2
        return (yield calculation(words, f"the {wanted} solution", expression, value, program))

    return Draw(question, solve)


def polynomial(rng: random.Random, level: int) -> Draw:
    """A polynomial at two points and the difference: three steps."""
    degree = 2 if level == 1 else 3
    coefficients = [sized(rng, level, (1, 3), (2, 9), (12, 98)) for _ in range(degree + 1)]
    low = sized(rng, level, (1, 3), (2, 9), (11, 49))
    high = low + sized(rng, level, (1, 3), (2, 9), (11, 49))
    written = " + ".join(
        f"{factor}{('', 'x', 'x^2', 'x^3')[degree - place]}"
        for place, factor in enumerate(coefficients)
    )
    question = f"Let p(x) = {written}. What is p({high}) - p({low})?"

    def solve(words: random.Random) -> Solution:
        found = []
        for x in (high, low):
            powers = ("", f" * {x}", f" * {x}^2", f" * {x}^3")
            expression = " + ".join(
                f"{factor}{powers[degree - place]}" for place, factor in enumerate(coefficients)
            )
            listed = ", ".join(map(str, coefficients))
            program = code.either(
                words,
                f"p = 0\nfor factor in [{listed}]:\n    p = p * {x} + factor\nprint(p)",
                f"import numpy as np\nprint(np.polyval([{listed}], {x}))",
            )
            value = sum(factor * x ** (degree - i) for i, factor in enumerate(coefficients))
            found.append(
                int((yield calculation(words, f"the value p({x})", expression, value, program)))
            )
        expression = f"{found[0]} - {found[1]}"
        program = code.arithmetic(words, expression)
        value = found[0] - found[1]
        return (yield calculation(words, "the difference", expression, value, program))

    return Draw(question, solve)


def fractions(rng: random.Random, level: int) -> Draw:
    """A sum of fractions, then a product: two steps with fractions as values."""
    numbers = [sized(rng, level, (1, 3), (2, 19), (12, 98)) for _ in range(3)]
    denominators = [sized(rng, level, (2, 4), (3, 24), (13, 97)) for _ in range(3)]
    a, b, c = (f"{n}/{d}" for n, d in zip(numbers, denominators, strict=True))
    question = rng.choice(
        (
            f"Add {a} and {b}, then multiply by {c}. What is the result in lowest terms?",
            f"What is ({a} + {b}) * {c} in lowest terms?",
        )
    )

    def solve(words: random.Random) -> Solution:
        program = _fraction_program(words, a, "+", b)
        value = Fraction(a) + Fraction(b)
        found = yield calculation(words, "the sum", f"{a} + {b}", value, program)
        program = _fraction_program(words, found, "*", c)
        value = Fraction(found) * Fraction(c)
        return latex((yield calculation(words, "the product", f"{found} * {c}", value, program)))

    return Draw(question, solve)


def _fraction_program(words: random.Random, left: str, sign: str, right: str) -> str:
    return code.either(
        words,
        f"from fractions import Fraction\nprint({_call('Fraction', left)} {sign} "
        f"{_call('Fraction', right)})",
        f"from sympy import Rational\nprint({_call('Rational', left)} {sign} "
        f"{_call('Rational', right)})",
    )


def _call(name: str, value: str) -> str:
    """``Fraction(3, 7)`` for ``3/7``, ``Fraction(3)`` for ``3``."""
    return f"{name}({value.replace('/', ', ')})"
