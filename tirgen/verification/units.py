r"""A quantity's unit: split from its number, and compared as dimensions with factors.

A unit that only one side names is not held against the other (``5`` for ``5\text{ cm}``); two
different units make different answers unless they convert.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from tirgen.verification.unit_table import BARE, DIMENSIONS, Measure, find

_SHORTHAND = {"mph": "mile/hour", "kph": "km/hour", "sq": "square", "cu": "cubic"}
_NAMESAKES = ({"angle", "celsius"}, {"angle", "fahrenheit"}, {"mass", "sterling"})
"""Degrees of any kind, and pounds of either."""
_FILLER = {"a", "an", "the", "of", "units", "unit", "about", "approximately", "exactly", "total"}

_SYMBOLS = {
    "M_{sun}": "solarmass",
    "L_{sun}": "solarluminosity",
    "R_{sun}": "solarradius",
    "\\Omega": "ohm",
}
_SYMBOL_TAIL = re.compile(r"(?<=[\d}]) ?([MLR]_\{sun\}|\\Omega)$")
_TEXT_TAIL = re.compile(
    r"((?:\s*(?:\\text\{[^{}]*\}|/ ?\\text\{[^{}]*\}))"
    r"(?:\s*(?:\\text\{[^{}]*\}|/|\\cdot|\^ ?\{ ?-?\d+ ?\}|(?<=[a-z}] )[a-zA-Z]+))*)\s*$"
)
_WORD_TAIL = re.compile(r"((?<=[\d.})% ])[a-zA-Z]{2,}(?:\^ ?\{ ?-?\d ?\}|[ /]+[a-zA-Z]{1,})*)\s*$")
_NO_UNIT = re.compile(
    r"\b(?:or|and|if|base|not|mod|where|for|maybe|but|than|is|are|hundred|plus|minus|half"
    r"|point|th|to(?=\s*(?:the\b|\W*$))|times(?=\s*\w|\s*\}\s*\S))\b|[\s,(]\d"
)
"""Words that say more of a number than what it counts."""
_TOKEN = re.compile(r"[a-zA-Z]+|/|\^ ?\{ ?(-?\d+) ?\}")


@dataclass(frozen=True, slots=True)
class Unit:
    """Base dimensions with their powers, and the factor that converts to them."""

    factor: Fraction
    dimensions: tuple[tuple[str, int], ...]

    @property
    def measured(self) -> bool:
        """Whether it is a unit of measurement; ``students`` only names what was counted."""
        return any(name in DIMENSIONS for name, _ in self.dimensions)


def split_unit(text: str) -> tuple[str, Unit | None]:
    """A normalised answer as (what is left without its unit, the unit or None)."""
    text = _SYMBOL_TAIL.sub(lambda symbol: rf"\text{{ {_SYMBOLS[symbol[1]]}}}", text)
    dollars = re.match(r"(-?)\s*\\dollar\s*(.+)", text)
    if dollars:
        rest, trailing = split_unit(dollars[1] + dollars[2])
        return rest, trailing or unit_of("dollar")
    for pattern in (_TEXT_TAIL, _WORD_TAIL):
        match = pattern.search(text)
        if match and match.start() > 0 and _is_unit(match[1], pattern is _WORD_TAIL):
            core = text[: match.start()].strip()
            if _is_quantity(core):
                return core, unit_of(match[1])
    return text, None


def letter_unit(text: str) -> tuple[str, Unit | None]:
    """A single letter after a number, read as the unit that the other side says it is."""
    match = re.fullmatch(r"(.*\d[)}]? ?)([mgshlL](?:\^ ?\{ ?\d ?\})?)", text)
    return (match[1].strip(), unit_of(match[2])) if match else (text, None)


def unit_of(text: str) -> Unit | None:
    """The unit a phrase names (``square feet``, ``km/h``; ``units`` has no dimensions), or None."""
    factor, powers = Fraction(1), dict[str, int]()
    sign, pending = 1, 1
    last: Measure = (Fraction(1), {})
    for token in _TOKEN.finditer(_spelled(text)):
        word, power = token[0].lower(), 0
        if word in ("/", "per"):
            sign = -1
        elif word in ("square", "cubic"):
            pending = 2 if word == "square" else 3
        elif token[1] is not None or word in ("squared", "cubed"):
            power = (int(token[1]) if token[1] is not None else 2 + (word == "cubed")) - 1
        elif word not in _FILLER or token[0] == "A":
            last = find(token[0]) or (Fraction(1), {_singular(word): 1})
            power, pending = pending, 1
        factor *= last[0] ** (sign * power)
        for name, one in last[1].items():
            powers[name] = powers.get(name, 0) + one * sign * power
    if not powers and not re.search(r"\b(?:units?|of|total)\b", text):
        return None
    return Unit(factor, tuple(sorted((name, power) for name, power in powers.items() if power)))


def conflict(left: Unit, right: Unit) -> bool:
    """Two different units; "square units" agrees with any, and what is counted has many names."""
    if not (left.dimensions and right.dimensions) or left == right:
        return False
    names = {name for unit in (left, right) for name, _ in unit.dimensions}
    if names in _NAMESAKES:
        return False
    return left.measured or right.measured


def _spelled(text: str) -> str:
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).replace("\\cdot", " ")
    text = re.sub(r"\bdegrees?\s+(?:C|Celsius)\b", "celsius", text)
    text = re.sub(r"\bdegrees?\s+(?:F|Fahrenheit)\b", "fahrenheit", text)
    return re.sub(r"[a-zA-Z]+", lambda word: _SHORTHAND.get(word[0].lower(), word[0]), text)


def _singular(word: str) -> str:
    """What is counted, as one of it: ``boxes`` as ``box``."""
    if len(word) < 4 or not word.endswith("s") or word.endswith("ss"):
        return word
    return word[:-2] if word.endswith(("ches", "shes", "xes")) else word[:-1]


def _is_unit(phrase: str, bare: bool) -> bool:
    r"""Words that can follow a number. Outside ``\text{}`` short unknown ones are variables."""
    if _NO_UNIT.search(phrase):
        return False
    words = re.findall(r"[a-zA-Z]{2,}", _spelled(phrase))
    if not bare:
        return bool(re.search(r"\\text\{[^{}]*[a-zA-Z]", phrase))
    return bool(words) and all(len(w) >= 4 or w.lower() in BARE or w == "per" for w in words)


def _is_quantity(core: str) -> bool:
    """Something a unit can follow: it has digits or a constant, and no words of its own."""
    if re.search(r"\\text|\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])|[=<>]", core):
        return False
    return bool(re.search(r"\d|\\pi|\\sqrt|[)}]$|^[a-z]$", core))


DEGREES = unit_of("degrees")
RADIANS = unit_of("radians")
