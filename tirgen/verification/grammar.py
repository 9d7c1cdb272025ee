r"""The grammar of expressions: a recursive-descent parser from tokens to values.

    sum     := ["+" | "-" | "\pm"] term (("+" | "-" | "\pm") term)*
    term    := factor (["*" | "/"] factor)* [unit]
    factor  := primary postfix*          postfix := "!" | "'" | "%" | degree | "^" arg | "_" arg
    primary := number | name | function | "(" items ")" | "[" items "]" | "\{" items "\}" | ...

Nesting is bounded by `MAX_DEPTH`. What lies beyond the grammar raises `Beyond`, which `answers`
turns into `Opaque`; what is no mathematics at all raises `Unreadable`.
"""

from __future__ import annotations

from fractions import Fraction

from tirgen.verification import ranges
from tirgen.verification.arithmetic import product, total
from tirgen.verification.commands import Commands
from tirgen.verification.cursor import MAX_DEPTH
from tirgen.verification.literals import continued, literal, node_of, whole_of
from tirgen.verification.symbols import PRIMARY, SIGNS
from tirgen.verification.tokens import Kind, Unreadable
from tirgen.verification.units import DEGREE
from tirgen.verification.values import (
    Expression,
    Listing,
    Num,
    Op,
    Quantity,
    Region,
    Set,
    Sym,
    Value,
)
from tirgen.verification.vocabulary import ORDINALS, is_word

_AFTER_INTERVAL = frozenset([",", ";", ")", "]", "}", "\\}", "cup", "cap", "U", "and", "or"])
"""What follows the bracket that ends ``]0, 1[``."""


