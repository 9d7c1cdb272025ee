"""The rules for units: currency signs before an amount, words and symbols after it."""

from __future__ import annotations

from fractions import Fraction

from tirgen.verification.arithmetic import product
from tirgen.verification.cursor import Cursor
from tirgen.verification.tokens import Kind, Unreadable
from tirgen.verification.units import UnitError, unit_of
from tirgen.verification.values import (
    Bracket,
    Expression,
    Listing,
    Num,
    Quantity,
    Region,
    Tuple,
    Value,
)
from tirgen.verification.vocabulary import CLOSED, SCALES


class UnitPhrases(Cursor):
    """Reads units."""

    def _money(self) -> Value | None:
        """A currency sign before its amount."""
        name = ""
        if self.accept("dollar"):
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
            case Region() | Tuple() | Bracket() | Listing():
                return value
        raise Unreadable("a unit after what is no amount")

    def _with_sign_after(self, value: Value) -> Value:
        name = self.take().text
        if name == "money":
            self.expect("{")
            name = self.take().text
            self.expect("}")
        if not isinstance(value, Expression):
            raise Unreadable("a unit after what is no amount")
        return Quantity(value, unit_of("degree" if name in ("degree", "circ") else name))

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
