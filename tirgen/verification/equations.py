"""What sides joined by signs say: a named value, a region, an equation, a relation."""

from __future__ import annotations

import re

from tirgen.verification import ranges
from tirgen.verification.arithmetic import approximate
from tirgen.verification.naming import NAMING
from tirgen.verification.tokens import Unreadable
from tirgen.verification.values import (
    CONSTANTS,
    Cases,
    Choice,
    Expression,
    Listing,
    Matrix,
    Named,
    Node,
    Num,
    Number,
    Op,
    Opaque,
    Quantity,
    Region,
    Relation,
    Set,
    Sym,
    Text,
    Tuple,
    Value,
    symbols,
)

SIGNS = {
    "=": "=", "<": "<", ">": ">", "<=": "le", ">=": "ge", "le": "le", "ge": "ge",
    "ne": "ne", "!=": "ne", "approx": "approx", "~": "approx", "in": "in", "equiv": "equiv",
    "ni": "ni", "notin": "notin", "subset": "subset", "subseteq": "subset", "ll": "<", "gg": ">",
}  # fmt: skip


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
    if isinstance(exact, Quantity):
        exact = exact.amount
    if isinstance(rounded, Quantity):
        rounded = rounded.amount
    first, second = ranges.node(exact), ranges.node(rounded)
    if isinstance(exact, Number):
        first = Num(exact.value / (100 if exact.percent else 1))
    if isinstance(rounded, Number):
        second = Num(rounded.value / (100 if rounded.percent else 1))
    if first is None or second is None:
        return False
    left, right = approximate(first), approximate(second)
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
        kept = [side for side in sides[:-1] if not _is_label(side)]
        if not kept:
            return Named(name_of(first), last)
        if _is_label(first) and len(sides) >= 2 and all(map(_is_constant, sides[1:])):
            return Named(name_of(first), Relation(tuple(sides[1:]), ("=",) * (len(sides) - 2)))
        return Relation(tuple(sides), ("=",) * (len(sides) - 1))
    match first, last:
        case Tuple(names), Tuple(values) if len(names) == len(values) and all(
            map(_is_label, names)
        ):
            pairs = zip(names, values, strict=True)
            return Listing(tuple(Named(name_of(name), value) for name, value in pairs))
    composite = isinstance(last, Matrix | Tuple | Region | Set | Cases)
    if _is_label(first) or (composite and isinstance(first, Expression)):
        return Named(name_of(first), last)
    if _is_label(last):
        return Named(name_of(last), first)
    return Relation((first, last), ("=",))


def _is_label(value: Value) -> bool:
    """Whether a side of an equation only names what the other side says."""
    match value:
        case Opaque():
            return True
        case Text():
            return True
        case Choice() | Tuple():
            return False
        case Expression(Sym(name)):
            return name not in CONSTANTS
        case Expression(Op(name, _)) if name in NAMING:
            return True
        case Expression(Op("mul", args)):
            return len(args) in (2, 3) and all(
                isinstance(a, Sym) and a.name.isupper() for a in args
            )
    return False


def name_of(value: Value) -> Node | str:
    match value:
        case Expression(node):
            return node
        case Opaque(latex):
            return re.sub(r"\s+", "", latex)
        case Text(words):
            return words
    raise Unreadable("a name that is none")


def _is_constant(value: Value) -> bool:
    return isinstance(value, Number) or (isinstance(value, Expression) and not symbols(value.node))
