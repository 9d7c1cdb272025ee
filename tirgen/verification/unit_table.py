"""The units of measurement that convert, each as base dimensions with powers and a factor.

Units of the International System with their prefixes, and what school books and shops add.
Conversions that are not exact factors (Celsius to Fahrenheit, months to days) are not here.
"""

from __future__ import annotations

from fractions import Fraction

Measure = tuple[Fraction, dict[str, int]]
"""A factor, and the power of each base dimension."""

_PREFIXES = {
    ("p", "pico"): -12, ("n", "nano"): -9, ("u", "micro"): -6, ("micro", "micro"): -6,
    ("m", "milli"): -3, ("c", "centi"): -2, ("d", "deci"): -1, ("k", "kilo"): 3, ("M", "mega"): 6,
    ("G", "giga"): 9, ("T", "tera"): 12,
}  # fmt: skip
_FORCE = {"mass": 1, "length": 1, "time": -2}
_ENERGY = {"mass": 1, "length": 2, "time": -2}
_POWER = {"mass": 1, "length": 2, "time": -3}
_PRESSURE = {"mass": 1, "length": -1, "time": -2}
_SYSTEM: tuple[tuple[str, tuple[str, ...], Measure], ...] = (
    ("m", ("meter", "metre"), (Fraction(1), {"length": 1})),
    ("g", ("gram",), (Fraction(1), {"mass": 1})),
    ("s", ("second",), (Fraction(1), {"time": 1})),
    ("A", ("ampere", "amp"), (Fraction(1), {"current": 1})),
    ("K", ("kelvin",), (Fraction(1), {"temperature": 1})),
    ("mol", ("mole",), (Fraction(1), {"amount": 1})),
    ("N", ("newton",), (Fraction(1000), _FORCE)),
    ("J", ("joule",), (Fraction(1000), _ENERGY)),
    ("W", ("watt",), (Fraction(1000), _POWER)),
    ("Pa", ("pascal",), (Fraction(1000), _PRESSURE)),
    ("Hz", ("hertz",), (Fraction(1), {"time": -1})),
    ("C", ("coulomb",), (Fraction(1), {"current": 1, "time": 1})),
    ("V", ("volt",), (Fraction(1000), _POWER | {"current": -1})),
    ("ohm", ("ohm",), (Fraction(1000), _POWER | {"current": -2})),
    ("F", ("farad",), (Fraction(1, 1000), {"mass": -1, "length": -2, "time": 4, "current": 2})),
    ("H", ("henry",), (Fraction(1000), _ENERGY | {"current": -2})),
    ("T", ("tesla",), (Fraction(1000), {"mass": 1, "time": -2, "current": -1})),
    ("L", ("liter", "litre"), (Fraction(1, 1000), {"length": 3})),
    ("eV", ("electronvolt",), (Fraction(1), {"electronvolt": 1})),
    ("cal", ("calorie",), (Fraction(4184), _ENERGY)),
)
"""Symbol, names, measure in metres, grams, seconds, amperes."""
_AMBIGUOUS = {"H", "F", "cd", "pm", "cc"}
"""Symbols that are other units, or none, where they stand alone."""

_OTHERS: dict[str, dict[str, tuple[str, ...]]] = {
    "length": {
        "1/10000000000": ("angstrom",),
        "1/1000000": ("micron",),
        "127/5000": ("in", "inch", "inches"),
        "381/1250": ("ft", "foot", "feet"),
        "1143/1250": ("yd", "yard"),
        "201168/125": ("mi", "mile"),
    },
    "mass": {
        "45359237/1600000": ("oz", "ounce"),
        "45359237/100000": ("lb", "lbs", "pound"),
        "1000000": ("tonne",),
    },
    "time": {
        "1": ("sec",),
        "60": ("min", "minute"),
        "3600": ("h", "hr", "hour"),
        "86400": ("day",),
        "604800": ("week",),
    },
    "month": {"1": ("month",), "12": ("yr", "year"), "120": ("decade",), "1200": ("century",)},
    "us volume": {
        "1": ("cup",),
        "2": ("pint", "pt"),
        "4": ("quart", "qt"),
        "16": ("gallon", "gal"),
    },
    "money": {"1": ("dollar", "usd"), "1/100": ("cent",)},
    "euro": {"1": ("euro", "eur")},
    "sterling": {"1": ("gbp",), "1/100": ("penny", "pence")},
    "yen": {"1": ("yen", "jpy")},
    "rupee": {"1": ("rupee", "inr")},
    "angle": {
        "1": ("degree", "deg"),
        "1/60": ("arcminute",),
        "1/3600": ("arcsecond",),
    },
    "yuan": {"1": ("yuan", "rmb", "cny")},
    "rouble": {"1": ("rouble", "ruble", "rub")},
    "won": {"1": ("won", "krw")},
    "percent": {"1": ("percent", "pct", "percentage")},
    "radian": {"1": ("radian", "rad")},
    "celsius": {"1": ("celsius",)},
    "fahrenheit": {"1": ("fahrenheit",)},
}
_COMPOUND: dict[str, Measure] = {
    "cc": (Fraction(1, 10**6), {"length": 3}),
    "hectare": (Fraction(10**4), {"length": 2}),
    "erg": (Fraction(1, 10**4), _ENERGY),
    "kwh": (Fraction(3600 * 10**6), _ENERGY),
    "dyne": (Fraction(1, 100), _FORCE),
    "atm": (Fraction(101_325_000), _PRESSURE),
    "bar": (Fraction(10**8), _PRESSURE),
}


