"""The rules for what follows a statement: a declared variable, a modulus, a condition."""

from __future__ import annotations

from tirgen.verification.cursor import Beyond
from tirgen.verification.equations import related
from tirgen.verification.finishing import finished
from tirgen.verification.naming import BOUND
from tirgen.verification.sides import Sides
from tirgen.verification.tokens import Kind, Token, Unreadable
from tirgen.verification.values import (
    Expression,
    Listing,
    Named,
    Number,
    Relation,
    Residues,
    Tuple,
    Value,
    renamed,
)
from tirgen.verification.vocabulary import (
    DECLARING,
    is_word,
)

_CONDITIONS = frozenset({"for", "where", "with", "when", "if", "such", "over"})


class Clauses(Sides):
    """Reads the clause after a statement."""

    def _conditioned(self, value: Value) -> Value:
        """A value without a clause after it that only declares a variable."""
        start = self.at
        parenthesised = self.accept("(")
        comma = self.accept(",")
        worded = self.word_next() and self.next.text.lower() in _CONDITIONS
        opens = worded or self.is_command("forall")
        if not opens:
            if comma or parenthesised:
                self.at = start
                declared = self._declared_member()
                if not declared:
                    self.at = start
                else:
                    return _declared(value, list(self.tokens[start : self.at]))
            return value
        clause: list[Token] = []
        while self.next.kind is not Kind.END and not self.is_operator("\\", ";", "or"):
            token = self.take()
            clause.append(token)
            if (
                token.kind is Kind.WORD or is_word(token.text)
            ) and token.text.lower() not in DECLARING | _CONDITIONS:
                raise Unreadable(f"the condition {token.text!r}")
            if token.text in ("<", "=", "le") or (token.kind is Kind.NUMBER and token.text != "0"):
                raise Unreadable("a condition")
        return _declared(value, clause)

    def _declared_member(self) -> bool:
        r"""``, k \in \mathbb{Z}`` after a comma, which declares a parameter."""
        self.accept(",")
        self.accept("(")
        if (
            self.next.kind is Kind.NAME
            and self.peek().text == "in"
            and self.peek(2).text in ("ZZ", "NN", "RR", "QQ")
        ):
            self.at += 3
            self._skip_power()
            self.accept(")")
            return self.peek(0).kind is Kind.END or self.is_operator(";", "\\", "or", "and", ".")
        return False

    def _skip_power(self) -> None:
        while self.is_operator("^", "_", "{", "}", "+", "-", "*"):
            self.take()

    def _with_residues(self, value: Value) -> Value:
        r"""A value with the modulus that follows it: ``3 \pmod 7``."""
        bracket = self.is_operator("(") and self.peek().text in ("mod", "modulo")
        if (
            not bracket
            and not self.is_command("mod")
            and not (
                self.next.kind in (Kind.WORD, Kind.NAME) and self.next.text in ("mod", "modulo")
            )
        ):
            match value:
                case Relation((left, right), ("equiv",)):
                    return related([left, right], ["="])
            return value
        if bracket:
            self.take()
        self.take()
        braced = self.is_operator("{", "(") and bool(self.take())
        token = self.take()
        if braced and not self.accept("}", ")"):
            raise Unreadable("a modulus that is no number")
        if bracket:
            self.expect(")")
        if (
            token.kind is not Kind.NUMBER
            or not token.text.isdigit()
            or not 1 < int(token.text) < 10**5
        ):
            raise Unreadable("a modulus that is no number")
        return _residues(value, int(token.text))


def _declared(value: Value, clause: list[Token]) -> Value:
    """A value whose declared parameters are bound: any other name would do for them."""
    words = {token.text.lower() for token in clause}
    if words & {"all", "any", "every", "each", "RR", "real"}:
        return value
    if not words & {
        "integer",
        "integers",
        "ZZ",
        "NN",
        "zz",
        "nn",
        "constant",
        "constants",
        "arbitrary",
    }:
        if "some" in words:
            raise Unreadable("some value, but not which")
        return value
    names = {
        token.text: BOUND + token.text
        for token in clause
        if token.kind is Kind.NAME and len(token.text) == 1
    }
    return _with_names(value, names)


def _with_names(value: Value, names: dict[str, str]) -> Value:
    match value:
        case Expression(node, percent):
            return Expression(renamed(node, names), percent)
        case Named(name, inner):
            return Named(name, _with_names(inner, names))
        case Tuple(items):
            return Tuple(tuple(_with_names(item, names) for item in items))
        case Listing(items, either):
            return Listing(tuple(_with_names(item, names) for item in items), either)
    return value


def _residues(value: Value, modulus: int) -> Value:
    named, inner = False, finished(value)
    if isinstance(value, Relation) and value.signs == ("equiv",):
        named, inner = True, finished(value.sides[1])
    items = inner.items if isinstance(inner, Listing) else (inner,)
    numbers = [item.value for item in items if isinstance(item, Number)]
    if len(numbers) < len(items) or any(number.denominator != 1 for number in numbers):
        raise Beyond("a congruence of other things than numbers")
    return Residues(frozenset(int(number) % modulus for number in numbers), modulus, named)
