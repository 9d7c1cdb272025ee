"""A parsed value made final: constants folded, both signs of a plus-minus written out."""

from __future__ import annotations

from fractions import Fraction

from tirgen.verification.arithmetic import Costly, rational
from tirgen.verification.tokens import Unreadable
from tirgen.verification.units import PERCENT
from tirgen.verification.values import (
    Bracket,
    Cases,
    Expression,
    Listing,
    Matrix,
    Named,
    Node,
    Num,
    Number,
    Op,
    Quantity,
    Set,
    Sym,
    Tuple,
    Value,
    walk,
)

MOST_ITEMS = 64


def finished(value: Value) -> Value:  # noqa: C901  one case for each type
    """A parsed value with its constants folded and its signs written out."""
    match value:
        case Expression(node, percent):
            return _expanded(node, percent)
        case Quantity(amount, unit):
            inner = finished(amount)
            if unit == PERCENT and isinstance(inner, Number):
                return Number(inner.value, inner.unit, inner.digits, percent=True)
            if isinstance(inner, Listing):
                return Listing(
                    tuple(
                        finished(Quantity(one, unit))
                        for one in inner.items
                        if isinstance(one, Number | Expression)
                    )
                )
            if not isinstance(inner, Number | Expression):
                raise Unreadable("an amount that is no number")
            return Quantity(inner, unit) if unit.dimensions else inner
        case Tuple(items):
            return _both_signs(tuple(map(finished, items)))
        case Bracket(items):
            return Bracket(tuple(map(finished, items)))
        case Set(items):
            return Set(spelled_out(flat(tuple(map(finished, items)))))
        case Listing(items, either, decimal):
            return Listing(flat(tuple(map(finished, items))), either, decimal)
        case Matrix(rows):
            return Matrix(tuple(tuple(map(finished, row)) for row in rows))
        case Cases(rows):
            return Cases(tuple((finished(value), finished(condition)) for value, condition in rows))
        case Named(name, inner):
            return Named(name, finished(inner))
    return value


def _both_signs(items: tuple[Value, ...]) -> Value:
    """``(0, \\pm 2)`` as two tuples, in which every sign is the upper or the lower one."""
    if not any(isinstance(item, Listing) and len(item.items) == 2 for item in items):
        return Tuple(items)
    pairs = [item.items if isinstance(item, Listing) else (item, item) for item in items]
    return Listing(tuple(Tuple(tuple(pair[sign] for pair in pairs)) for sign in (0, 1)))


def spelled_out(items: tuple[Value, ...]) -> tuple[Value, ...]:
    """Every number of ``1, 2, ..., 10``, at most `_MOST_ITEMS` of them."""
    gap = Expression(Sym("ldots"))
    if items.count(gap) != 1 or not 2 <= items.index(gap) <= len(items) - 2:
        return items
    place = items.index(gap)
    match items[place - 2], items[place - 1], items[place + 1]:
        case Number(before), Number(start), Number(end):
            step = start - before
            count = (end - start) / step if step else Fraction(0)
            if count.denominator == 1 and 0 < count <= MOST_ITEMS:
                between = (Number(start + k * step) for k in range(1, int(count)))
                return (*items[:place], *between, *items[place + 1 :])
    return items


def flat(items: tuple[Value, ...]) -> tuple[Value, ...]:
    """Items, those of a list among them one by one."""
    found: list[Value] = []
    for item in items:
        found.extend(item.items if isinstance(item, Listing) else (item,))
    return tuple(found)


def _expanded(node: Node, percent: bool) -> Value:
    if any(isinstance(one, Op) and one.name in ("pm", "mp") for one in walk(node)):
        both = (_signed(node, upper=True), _signed(node, upper=False))
        return Listing(tuple(_expanded(one, percent) for one in both))
    match node:
        case Num(value, unit, digits):
            return Number(value, unit, digits, percent)
        case Op("neg", (Sym("oo"),)) | Op("mul", (Num(value=_), Sym("oo"))):
            return Expression(Op("neg", (Sym("oo"),)))
    try:
        exact = rational(node)
    except Costly:
        return Expression(node, percent)
    return Expression(node, percent) if exact is None else Number(exact, percent=percent)


def _signed(node: Node, upper: bool) -> Node:
    match node:
        case Op("pm" | "mp" as sign, (inner,)):
            arg = _signed(inner, upper)
            return arg if (sign == "pm") == upper else Op("neg", (arg,))
        case Op(name, args):
            return Op(name, tuple(_signed(arg, upper) for arg in args))
    return node
