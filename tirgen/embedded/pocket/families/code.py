"""Programs for plain arithmetic: one-liners, libraries, loops."""

from __future__ import annotations

import random
from collections.abc import Sequence

TRIVIAL_SHARE = 0.4
"""Share of programs that only print an expression; a filter drops such trivial code."""


def arithmetic(rng: random.Random, expression: str) -> str:
    """Any Python expression."""
    if rng.random() < TRIVIAL_SHARE:
        return f"print({expression})"
    return f"from sympy import simplify\nprint(simplify({expression}))"


def product(rng: random.Random, *factors: int) -> str:
    """The product of integers."""
    if rng.random() < TRIVIAL_SHARE:
        return f"print({' * '.join(map(str, factors))})"
    return f"import math\nprint(math.prod([{_listed(factors)}]))"


def total(rng: random.Random, *terms: int) -> str:
    """The sum of integers."""
    if rng.random() < TRIVIAL_SHARE:
        return f"print({' + '.join(map(str, terms))})"
    return f"total = 0\nfor term in [{_listed(terms)}]:\n    total += term\nprint(total)"


def either(rng: random.Random, *programs: str) -> str:
    """One of several programs with the same result."""
    return rng.choice(programs)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
