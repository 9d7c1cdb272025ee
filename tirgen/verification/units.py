r"""The unit that a phrase names: ``cm``, ``square feet``, ``km/h``, ``gold coins``.

Units of measurement have dimensions that convert; other words only name what was counted.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from tirgen.verification.unit_table import Measure, find, translated
from tirgen.verification.values import Unit
from tirgen.verification.vocabulary import CLOSED, SCALES

_SHORTHAND = {"mph": "mile / hour", "kph": "km / hour", "sq": "square", "cu": "cubic"}
_FILLER = frozenset({"a", "an", "the", "of", "units", "unit", "total", "each", "in", "on",
    "left", "more",
                     "altogether", "one", "two"})  # fmt: skip
_ALLOWED = frozenset({"per", "square", "cubic", "of", "in", "on", "th", "each"})
_TOKEN = re.compile(r"\^-?\d+|/|[^\W\d_]+(?:['-][^\W\d_]+)*")
_MANY = 8
"""Words of a unit; more are a sentence."""


class UnitError(ValueError):
    """The words after a number say more of it than what it counts."""


@lru_cache(maxsize=4096)
def unit_of(phrase: str) -> Unit:
    """The unit of a phrase. Raises UnitError where it is no name of a unit or of things."""
    for short, long in _SHORTHAND.items():
        phrase = re.sub(rf"\b{short}\b", long, phrase)
    phrase = re.sub(r"\bdegrees? +(?:C|Celsius)\b", "celsius", phrase)
    phrase = re.sub(r"\bdegrees? +(?:F|Fahrenheit)\b", "fahrenheit", phrase)
    phrase = " ".join(translated(word) for word in phrase.split())
    tokens = _TOKEN.findall(phrase)
    if len(tokens) > _MANY:
        raise UnitError("a sentence after a number")
    return _built(tokens)


def _built(tokens: list[str]) -> Unit:
    factor, powers, measured = Fraction(1), dict[str, int](), False
    sign, pending = 1, 1
    last: Measure = (Fraction(1), {})
    for token in tokens:
        word, power = token.lower(), 0
        if word in ("/", "per"):
            sign = -1
        elif word in ("square", "cubic"):
            pending = 2 if word == "square" else 3
        elif word in ("squared", "cubed") and last[1]:
            power = 1 + (word == "cubed")
        elif token.startswith("^"):
            power = int(token[1:]) - 1
        elif (word in CLOSED and word not in _ALLOWED) or word in SCALES:
            raise UnitError(f"{token!r} after a number")
        elif word not in _FILLER or token == "A" or (word == "in" and not last[1]):
            known = find(token)
            measured |= known is not None
            last = known or (Fraction(1), {_singular(word): 1})
            power, pending = pending, 1
        factor *= last[0] ** (sign * power)
        for name, one in last[1].items():
            powers[name] = powers.get(name, 0) + one * sign * power
    dimensions = tuple(sorted((name, power) for name, power in powers.items() if power))
    return Unit(factor, dimensions, measured)


def _singular(word: str) -> str:
    """What is counted, as one of it: ``boxes`` as ``box``."""
    if len(word) < 4 or not word.endswith("s") or word.endswith("ss"):
        return word
    return word[:-2] if word.endswith(("ches", "shes", "xes")) else word[:-1]


DEGREE = unit_of("degree")
RADIAN = unit_of("radian")
PERCENT = unit_of("percent")
_NAMESAKES = ({"angle", "celsius"}, {"angle", "fahrenheit"}, {"mass", "sterling"})
"""Degrees of any kind, and pounds of either."""


def conflict(left: Unit, right: Unit) -> bool:
    """Two different units. Counted things share a word of their name: ``gold coins``, ``coins``."""
    if not (left.dimensions and right.dimensions) or left == right:
        return False
    names = [{name for name, _ in unit.dimensions} for unit in (left, right)]
    if left.measured or right.measured:
        return names[0] | names[1] not in _NAMESAKES
    return not names[0] & names[1]