def _prefixed() -> dict[str, Measure]:
    units: dict[str, Measure] = {}
    for symbol, names, (factor, powers) in _SYSTEM:
        units |= {name: (factor, powers) for name in (symbol, *names) if name not in _AMBIGUOUS}
        for (short, long), exponent in _PREFIXES.items():
            scaled = (factor * Fraction(10) ** exponent, powers)
            for name in (short + symbol, *(long + name for name in names)):
                if name not in _AMBIGUOUS:
                    units.setdefault(name, scaled)
    return units


UNITS: dict[str, Measure] = _prefixed() | _COMPOUND
UNITS |= {
    name: (Fraction(factor), {dimension: 1})
    for dimension, scales in _OTHERS.items()
    for factor, names in scales.items()
    for name in names
}
BARE = frozenset({
    "nm", "um", "mm", "cm", "km", "in", "ft", "yd", "mi", "mg", "kg", "oz", "lb", "lbs",
    "ms", "sec", "min", "hr", "yr", "ml", "cup", "pt", "qt", "gal", "usd", "eur", "deg", "rad",
    "kj", "erg", "kw", "pa", "kpa", "hz", "khz", "mhz", "ev", "kev", "mev", "ohm",
})  # fmt: skip
"""Short names that are units outside of text too; other short words are products of variables."""


_FOREIGN = {
    "米": "m", "厘米": "cm", "毫米": "mm", "千米": "km", "公里": "km", "分米": "dm", "千克": "kg",
    "公斤": "kg", "克": "g", "吨": "tonne", "升": "liter", "毫升": "ml",
    "小时": "hour", "分钟": "minute",
    "分": "minute", "秒": "second", "天": "day", "周": "week", "年": "year",
    "元": "yuan", "度": "degree",
    "円": "yen", "원": "won", "時間": "hour", "メートル": "m", "시간": "hour", "미터": "m",
    "平方米": "square m", "平方厘米": "square cm", "立方米": "cubic m", "立方厘米": "cubic cm",
    "м": "m", "см": "cm", "мм": "mm", "км": "km", "кг": "kg", "г": "g", "л": "liter", "ч": "hour",
    "час": "hour", "часа": "hour", "часов": "hour", "мин": "minute", "минут": "minute",
    "минуты": "minute", "сек": "second", "руб": "rouble", "рублей": "rouble", "рубля": "rouble",
    "градусов": "degree", "метров": "m", "метра": "m", "дней": "day", "дня": "day",
    "Stunden": "hour", "heures": "hour", "horas": "hour", "Minuten": "minute", "Meter": "m",
}  # fmt: skip
"""Units of measurement in other languages; what is counted needs no table."""


def translated(word: str) -> str:
    """A unit of another language by its English name; any other word as it is."""
    return _FOREIGN.get(word, word)


def find(word: str) -> Measure | None:
    """The unit of a name or symbol as written, in small letters, or in the singular."""
    small = word.lower()
    candidates = [word, small] + [small[: -len(end)] for end in ("s", "es") if small.endswith(end)]
    for name in candidates:
        if name in UNITS and (name in (word, small) or len(name) > 1):
            return UNITS[name]
    return _IGNORING_CASE.get(small) if len(small) > 1 else None


_IGNORING_CASE = {name.lower(): unit for name, unit in reversed(UNITS.items())}
_IGNORING_CASE |= {name.lower(): UNITS[name] for name in ("MHz", "MeV", "Pa")}