class Expressions(Commands):
    """Reads expressions: sums, products, factors and numbers."""

    def statement(self) -> Value:
        """An item of a list; `answers` knows more of them than expressions."""
        return self.side()

    def side(self) -> Value:
        """A side of a relation: sums joined as sets."""
        left = self.sum()
        while True:
            if self._is_union():
                self.take()
                left = ranges.union(left, self.sum())
            elif self.accept("cap"):
                left = ranges.meet(left, self.sum())
            elif self.accept("setminus"):
                left = ranges.minus(left, self.sum())
            else:
                return left

    def _is_union(self) -> bool:
        """A sign of a union, or a capital U between brackets."""
        if self.next.text != "U" or self.next.kind is Kind.OPERATOR:
            return self.is_command("cup")
        before = self.at and self.tokens[self.at - 1].text in (")", "]", "}", "\\}")
        return bool(before) and self.peek().text in ("(", "[", "\\{")

    def sum(self) -> Value:
        terms = [self.nested(self._signed)]
        while self.is_operator("+", "-") or self.is_command("pm", "mp"):
            if self.is_operator("-") and isinstance(terms[-1], Set | Region):
                self.take()
                terms[-1] = ranges.minus(terms[-1], self.term())
            else:
                terms.append(self.nested(self._signed))
        return total(terms)

    def _signed(self) -> Value:
        sign = ""
        while self.is_operator("+", "-") or self.is_command("pm", "mp"):
            text = self.take().text
            sign = {"+-": "-", "-+": "-", "--": "+"}.get(sign + text, text)
        value = self.term()
        if sign in ("", "+"):
            return value
        if sign == "-":
            return product([Expression(Num(Fraction(-1))), value])
        if isinstance(value, Quantity):
            return Quantity(Expression(Op(sign, (node_of(value.amount),))), value.unit)
        if isinstance(value, Expression):
            return Expression(Op(sign, (value.node,)), value.percent)
        return Listing((value, product([Expression(Num(Fraction(-1))), value])))

    def term(self) -> Value:
        factors = [self._money() or self.factor()]
        while True:
            if isinstance(factors[-1], Quantity) and not self._is_multiplied(factors[-1]):
                break
            if self.accept("*"):
                factors.append(self._signed_factor())
            elif (self.is_operator("/") and not self._unit_ahead()) or (
                self.inside and self.is_operator(":")
            ):
                self.take()
                divisor = self._signed_factor()
                factors.append(Expression(Op("inv", (node_of(divisor),))))
            elif self._fraction_of_number(factors):
                continue
            elif not self._factor_starts():
                break
            else:
                factors.append(self.factor())
        return self._with_unit(product(factors))

    def _is_multiplied(self, angle: Quantity) -> bool:
        """Whether a variable follows degrees, whose sign cannot be one: ``180^\\circ k``."""
        letter = self.peek() if self.is_operator("*") else self.next
        return angle.unit == DEGREE and letter.kind is Kind.NAME and len(letter.text) == 1

    def _signed_factor(self) -> Value:
        if self.accept("-"):
            return product([Expression(Num(Fraction(-1))), self.nested(self._signed_factor)])
        self.accept("+")
        return self.factor()

    def _fraction_of_number(self, factors: list[Value]) -> bool:
        """A mixed number: ``2\\frac13``, ``2 1/3``; two numbers side by side are unreadable."""
        whole = whole_of(factors[-1])
        start, tokens = self.at, self.tokens
        part: Value | None = None
        if self.next.kind is Kind.NUMBER:
            before = self.tokens[self.at - 1]
            if before.text == "!" or (before.kind is not Kind.NUMBER and self.peek().text == "^"):
                return False
            if whole is None or not (self.peek().text == "/" and self.peek(2).kind is Kind.NUMBER):
                raise Unreadable("two numbers side by side")
            over = literal(self.take().text)
            self.take()
            part = Expression(Op("div", (over, literal(self.take().text))))
        elif self.is_command("frac") and whole is not None and len(factors) == 1:
            part = None if self._unit_fraction() else self.factor()
        match part:
            case Expression(Op("div", (Num(top, None), Num(bottom, None))), percent) if (
                whole is not None and 0 < top < bottom
            ):
                factors[-1] = Expression(Num(whole + top / bottom), percent)
                return True
            case Quantity(Expression(Op("div", (Num(top, None), Num(bottom, None)))), unit) if (
                whole is not None and 0 < top < bottom
            ):
                factors[-1] = Quantity(Expression(Num(whole + top / bottom)), unit)
                return True
        self.at, self.tokens = start, tokens
        return False

    def _factor_starts(self) -> bool:
        """Whether what is next multiplies what was before without a sign between them."""
        token = self.next
        if token.kind in (Kind.NAME, Kind.WORD):
            return not self.word_next() and not self._is_union()
        if token.kind is Kind.COMMAND:
            if token.text == "Omega" and self.tokens[self.at - 1].kind is Kind.NUMBER:
                return False
            return token.text in PRIMARY and not self._unit_fraction()
        if token.kind is Kind.NUMBER:
            return True
        following = self.peek()
        if token.text == "(" and (following.text in SIGNS or following.text == "or"):
            return False
        if token.text == "(" and following.kind in (Kind.WORD, Kind.NAME):
            clause = is_word(following.text) or self.peek(2).text in SIGNS
            return following.kind is Kind.NAME and not clause
        if token.text == "[":
            return following.kind is not Kind.END and following.text not in _AFTER_INTERVAL
        return token.kind is Kind.OPERATOR and token.text in ("(", "{")

    def factor(self) -> Value:
        value = self.nested(self.primary)
        for _ in range(MAX_DEPTH):
            if self.accept("!"):
                value = Expression(Op("factorial", (node_of(value),)))
            elif self.accept("%"):
                value = Expression(node_of(value), percent=True)
            elif (more := self._followed(value)) is not None:
                value = more
            else:
                return value
        raise Unreadable("too many signs after a factor")

    def primary(self) -> Value:
        token = self.next
        if token.kind is Kind.NUMBER:
            return self._number()
        if token.kind is Kind.NAME or (token.kind is Kind.WORD and not self.word_next()):
            return self._name()
        if token.kind is Kind.COMMAND:
            return self._command()
        if token.kind is Kind.OPERATOR and token.text in ("(", "[", "]", "\\{", "{", "|", "||"):
            return self._bracketed()
        raise Unreadable(f"{token.text!r} where an expression begins")

    def _number(self) -> Value:
        text = self.take().text
        number = literal(text)
        whole, point, places = text.replace("_", "").partition(".")
        if point and self.is_command("overline", "dot"):
            return self._repeating(whole, places)
        if places and (self.is_command("ldots") or self.next.text.startswith("...")):
            self.take()
            return continued(whole, places)
        if number.unit is None and self.next.text in ORDINALS and not self.next.spaced:
            self.take()
        return self._imaginary(number)

    def _imaginary(self, number: Num) -> Value:
        """``2j`` as Python prints it, where nothing else is called j."""
        if self.next.text == "j" and not self.next.spaced:
            letters = {token.text for token in self.tokens if token.kind is not Kind.OPERATOR}
            if not letters & {"i", "k", "hat", "vec"}:
                self.take()
                return Expression(Op("mul", (number, Sym("i"))))
        return Expression(number)

    def _repeating(self, whole: str, places: str) -> Value:
        cycle = ""
        while self.is_command("overline", "dot"):
            self.take()
            braced = self.accept("{")
            digits = self.take()
            if digits.kind is not Kind.NUMBER or not digits.text.isdigit():
                raise Unreadable("a repeating decimal without digits")
            cycle += digits.text
            if braced:
                self.expect("}")
            if self.next.kind is Kind.NUMBER and self.peek().text == "dot":
                cycle += self.take().text
        start = Fraction(int(whole + places or "0"), 10 ** len(places))
        rest = Fraction(int(cycle), (10 ** len(cycle) - 1) * 10 ** len(places))
        return Expression(Num(start + rest))
