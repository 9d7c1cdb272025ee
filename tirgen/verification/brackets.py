"""The rules for brackets: groups, tuples, sets, intervals, matrices, cases; and arguments."""

from __future__ import annotations

from fractions import Fraction

from tirgen.verification import ranges
from tirgen.verification.arithmetic import product
from tirgen.verification.literals import literal, node_of
from tirgen.verification.symbols import FUNCTIONS, GREEK, PYTHON
from tirgen.verification.tokens import Kind, Token, Unreadable
from tirgen.verification.units import UnitPhrases
from tirgen.verification.values import (
    Bracket,
    Cases,
    Expression,
    Listing,
    Matrix,
    Named,
    Num,
    Op,
    Set,
    Sym,
    Tuple,
    Value,
)

_INSIDE = {"(": ")", "[": "]", "\\{": "\\}", "{": "}"}


class Brackets(UnitPhrases):
    """Reads what stands in brackets and braces."""

    def _argument(self, power: bool = False) -> Value:
        """The argument of a command or an exponent: braces, or a single thing."""
        if self.accept("{"):
            return self._group()
        token = self.next
        if power and self.is_operator("-", "+"):
            return self.nested(self._signed_power)
        if token.kind is Kind.NUMBER:
            if power or "." in token.text or len(token.text) == 1 or token.text.count("e"):
                self.take()
                return Expression(literal(token.text))
            return self._digit(token)
        if (
            token.kind is Kind.NAME
            and len(token.text) > 1
            and token.text not in PYTHON
            and (token.text not in GREEK and token.text not in FUNCTIONS)
        ):
            return self._letter(token)
        if self.is_operator("("):
            return self._bracketed()
        return self.nested(self.primary)

    def _signed_power(self) -> Value:
        minus = self.take().text == "-"
        value = self._argument(power=True)
        return product([Expression(Num(Fraction(-1))), value]) if minus else value

    def _digit(self, token: Token) -> Value:
        """The first digit of ``\\frac12``, whose second is the next argument."""
        rest = Token(Kind.NUMBER, token.text[1:])
        self.tokens = [*self.tokens[: self.at], rest, *self.tokens[self.at + 1 :]]
        return Expression(Num(Fraction(int(token.text[0]))))

    def _letter(self, token: Token) -> Value:
        return Expression(Sym(self._first_letter(token)))

    def _first_letter(self, token: Token) -> str:
        """The first letter of a run, whose others are what follows."""
        rest = Token(Kind.NAME, token.text[1:])
        self.tokens = [*self.tokens[: self.at], rest, *self.tokens[self.at + 1 :]]
        return token.text[0]

    def items(self, *closing: str) -> list[Value]:
        """The statements before a closing bracket, which is taken."""
        found: list[Value] = []
        ends = tuple(mark for mark in closing if mark != "[")
        if self.accept(*ends):
            return found
        while True:
            found.append(self.nested(self.statement))
            if self.accept(*closing):
                return found
            if not self.accept(",", ";", "and", "or"):
                raise Unreadable(f"{closing[0]!r} expected, {self.next.text!r} found")
            if self.accept(*ends):
                return found

    def _bracketed(self) -> Value:
        opening = self.take().text
        if opening in ("|", "||"):
            inner = self.nested(self.statement)
            self.expect(opening)
            return Expression(Op("abs", (node_of(inner),)))
        if opening == "]":
            low, high = self.items("[", "]")
            return ranges.region(
                node_of(low), node_of(high), False, self.tokens[self.at - 1].text == "]"
            )
        if opening == "\\{" or (opening == "{" and not self._is_group()):
            return self._set("\\}" if opening == "\\{" else "}")
        if opening == "{":
            return self._group()
        return self._pair_or_group(opening)

    def _group(self) -> Value:
        """What stands in braces, perhaps around ``n \\choose k`` or ``a \\over b``."""
        value = self.nested(self.statement)
        for name, operation in (("choose", "binom"), ("over", "div")):
            if self.accept(name):
                value = Expression(
                    Op(operation, (node_of(value), node_of(self.nested(self.statement))))
                )
        self.expect("}")
        return value

    def _is_group(self) -> bool:
        """Whether braces group, as in LaTeX, and are no set as Python prints it."""
        depth = 0
        for token in self.tokens[self.at :]:
            if token.kind is Kind.OPERATOR:
                depth += (token.text in _INSIDE) - (token.text in (")", "]", "\\}", "}"))
                if depth < 0:
                    return True
                if depth == 0 and token.text in (",", ":"):
                    return False
        return True

    def _pair_or_group(self, opening: str) -> Value:
        outer, self.inside = self.inside, opening == "("
        items = self.items(")", "]", "[")
        self.inside = outer
        closing = self.tokens[self.at - 1].text
        if len(items) == 2 and (opening == "[") != (closing == "]"):
            low, high = node_of(items[0]), node_of(items[1])
            return ranges.region(low, high, opening == "[", closing == "]")
        if {opening, closing} not in ({"(", ")"}, {"[", "]"}):
            raise Unreadable(f"{opening} closed by {closing}")
        if opening == "(" and len(items) == 1 and self.tokens[self.at - 2].text != ",":
            return items[0]
        if opening == "(":
            return Tuple(tuple(items))
        if len(items) == 1 and isinstance(items[0], Matrix):
            return items[0]
        if items and all(isinstance(item, Bracket) for item in items):
            rows = tuple(item.items for item in items if isinstance(item, Bracket))
            if len({len(row) for row in rows}) == 1:
                return Matrix(rows)
        return Bracket(tuple(items))

    def _set(self, closing: str) -> Value:
        start, tokens = self.at, self.tokens
        if self.accept(closing):
            return Set(())
        first = self.nested(self.element)
        if self.accept("|", ":"):
            if closing == "}" and self.tokens[self.at - 1].text == ":":
                self.at, self.tokens = start, tokens
                return self._dictionary(closing)
            condition = self.nested(self.condition)
            self.expect(closing)
            return ranges.such_that(first, condition)
        self.at, self.tokens = start, tokens
        return Set(tuple(self.items(closing)))

    def _dictionary(self, closing: str) -> Value:
        pairs: list[Value] = []
        while not self.accept(closing):
            name = node_of(self.nested(self.sum))
            self.expect(":")
            pairs.append(Named(name, self.nested(self.sum)))
            self.accept(",")
        return pairs[0] if len(pairs) == 1 else Listing(tuple(pairs))

    def element(self) -> Value:
        return self.statement()

    def condition(self) -> Value:
        return self.statement()

    def _matrix(self, end: str) -> Value:
        rows: list[tuple[Value, ...]] = []
        row: list[Value] = []
        while not self.accept(end):
            row.append(self.nested(self.statement))
            if self.accept("\\"):
                rows.append(tuple(row))
                row = []
            elif not self.accept("&") and not self.is_command(end):
                raise Unreadable(f"{self.next.text!r} in a matrix")
        if row:
            rows.append(tuple(row))
        if len({len(one) for one in rows}) != 1:
            raise Unreadable("a matrix with rows of several lengths")
        if all(len(one) == 1 and isinstance(one[0], Named) for one in rows):
            return Listing(tuple(one[0] for one in rows))
        return Matrix(tuple(rows))

    def _cases(self) -> Value:
        rows: list[list[Value]] = []
        while not self.accept("end cases"):
            row = [self.nested(self.statement)]
            while self.accept("&", ",") and not self.is_operator("\\"):
                self.accept("&")
                row.append(self.nested(self.case_condition))
            self.accept(".", ";")
            rows.append(row)
            if not self.accept("\\") and not self.is_command("end cases"):
                raise Unreadable(f"{self.next.text!r} in a case")
        if all(len(row) == 1 for row in rows):
            return Listing(tuple(row[0] for row in rows))
        if any(len(row) != 2 for row in rows):
            raise Unreadable("a case without its condition")
        return Cases(tuple((row[0], row[1]) for row in rows))

    def case_condition(self) -> Value:
        return self.statement()
