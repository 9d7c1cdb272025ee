r"""A quantity's unit: split from its number, and compared as dimensions with factors.

A unit that only one side names is not held against the other (``5`` for ``5\text{ cm}``); two
different units make different answers unless they convert.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_TABLE: dict[str, dict[str, tuple[str, ...]]] = {
    "length": {
        "1/10000000000": ("angstrom",),
        "1/1000000000": ("nm", "nanometer", "nanometre"),
        "1/1000000": ("um", "microm", "micron", "micrometer", "micrometre"),
        "1/1000": ("mm", "millimeter", "millimetre"),
        "1/100": ("cm", "centimeter", "centimetre"),
        "1": ("m", "meter", "metre"),
        "1000": ("km", "kilometer", "kilometre"),
        "127/5000": ("in", "inch", "inches"),
        "381/1250": ("ft", "foot", "feet"),
        "1143/1250": ("yd", "yard"),
        "201168/125": ("mi", "mile"),
    },
    "mass": {
        "1/1000000": ("microg", "microgram"),
        "1/1000": ("mg", "milligram"),
        "1": ("g", "gram"),
        "1000": ("kg", "kilogram"),
        "45359237/1600000": ("oz", "ounce"),
        "45359237/100000": ("lb", "lbs", "pound"),
        "1000000": ("tonne",),
    },
    "time": {
        "1/1000000": ("micros", "microsecond"),
        "1/1000": ("ms", "millisecond"),
        "1": ("s", "sec", "second"),
        "60": ("min", "minute"),
        "3600": ("h", "hr", "hour"),
        "86400": ("day",),
        "604800": ("week",),
    },
    "month": {"1": ("month",), "12": ("yr", "year")},
    "volume": {
        "1/1000": ("ml", "milliliter", "millilitre"),
        "1": ("l", "liter", "litre"),
    },
    "us volume": {
        "1": ("cup",),
        "2": ("pint", "pt"),
        "4": ("quart", "qt"),
        "16": ("gallon", "gal"),
    },
    "money": {"1": ("dollar", "usd"), "1/100": ("cent",)},
    "euro": {"1": ("euro", "eur")},
    "angle": {"1": ("degree", "deg")},
    "radian": {"1": ("radian", "rad")},
    "force": {"1": ("n", "newton")},
    "energy": {"1": ("j", "joule"), "1000": ("kj", "kilojoule"), "1/10000000": ("erg",)},
    "electronvolt": {"1": ("ev",), "1000": ("kev",), "1000000": ("mev",)},
    "power": {"1": ("w", "watt"), "1000": ("kw", "kilowatt")},
    "pressure": {"1": ("pa", "pascal"), "1000": ("kpa",)},
    "frequency": {"1": ("hz", "hertz"), "1000": ("khz",), "1000000": ("mhz",)},
    "temperature": {"1": ("k", "kelvin")},
    "celsius": {"1": ("celsius",)},
    "fahrenheit": {"1": ("fahrenheit",)},
    "charge": {"1": ("c", "coulomb")},
    "voltage": {"1": ("v", "volt")},
    "resistance": {"1": ("ohm",)},
}
_UNITS = {
    name: (dimension, Fraction(factor))
    for dimension, scales in _TABLE.items()
    for factor, names in scales.items()
    for name in names
}
_SHORTHAND = {"mph": "mile/hour", "kph": "km/hour", "sq": "square", "cu": "cubic"}
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
    r"\b(?:or|and|if|base|not|mod|where|for|maybe|but|to|than|is|are|hundred|times|plus|minus|half"
    r"|point|th)\b"
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
        return any(name in _TABLE for name, _ in self.dimensions)


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
    sign, pending, last = 1, 1, ""
    for token in _TOKEN.finditer(_spelled(text)):
        word = token[0].lower()
        if word in ("/", "per"):
            sign = -1
        elif word in ("square", "cubic"):
            pending = 2 if word == "square" else 3
        elif token[1] is not None or word in ("squared", "cubed"):
            power = int(token[1]) if token[1] is not None else 2 + (word == "cubed")
            factor *= _factor(last) ** (sign * (power - 1))
            powers[_dimension(last)] = powers.get(_dimension(last), 0) + sign * (power - 1)
        elif word not in _FILLER:
            factor *= _factor(word) ** (sign * pending)
            powers[_dimension(word)] = powers.get(_dimension(word), 0) + sign * pending
            pending, last = 1, word
    if not powers and not re.search(r"\bunits?\b", text):
        return None
    return Unit(factor, tuple(sorted((name, power) for name, power in powers.items() if power)))


def conflict(left: Unit, right: Unit) -> bool:
    """Two different units; "square units" agrees with any, and what is counted has many names."""
    if not (left.dimensions and right.dimensions) or left == right:
        return False
    names = {name for unit in (left, right) for name, _ in unit.dimensions}
    if names in ({"angle", "celsius"}, {"angle", "fahrenheit"}):
        return False
    return left.measured or right.measured


def _spelled(text: str) -> str:
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).replace("\\cdot", " ")
    text = re.sub(r"\bdegrees?\s+(?:C|Celsius)\b", "celsius", text)
    text = re.sub(r"\bdegrees?\s+(?:F|Fahrenheit)\b", "fahrenheit", text)
    return re.sub(r"[a-zA-Z]+", lambda word: _SHORTHAND.get(word[0].lower(), word[0]), text)


def _singular(word: str) -> str:
    word = word.lower()
    if word not in _UNITS and word.removesuffix("s") in _UNITS and len(word) > 2:
        return word.removesuffix("s")
    if word in _UNITS or len(word) < 4 or not word.endswith("s") or word.endswith("ss"):
        return word
    return word[:-2] if word.endswith(("ches", "shes", "xes")) else word[:-1]


def _factor(word: str) -> Fraction:
    return _UNITS.get(_singular(word), ("", Fraction(1)))[1]


def _dimension(word: str) -> str:
    return _UNITS.get(_singular(word), (_singular(word), Fraction(1)))[0]


def _is_unit(phrase: str, bare: bool) -> bool:
    r"""Words that can follow a number. Outside ``\text{}`` short unknown ones are variables."""
    if _NO_UNIT.search(phrase):
        return False
    words = re.findall(r"[a-zA-Z]{2,}", _spelled(phrase))
    if not bare:
        return bool(re.search(r"\\text\{[^{}]*[a-zA-Z]", phrase))
    return bool(words) and all(len(w) >= 4 or _singular(w) in _UNITS or w == "per" for w in words)


def _is_quantity(core: str) -> bool:
    """Something a unit can follow: it has digits or a constant, and no words of its own."""
    if re.search(r"\\text|\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])|[=<>]", core):
        return False
    return bool(re.search(r"\d|\\pi|\\sqrt|[)}]$|^[a-z]$", core))


DEGREES = unit_of("degrees")
