"""The rules for relations and their sides, and what sides joined by signs say."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tirgen.verification import ranges
from tirgen.verification.arithmetic import approximate
from tirgen.verification.cursor import OutsideGrammar
from tirgen.verification.finishing import finished
from tirgen.verification.grammar import Expressions
from tirgen.verification.literals import node_of
from tirgen.verification.naming import is_label
from tirgen.verification.symbols import SIGNS
from tirgen.verification.tokens import Kind, Token, Unreadable
from tirgen.verification.values import (
    Cases,
    Expression,
    Listing,
    Matrix,
    Named,
    Node,
    Num,
    Op,
    Opaque,
    Quantity,
    Ratio,
    Region,
    Relation,
    Set,
    Sym,
    Text,
    Tuple,
    Value,
    symbols,
)


def related(sides: list[Value], signs: list[str]) -> Value:
    """What sides joined by signs say."""
    if signs and signs[-1] == "approx":
        if _approximates(sides[-2], sides[-1]):
            both = Relation((sides[-2], sides[-1]), ("approx",))
            return related([*sides[:-2], both], signs[:-1])
        signs = [*signs[:-1], "=" if len(signs) == 1 else "unlike"]
    if not signs:
        return sides[0]
    if signs[-1] == "in" and len(signs) == 1:
        return _member(sides[0], sides[1])
    if set(signs) == {"="}:
        return _equation(sides)
    relation = Relation(tuple(sides), tuple(signs))
    return ranges.solved(relation) or relation


def _approximates(exact: Value, rounded: Value) -> bool:
    """Whether a decimal is about the constant that it follows."""
    values = []
    for value in (exact, rounded):
        amount = value.amount if isinstance(value, Quantity) else value
        plain = isinstance(amount, Expression)
        values.append(approximate(node_of(amount)) if plain else None)
    left, right = values
    if left is None or right is None:
        return False
    return abs(left - right) <= 0.02 * max(abs(left), abs(right))


def _member(element: Value, collection: Value) -> Value:
    name = (
        element.node.name
        if isinstance(element, Expression) and isinstance(element.node, Sym)
        else None
    )
    if isinstance(collection, Expression) and isinstance(collection.node, Sym):
        return Relation((element, collection), ("in",))
    region = ranges.region_of(collection) if not isinstance(collection, Set) else None
    if region is not None:
        return Region(region.pieces, name)
    if isinstance(collection, Set):
        if name is None:
            return collection
        several = len(collection.items) != 1
        return Named(Sym(name), Listing(collection.items) if several else collection.items[0])
    return Relation((element, collection), ("in",))


def _equation(sides: list[Value]) -> Value:
    first, last = sides[0], sides[-1]
    if len(sides) > 2:
        kept = [side for side in sides[:-1] if not is_label(side)]
        if not kept:
            return Named(name_of(first), last)
        if is_label(first) and len(sides) >= 2 and all(map(_is_constant, sides[1:])):
            return Named(name_of(first), Relation(tuple(sides[1:]), ("=",) * (len(sides) - 2)))
        return Relation(tuple(sides), ("=",) * (len(sides) - 1))
    match first, last:
        case Tuple(names), Tuple(values) if len(names) == len(values) and all(map(is_label, names)):
            pairs = zip(names, values, strict=True)
            return Listing(tuple(Named(name_of(name), value) for name, value in pairs))
    composite = isinstance(last, Matrix | Tuple | Region | Set | Cases)
    if is_label(first) or (composite and isinstance(first, Expression)):
        return Named(name_of(first), last)
    if is_label(last):
        return Named(name_of(last), first)
    return Relation((first, last), ("=",))


def name_of(value: Value) -> Node | str:
    match value:
        case Expression(node):
            return node
        case Ratio():
            return node_of(value)
        case Opaque(latex):
            return re.sub(r"\s+", "", latex)
        case Text(words):
            return words
    raise Unreadable("a name that is none")


def _is_constant(value: Value) -> bool:
    return isinstance(value, Expression) and not symbols(value.node)


class Sides(Expressions):
    """Reads relations."""

    _ratios = True

    def relation(self) -> Value:
        sides: list[Value] = []
        signs: list[str] = []
        if self._sign_next():
            sign = SIGNS[self.take().text]
            if sign not in ("=", "approx"):
                raise Unreadable("a relation without its left side")
        sides.append(self._side())
        while self._sign_next():
            signs.append(SIGNS[self.take().text])
            sides.append(self._side())
        return related([finished(side) for side in sides], signs) if signs else sides[0]

    def _sign_next(self) -> bool:
        token = self.next
        return token.kind in (Kind.OPERATOR, Kind.COMMAND) and token.text in SIGNS

    def _side(self) -> Value:
        start, tokens = self.at, self.tokens
        try:
            value = self.side()
        except OutsideGrammar:
            self.at, self.tokens = start, tokens
            return self._opaque()
        value = self._following_quantities(value)
        if self._ratios and self.is_operator(":") and isinstance(value, Expression):
            return self._ratio(value)
        if isinstance(value, Expression) and self.word_next():
            if self.next.text == "to" and self.peek().kind is Kind.NUMBER:
                return self._ratio(value)
            return self._out_of(value)
        return value

    def _out_of(self, value: Expression) -> Value:
        """``3 out of 10`` and ``1 in 6`` as fractions."""
        words = [self.next.text, self.peek().text]
        count = 2 if words == ["out", "of"] else 1 if words[0] == "in" else 0
        if not count or self.peek(count).kind is not Kind.NUMBER:
            return value
        self.at += count
        return Expression(Op("div", (value.node, node_of(self.side()))))

    def _ratio(self, first: Value) -> Value:
        parts = [first]
        while self.is_operator(":") or (self.next.text == "to"):
            self.take()
            parts.append(self.side())
        return Ratio(tuple(finished(part) for part in parts))

    def _following_quantities(self, value: Value) -> Value:
        """``5 hours 20 minutes``, ``70° 30'``: quantities of one dimension side by side."""
        parts = [value]
        while isinstance(value, Quantity) and (
            self.next.kind is Kind.NUMBER
            or (self.is_operator(",", "and") and self.peek().kind is Kind.NUMBER)
        ):
            start = self.at
            self.accept(",", "and")
            part = self.term()
            smaller = isinstance(part, Quantity) and (
                part.unit.dimensions == value.unit.dimensions
                and part.unit.factor < value.unit.factor
            )
            if not smaller:
                self.at = start
                break
            parts.append(part)
            value = part
        return _added_up(parts) if len(parts) > 1 else value

    def _opaque(self) -> Value:
        """Mathematics beyond the grammar, up to the end of its side."""
        start, depth = self.at, 0
        while self.next.kind is not Kind.END:
            if depth == 0 and (self.is_operator("=", "<", ">", ",", ";", "\\", "}", ")")):
                break
            depth += self.is_operator("(", "[", "{", "\\{") - self.is_operator(")", "]", "}", "\\}")
            self.take()
        if self.at == start:
            raise Unreadable("nothing where a value is expected")
        return Opaque(latex_of(self.tokens[start : self.at]))


def _added_up(parts: list[Value]) -> Value:
    """Quantities of one dimension in the unit of the last."""
    last = parts[-1]
    assert isinstance(last, Quantity)
    nodes: list[Node] = []
    for part in parts:
        assert isinstance(part, Quantity)
        nodes.append(Op("mul", (node_of(part.amount), Num(part.unit.factor / last.unit.factor))))
    return Quantity(Expression(Op("add", tuple(nodes))), last.unit)


def latex_of(tokens: Sequence[Token]) -> str:
    """Tokens as LaTeX again."""
    pieces = []
    for token in tokens:
        if token.kind is Kind.COMMAND:
            pieces.append(f"\\{token.text} ")
        elif token.kind is Kind.WORD:
            pieces.append(f"\\text{{{token.text}}}")
        else:
            pieces.append((" " if token.spaced else "") + token.text)
    return "".join(pieces)
