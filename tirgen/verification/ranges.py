"""Intervals, their unions and what an inequality in one variable says, as regions of the line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tirgen.verification.arithmetic import approximate
from tirgen.verification.tokens import Unreadable
from tirgen.verification.values import (
    CONSTANTS,
    Bracket,
    Expression,
    Interval,
    Listing,
    Named,
    Node,
    Num,
    Op,
    Region,
    Relation,
    Set,
    Sym,
    Tuple,
    Value,
    renamed,
    symbols,
)

_INFINITE = Sym("oo")
_BELOW = Op("neg", (_INFINITE,))
_WHOLE = Interval(_BELOW, _INFINITE, False, False)
ALL = Region((_WHOLE,))
FLIPPED = {"<": ">", ">": "<", "le": "ge", "ge": "le", "ne": "ne"}


def region(low: Node, high: Node, has_low: bool, has_high: bool) -> Region:
    """One interval; infinity belongs to none."""
    first, last = approximate(low), approximate(high)
    has_low &= first is None or not math.isinf(first)
    has_high &= last is None or not math.isinf(last)
    return Region((Interval(low, high, has_low, has_high),))


def region_of(value: Value) -> Region | None:
    """What a value is as a part of the line, if it may be read so."""
    match value:
        case Region():
            return value
        case Tuple((low, high)) | Bracket((low, high)):
            first, last = node(low), node(high)
            if first is None or last is None:
                return None
            closed = isinstance(value, Bracket)
            return region(first, last, closed, closed)
        case Set(items):
            points = [node(item) for item in items]
            known = [point for point in points if point is not None]
            if len(known) < len(points):
                return None
            return Region(tuple(Interval(p, p, True, True) for p in known))
        case Named(Sym(name), inner) if (point := node(inner)) is not None:
            return Region((Interval(point, point, True, True),), name)
    point = node(value)
    return None if point is None else Region((Interval(point, point, True, True),))


def is_interval(value: Tuple | Bracket) -> bool:
    """Whether two items in brackets may be the ends of an interval: they ascend, or may."""
    if len(value.items) != 2:
        return False
    low, high = map(node, value.items)
    if low is None or high is None:
        return False
    first, last = approximate(low), approximate(high)
    return first is None or last is None or first < last


def node(value: Value) -> Node | None:
    """The expression that a number or an expression is."""
    return value.node if isinstance(value, Expression) and not value.percent else None


def union(left: Value, right: Value) -> Value:
    if isinstance(left, Set) and isinstance(right, Set):
        return Set(left.items + right.items)
    first, second = _regions(left, right)
    return Region(merged(first.pieces + second.pieces), first.name or second.name)


def united(items: Sequence[Value]) -> Region | None:
    """Intervals side by side, as in speech: ``x in (1, 2) or (3, 4)``."""
    regions = [region_of(item) for item in items if isinstance(item, Tuple | Bracket | Region)]
    known = [region for region in regions if region is not None]
    if len(known) < len(items):
        return None
    pieces = tuple(piece for region in known for piece in region.pieces)
    return Region(merged(pieces), known[0].name)


def meet(left: Value, right: Value) -> Region:
    first, second = _regions(left, right)
    pieces = [
        piece for a in first.pieces for b in second.pieces if (piece := _common(a, b)) is not None
    ]
    return Region(merged(tuple(pieces)), first.name or second.name)


def minus(left: Value, right: Value) -> Region:
    first, second = _regions(left, right)
    rest = Region((_WHOLE,))
    for piece in second.pieces:
        rest = meet(rest, Region(_outside(piece)))
    return Region(meet(first, rest).pieces, first.name)


def _regions(left: Value, right: Value) -> tuple[Region, Region]:
    first, second = region_of(left), region_of(right)
    if first is None or second is None:
        raise Unreadable("a union of what are no intervals")
    return first, second


def _outside(piece: Interval) -> tuple[Interval, ...]:
    below = Interval(_BELOW, piece.low, False, not piece.has_low)
    above = Interval(piece.high, _INFINITE, not piece.has_high, False)
    parts = []
    if approximate(piece.low) != -math.inf:
        parts.append(below)
    if approximate(piece.high) != math.inf:
        parts.append(above)
    return tuple(parts)


def _common(first: Interval, second: Interval) -> Interval | None:
    lows = _value(first.low), _value(second.low)
    highs = _value(first.high), _value(second.high)
    low, has_low = first.low, first.has_low and (second.has_low or lows[0] != lows[1])
    if lows[1] > lows[0]:
        low, has_low = second.low, second.has_low
    high, has_high = first.high, first.has_high and (second.has_high or highs[0] != highs[1])
    if highs[1] < highs[0]:
        high, has_high = second.high, second.has_high
    start, end = max(lows), min(highs)
    if start > end or (start == end and not (has_low and has_high)):
        return None
    return Interval(low, high, has_low, has_high)


def _value(one: Node) -> float:
    value = approximate(one)
    if value is None:
        raise Unreadable("intervals whose ends have no order")
    return value


def merged(pieces: tuple[Interval, ...]) -> tuple[Interval, ...]:
    """The same points in as few pieces as possible, in order, where the ends can be ordered."""
    ends = [(approximate(p.low), approximate(p.high)) for p in pieces]
    if any(low is None or high is None for low, high in ends):
        return pieces
    ordered = sorted(pieces, key=lambda p: (_value(p.low), not p.has_low, _value(p.high)))
    joined: list[Interval] = []
    for piece in ordered:
        if joined and _touch(joined[-1], piece):
            joined[-1] = _joined(joined[-1], piece)
        else:
            joined.append(piece)
    return tuple(joined)


def _touch(first: Interval, second: Interval) -> bool:
    end, start = _value(first.high), _value(second.low)
    if abs(end - start) <= 1e-12 * (1 + abs(end if math.isfinite(end) else 0)):
        return first.has_high or second.has_low
    return end > start


def _joined(first: Interval, second: Interval) -> Interval:
    longer = second if _value(second.high) > _value(first.high) else first
    has_high = longer.has_high
    if _value(second.high) == _value(first.high):
        has_high = first.has_high or second.has_high
    return Interval(first.low, longer.high, first.has_low, has_high)


def solved(relation: Relation) -> Region | None:
    """An inequality in one variable as what it allows; None where it is no such thing."""
    nodes = [_as_variable(node(side)) for side in relation.sides]
    sides = [one for one in nodes if one is not None]
    if len(sides) < len(nodes) or not set(relation.signs) <= FLIPPED.keys():
        return None
    if len(sides) == 2:
        left, right, sign = sides[0], sides[1], relation.signs[0]
        if not _is_variable(left) and _is_variable(right):
            left, right, sign = right, left, FLIPPED[sign]
        return _half_line(left, sign, right)
    if len(sides) == 3 and _is_variable(sides[1]):
        first = _half_line(sides[1], FLIPPED[relation.signs[0]], sides[0])
        second = _half_line(sides[1], relation.signs[1], sides[2])
        if first is None or second is None or {relation.signs[0][0], relation.signs[1][0]} not in (
            {"<"}, {"l"}, {"<", "l"}, {">"}, {"g"}, {">", "g"}
        ):  # fmt: skip
            return None
        return _between(first, second)
    return None


def _as_variable(one: Node | None) -> Node | None:
    """``f(x)`` as a variable, which an inequality may bound."""
    match one:
        case Op("call", (Sym(function), Sym(argument))):
            return Sym(f"{function}({argument})")
    return one


def _between(first: Region, second: Region) -> Region | None:
    if len(first.pieces) == len(second.pieces) == 1:
        one, other = first.pieces[0], second.pieces[0]
        low, high = (one, other) if one.high == _INFINITE else (other, one)
        piece = Interval(low.low, high.high, low.has_low, high.has_high)
        return Region((piece,), first.name)
    try:
        return meet(first, second)
    except Unreadable:
        return None


def _is_variable(one: Node) -> bool:
    match one:
        case Sym(name):
            return name not in CONSTANTS
        case Op("abs", (Sym(),)):
            return True
    return False


def _half_line(left: Node, sign: str, bound: Node) -> Region | None:
    match left:
        case Sym(name) if name not in CONSTANTS and name not in symbols(bound):
            if isinstance(bound, Sym) and bound.name not in CONSTANTS:
                return None
            return Region(_pieces(sign, bound), name)
        case Op("abs", (Sym(name),)) if (limit := approximate(bound)) is not None and limit >= 0:
            opposite = Num(-bound.value) if isinstance(bound, Num) else Op("neg", (bound,))
            inside = Interval(opposite, bound, sign == "le", sign == "le")
            if sign in ("<", "le"):
                return Region((inside,), name)
            if sign in (">", "ge"):
                closed = sign == "ge"
                below = Interval(_BELOW, opposite, False, closed)
                return Region(merged((below, Interval(bound, _INFINITE, closed, False))), name)
    return None


def bounded(sign: str, bound: Value) -> Region:
    """What ``at least 7`` allows."""
    end = node(bound)
    if end is None:
        raise Unreadable("a bound that is no number")
    return Region(_pieces(sign, end))


def _pieces(sign: str, bound: Node) -> tuple[Interval, ...]:
    below = Interval(_BELOW, bound, False, sign == "le")
    above = Interval(bound, _INFINITE, sign == "ge", False)
    return {"<": (below,), "le": (below,), ">": (above,), "ge": (above,)}.get(sign, (below, above))


def such_that(element: Value, condition: Value) -> Value:
    """``{x | condition}``: the condition's region, which no longer has a name."""
    match element, condition:
        case Expression(Sym(name)) | Region(name=name), Region(pieces, about) if name == about:
            return Region(pieces)
        case Expression(Sym(name)), Named(Sym(about), inner) if name == about:
            return Set(inner.items) if isinstance(inner, Set | Listing) else Set((inner,))
    match element, condition:
        case Expression(whole), Relation((Expression(Sym(name)), Expression(Sym(kind))), ("in",)):
            if kind in ("ZZ", "NN"):
                return Set((Expression(renamed(whole, {name: f"any {name}"})),))
    raise Unreadable("a set whose condition is no interval")
