r"""Units: the phrase that names one (``square feet``, ``km/h``), and the rules that read it.

Units of measurement have dimensions that convert; other words only name what was counted.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from fractions import Fraction
from functools import lru_cache

from tirgen.verification.arithmetic import amount_of, product
from tirgen.verification.cursor import Cursor
from tirgen.verification.symbols import inverted, tables
from tirgen.verification.tokens import Kind, Unreadable
from tirgen.verification.values import Expression, Num, Quantity, Region, Several, Unit, Value
from tirgen.verification.vocabulary import CLOSED, SCALES

Measure = tuple[Fraction, dict[str, int]]
"""A factor, and the power of each base dimension."""

_TABLES = tables("units")


def _measures() -> dict[str, Measure]:
    units: dict[str, Measure] = {}
    for symbol, one in _TABLES["system"].items():
        names, factor = one["names"].split(), Fraction(one["factor"])
        units |= {name: (factor, one["of"]) for name in (symbol, *names)}
        for short, (long, power) in _TABLES["prefixes"].items():
            scaled = factor * Fraction(10) ** power, one["of"]
            for name in (short + symbol, *(long + name for name in names)):
                units.setdefault(name, scaled)
    for symbol in _TABLES["ambiguous"].split():
        units.pop(symbol, None)
    for name, one in _TABLES["compound"].items():
        units[name] = Fraction(one["factor"]), one["of"]
    for dimension, scales in _TABLES["dimensions"].items():
        for name, scale in inverted(scales).items():
            units[name] = Fraction(scale), {dimension: 1}
    return units


_UNITS = _measures()
_OTHERWISE = inverted(_TABLES["otherwise"])


def find(word: str) -> Measure | None:
    """The unit of a name or symbol as written, in small letters, or in the singular."""
    small = word.lower()
    if len(word) == 1:
        return _UNITS.get(word)
    candidates = [word, small] + [small[: -len(end)] for end in ("s", "es") if small.endswith(end)]
    for name in candidates:
        if name in _UNITS and (name in (word, small) or len(name) > 1):
            return _UNITS[name]
    return _IGNORING_CASE.get(small) if len(small) > 1 else None


_IGNORING_CASE = {name.lower(): unit for name, unit in reversed(_UNITS.items())}
_IGNORING_CASE |= {name.lower(): _UNITS[name] for name in ("MHz", "MeV", "Pa")}


_CURRENCIES = frozenset(_TABLES["currencies"].split())
_FILLER = frozenset(_TABLES["filler"].split())
_ALLOWED = frozenset({"per", "square", "cubic", "of", "in", "on", "th", "each"})
_TOKEN = re.compile(r"\^-?\d+|/|[^\W\d_]+(?:['-][^\W\d_]+)*")
_MANY = 8
"""Words of a unit; more are a sentence."""


class UnitError(ValueError):
    """The words after a number say more of it than what it counts."""


@lru_cache(maxsize=4096)
def unit_of(phrase: str) -> Unit:
    """The unit of a phrase. Raises UnitError where it is no name of a unit or of things."""
    phrase = re.sub(r"\bdegrees? +(?=[CF]\b)", "degree", phrase)
    phrase = re.sub(r"\bdegrees? +(?=celsius|fahrenheit)", "", phrase, flags=re.IGNORECASE)
    phrase = " ".join(_OTHERWISE.get(word, word) for word in phrase.split())
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
SECOND = unit_of("second")
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


class UnitPhrases(Cursor):
    """Reads units."""

    def _money(self) -> Value | None:
        """A currency sign before its amount."""
        name = ""
        if self._currency_next():
            name = self.take().text
            self.accept(".")
        elif self.accept("dollar"):
            name = "dollar"
        elif self.accept("money"):
            self.expect("{")
            name = self.take().text
            self.expect("}")
        if not name:
            return None
        amount = self.nested(self._signed)
        if isinstance(amount, Quantity):
            amount = amount.amount
        if not isinstance(amount, Expression):
            raise Unreadable("a currency without an amount")
        return Quantity(amount, unit_of(name))

    def _currency_next(self) -> bool:
        """Whether a currency's name stands before an amount: ``USD 45``, ``Rs. 45``."""
        amount = self.peek(2) if self.peek().text == "." else self.peek()
        known = find(self.next.text) if self.next.kind in (Kind.WORD, Kind.NAME) else None
        money = known is not None and known[1].keys() <= _CURRENCIES
        return money and (amount.kind is Kind.NUMBER or amount.text == "dollar")

    def _unit_ahead(self) -> bool:
        """Whether a unit follows the slash that is next."""
        token = self.peek()
        return token.kind is Kind.WORD

    def _unit_fraction(self) -> bool:
        """Whether ``\\frac{km}{h}`` is next."""
        return (
            self.is_command("frac") and self.peek().text == "{" and self.peek(2).kind is Kind.WORD
        )

    def _with_unit(self, value: Value) -> Value:
        """A term with the unit that follows it."""
        while (
            self.word_next() and self.next.text.lower() in SCALES and isinstance(value, Expression)
        ):
            value = product([value, Expression(Num(Fraction(SCALES[self.take().text.lower()])))])
        if self.is_command("dollar", "degree", "circ", "money"):
            return self._with_sign_after(value)
        parenthesised = self.is_operator("(") and self.peek().kind in (Kind.WORD, Kind.NAME)
        start = self.at
        if parenthesised:
            self.take()
        phrase = self.unit_phrase()
        if not phrase or (parenthesised and not self.accept(")")):
            self.at = start
            return value
        try:
            unit = unit_of(phrase)
        except UnitError as error:
            raise Unreadable(str(error)) from error
        match value:
            case Expression():
                return Quantity(value, unit)
            case Quantity(amount, before) if not before.measured or before == unit:
                return Quantity(amount, unit)
            case Quantity(amount, before) if unit.factor == 1 and not unit.measured:
                return value
            case Region() | Several():
                return value
        raise Unreadable("a unit after what is no amount")

    def _with_sign_after(self, value: Value) -> Value:
        name = self.take().text
        if name in ("degree", "circ"):
            return self._degrees(value)
        if name == "money":
            self.expect("{")
            name = self.take().text
            self.expect("}")
        return Quantity(amount_of(value), unit_of(name))

    @abstractmethod
    def _degrees(self, base: Value) -> Value: ...

    def unit_phrase(self) -> str:
        """The words, slashes and powers of a unit that are next, as text; perhaps none."""
        pieces: list[str] = []
        while True:
            if self.word_next() and self._says_more():
                return " ".join(pieces)
            if self.word_next() or (pieces and self._unit_letter()):
                pieces.append(self.take().text)
            elif self.is_command("Omega"):
                self.take()
                prefix = pieces.pop() if pieces and pieces[-1] in ("k", "M", "m") else ""
                pieces.append(f"{prefix}ohm")
            elif self._unit_fraction():
                pieces.append(self._fraction_of_units())
            elif self.is_operator("/") and (self.peek().kind in (Kind.WORD, Kind.NAME)):
                pieces.append(self.take().text)
                if self.next.kind is Kind.NAME:
                    pieces.append(self.take().text)
            elif pieces and self.is_operator("^"):
                pieces.append("^" + self._unit_power())
            elif (
                pieces
                and self.is_operator("*", "-", "'", ".")
                and (self.peek().kind in (Kind.WORD, Kind.NAME))
            ):
                pieces.append({"'": "'"}.get(self.take().text, " "))
            else:
                return " ".join(pieces)

    def _says_more(self) -> bool:
        """Whether the word that is next says more of a number than what it counts."""
        word = self.next.text.lower()
        if word in ("per", "square", "cubic", "squared", "cubed", "of", "in", "on", "to", "each"):
            return word in ("in", "to") and self.peek().kind is Kind.NUMBER
        if word == "times" and self.peek().kind is Kind.END:
            return False
        return word in CLOSED or word == "out"

    def _unit_letter(self) -> bool:
        return (
            self.next.kind is Kind.NAME
            and len(self.next.text) == 1
            and self.tokens[self.at - 1].text
            in ("/", "*", "per", "square", "cubic", "degrees", "degree")
        )

    def _unit_power(self) -> str:
        self.take()
        braced = self.accept("{")
        sign = "-" if self.accept("-") else ""
        power = self.take()
        if power.kind is not Kind.NUMBER or len(power.text) > 2:
            raise Unreadable("a unit to an odd power")
        if braced:
            self.expect("}")
        return sign + power.text

    def _fraction_of_units(self) -> str:
        self.take()
        parts = []
        for _ in range(2):
            self.expect("{")
            parts.append(self.unit_phrase())
            self.expect("}")
        return f"{parts[0]} / {parts[1]}"
