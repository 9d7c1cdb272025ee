"""The problem families by name."""

from tirgen.embedded.pocket.families import algebra, everyday, integers, sequences
from tirgen.embedded.pocket.families.base import (
    LEVELS,
    Draw,
    Family,
    Solution,
    SolutionStep,
    answer_of,
)

FAMILIES: dict[str, Family] = {
    "purchase": everyday.purchase,
    "growth": everyday.growth,
    "travel": everyday.travel,
    "teams": everyday.teams,
    "chain": everyday.chain,
    "modpow": integers.power_remainder,
    "lcm": integers.common_multiple,
    "digits": integers.digit_sum,
    "bases": integers.base_change,
    "primes": integers.prime_count,
    "divisors": integers.divisors,
    "linear": algebra.linear_system,
    "quadratic": algebra.quadratic,
    "polynomial": algebra.polynomial,
    "fractions": algebra.fractions,
    "series": sequences.arithmetic_series,
    "powersum": sequences.power_sum,
    "recurrence": sequences.recurrence,
}

__all__ = ["FAMILIES", "LEVELS", "Draw", "Family", "Solution", "SolutionStep", "answer_of"]
