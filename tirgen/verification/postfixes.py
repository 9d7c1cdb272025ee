"""The rules for what follows a factor: powers, indices, primes, arguments of a function."""

from __future__ import annotations

from fractions import Fraction

from tirgen.verification import ranges
from tirgen.verification.arithmetic import amount_of, grouped
from tirgen.verification.brackets import Brackets
from tirgen.verification.cursor import OutsideGrammar
from tirgen.verification.literals import base_of, based, node_of
from tirgen.verification.symbols import APPLIED
from tirgen.verification.tokens import Kind, Unreadable
from tirgen.verification.units import unit_of
from tirgen.verification.values import (
    CONSTANTS,
    Bracket,
    Expression,
    Matrix,
    Named,
    Num,
    Op,
    Quantity,
    Region,
    Set,
    Sym,
    Tuple,
    Value,
)
from tirgen.verification.vocabulary import ORDINALS


class Postfixes(Brackets):
    """Reads the signs after a factor."""

    def _primed(self, value: Value) -> Value:
        """A derivative; after a number feet and inches, or minutes and seconds after degrees."""
        primes = 0
        while self.is_operator("'", '"'):
            primes += 1 + (self.take().text == '"')
        match value:
            case Expression(Sym(name)):
                return Expression(Sym(name + "'" * primes))
            case Expression(Num()) if primes <= 2:
                arc = any(token.text in ("circ", "degree") for token in self.tokens)
                names = ("arcminute", "arcsecond") if arc else ("foot", "inch")
                return Quantity(value, unit_of(names[primes - 1]))
        raise Unreadable("a prime after what is no function")

    def _power(self, base: Value) -> Value:
        mark = self.peek() if self.is_operator("{") else self.next
        if mark.text in ("circ", "degree", "o"):
            self._mark()
            return self._degrees(base)
        if mark.text in ORDINALS:
            self._mark()
            return base
        if mark.text == "'":
            braced = self.accept("{")
            value = self._primed(base)
            if braced:
                self.expect("}")
            return value
        base = grouped(base)
        if isinstance(base, Tuple | Matrix | Bracket):
            return _transposed(base, self._mark())
        if isinstance(base, Region | Set):
            return _signed_set(base, self._mark())
        exponent = self._argument(power=True)
        return Expression(Op("pow", (node_of(base), node_of(exponent))))

    def _mark(self) -> str:
        """The single token that is an exponent, perhaps in braces."""
        braced = self.accept("{")
        text = self.take().text
        if braced:
            self.expect("}")
        return text

    def _degrees(self, base: Value) -> Value:
        if self.next.text in ("C", "F") and self.next.kind in (Kind.NAME, Kind.WORD):
            return Quantity(
                amount_of(base), unit_of({"C": "celsius", "F": "fahrenheit"}[self.take().text])
            )
        return Quantity(amount_of(base), unit_of("degree"))

    def _indexed(self, base: Value) -> Value:
        index = self._index()
        match base:
            case Expression(Num(value=whole, unit=None)) if whole.denominator == 1:
                return based(str(whole.numerator), index)
            case Expression(Sym(name)):
                return Expression(Sym(f"{name}_{index}"))
            case Expression(Op("mul", letters)) if all(isinstance(one, Sym) for one in letters):
                if base_of(index):
                    return based("".join(str(getattr(one, "name", "")) for one in letters), index)
                *before, last = letters
                assert isinstance(last, Sym)
                return Expression(Op("mul", (*before, Sym(f"{last.name}_{index}"))))
            case Region():
                return _signed_set(base, index)
        raise Unreadable("an index after what has none")

    def _index(self) -> str:
        if not self.is_operator("{"):
            if self.next.kind is Kind.NAME and len(self.next.text) > 1:
                return self._first_letter(self.next)
            return self.take().text
        self.take()
        depth, pieces = 1, list[str]()
        while self.next.kind is not Kind.END:
            depth += self.is_operator("{") - self.is_operator("}")
            if depth == 0:
                self.take()
                return "".join(pieces)
            pieces.append(self.take().text)
        raise Unreadable("an index that does not end")

    def _applies(self, value: Value) -> bool:
        match value:
            case Expression(Sym(name)):
                letter = name.rstrip("'").partition("_")[0].removesuffix("^-1")
            case Expression(Op("pow", (Sym(letter), Num(value=power)))) if power == -1:
                return letter in APPLIED
            case _:
                return False
        if (
            letter in APPLIED
            or name.endswith("'")
            or (letter in ("n", "d") and self.peek().text in "ABCXYZ")
            or (name.isupper() and self._several_inside())
        ):
            return True
        return self.is_plain_argument() and letter not in CONSTANTS

    def _several_inside(self) -> bool:
        """Whether the parentheses that are next hold several things: ``B(-1, 4)``."""
        depth = 0
        for token in self.tokens[self.at :]:
            depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
            if depth <= 1 and token.text in (",", ")"):
                return token.text == ","
        return False

    def is_plain_argument(self) -> bool:
        """Whether ``(x)`` or ``(2)`` is next."""
        return (
            self.peek().kind in (Kind.NAME, Kind.NUMBER)
            and self.peek(2).text in (")", ",")
            and (len(self.peek().text) == 1 or self.peek().kind is Kind.NUMBER)
        )

    def _call(self, function: Value) -> Value:
        node = node_of(function)
        if isinstance(node, Op):
            node = Sym(f"{getattr(node.args[0], 'name', '')}^-1")
        self.take()
        start = self.at
        arguments = self.items(")")
        assert isinstance(node, Sym)
        point = len(arguments) > 1 and self.tokens[start].kind is not Kind.NAME
        if point and node.name.isupper() and (node.name != "C" or len(arguments) > 2):
            return Named(node, Tuple(tuple(arguments)))
        try:
            return Expression(Op("call", (node, *map(node_of, arguments))))
        except Unreadable:
            inside = "".join(token.text for token in self.tokens[start : self.at - 1])
            return Expression(Op("call", (node, Sym(f"({inside})"))))

    def _followed(self, value: Value) -> Value | None:
        """A value with the power, index, prime or argument that is next; None if none is."""
        if self.accept("^", "**"):
            return self._power(value)
        if self.accept("_"):
            return self._indexed(value)
        if self.is_operator("'", '"'):
            return self._primed(value)
        if self.is_operator("(") and self._applies(value):
            return self._call(value)
        return None

    def _resumed(self, value: Value) -> Value:
        """The last letter of a run with what belongs to it alone."""
        while (more := self._followed(value)) is not None:
            value = more
        return value


def _transposed(base: Value, mark: str) -> Value:
    if mark not in ("T", "top", "intercal", "t"):
        raise OutsideGrammar("a power of a matrix")
    return Matrix(tuple(zip(*base.rows, strict=True))) if isinstance(base, Matrix) else base


_SIGNED = {"+": ">", ">0": ">", "-": "<", "*": "ne", "ge0": "ge", "geq0": "ge", "geqslant0": "ge"}
"""What is left of the real numbers, by the index or exponent that says so."""


def _signed_set(base: Value, mark: str) -> Value:
    if base != ranges.ALL or mark not in _SIGNED:
        raise OutsideGrammar("a set with an index or a power")
    return ranges.bounded(_SIGNED[mark], Expression(Num(Fraction(0))))
