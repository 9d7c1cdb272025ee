"""A parsed value made final, and what statements side by side say together."""

from __future__ import annotations

from fractions import Fraction

from tirgen.verification import ranges
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
    Op,
    Quantity,
    Region,
    Residues,
    Set,
    Several,
    Sym,
    Tuple,
    Value,
    changed,
    number,
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
            if unit == PERCENT and (percentage := number(inner)):
                return Expression(percentage, percent=True)
            if isinstance(inner, Listing):
                return inner.of(
                    finished(Quantity(one, unit))
                    for one in inner.items
                    if isinstance(one, Expression)
                )
            if not isinstance(inner, Expression):
                raise Unreadable("an amount that is no number")
            return Quantity(inner, unit) if unit.dimensions else inner
        case Tuple(items):
            return _both_signs(tuple(map(finished, items)))
        case Bracket(items):
            return value.of(map(finished, items))
        case Several(items):
            return value.of(spelled_out(flat(tuple(map(finished, items)))))
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
        case Expression(Num(before)), Expression(Num(start)), Expression(Num(end)):
            step = start - before
            count = (end - start) / step if step else Fraction(0)
            if count.denominator == 1 and 0 < count <= MOST_ITEMS:
                between = (Expression(Num(start + k * step)) for k in range(1, int(count)))
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
    return folded(node, percent)


def folded(node: Node, percent: bool = False) -> Expression:
    """An expression as a number where it has a rational value."""
    match node:
        case Num():
            return Expression(node, percent)
        case Op("neg", (Sym("oo"),)) | Op("mul", (Num(value=_), Sym("oo"))):
            return Expression(Op("neg", (Sym("oo"),)))
    try:
        exact = rational(node)
    except Costly:
        return Expression(node, percent)
    return Expression(node if exact is None else Num(exact), percent)


def _signed(node: Node, upper: bool) -> Node:
    def taken(one: Node) -> Node | None:
        match one:
            case Op("pm" | "mp" as sign, (inner,)):
                arg = _signed(inner, upper)
                return arg if (sign == "pm") == upper else Op("neg", (arg,))
        return None

    return changed(node, taken)


def assembled(groups: list[list[Value]], joints: set[str]) -> Value:
    if len(groups) == 1:
        return joined(groups[0], "or" in joints, "and" in joints)
    if any(len(group) > 1 for group in groups) and all(
        isinstance(item, Named) for group in groups for item in group
    ):
        names = [
            tuple(str(item.name) for item in group if isinstance(item, Named)) for group in groups
        ]
        if len(set(names)) == 1 and len(set(names[0])) == len(names[0]) > 1:
            return Listing(tuple(Listing(tuple(group)) for group in groups), either=True)
    return joined([item for group in groups for item in group], "or" in joints, "and" in joints)


def joined(items: list[Value], either: bool, both: bool) -> Value:
    items = (
        list(flat(tuple(items)))
        if not any(isinstance(i, Listing) and _is_record(i) for i in items)
        else items
    )
    items = list(spelled_out(tuple(items)))
    if len(items) == 1:
        return items[0]
    items = _with_exceptions(items)
    if len(items) == 1:
        return items[0]
    if residues := _residues(items):
        return residues
    regions = _combined(items, both, either)
    if regions is not None:
        return regions
    first = items[0]
    if isinstance(first, Named) and not any(isinstance(item, Named) for item in items[1:]):
        function = isinstance(first.name, Op) and first.name.name == "call"
        if not function:
            return Named(first.name, Listing(flat((first.value, *items[1:])), either))
    names = {item.name for item in items if isinstance(item, Named)}
    if len(names) == 1 and all(isinstance(item, Named) for item in items):
        values = flat(tuple(item.value for item in items if isinstance(item, Named)))
        return Named(names.pop(), Listing(values, either))
    return Listing(tuple(items), either)


def _is_record(value: Listing) -> bool:
    return all(isinstance(item, Named) for item in value.items)


def _residues(items: list[Value]) -> Residues | None:
    r"""``1, 5 \pmod 6``, ``x \equiv 1 \pmod 6 or x \equiv 5 \pmod 6``: all that is left."""
    last = items[-1]
    if not isinstance(last, Residues):
        return None
    found, named = set(last.values), last.named
    for item in items[:-1]:
        match item:
            case Residues(values, modulus) if modulus == last.modulus:
                found |= values
            case Expression(Num(value)) | Named(Sym(), Expression(Num(value))) if (
                value.denominator == 1
            ):
                found.add(int(value) % last.modulus)
                named |= isinstance(item, Named)
            case _:
                return None
    return Residues(frozenset(found), last.modulus, named)


def _with_exceptions(items: list[Value]) -> list[Value]:
    """``x \\ne 0, 1``: the numbers after an inequality are left out too."""
    first = items[0]
    if isinstance(first, Region) and first.name and len(first.pieces) == 2 and all(
        number(item) for item in items[1:]
    ) and first.pieces[0].high == first.pieces[1].low:  # fmt: skip
        return [ranges.minus(first, Set(tuple(items[1:])))]
    return items


def _combined(items: list[Value], both: bool, either: bool) -> Value | None:
    """Inequalities in one variable together: what all of them allow, or what any does."""
    if not any(isinstance(item, Region) and item.name for item in items):
        return None
    regions = [ranges.region_of(item) for item in items if isinstance(item, Region | Named)]
    known = [region for region in regions if region is not None]
    if len(known) < len(items) or len({region.name for region in known}) != 1:
        return None
    try:
        result: Value = known[0]
        for region in known[1:]:
            common = ranges.meet(result, region)
            apart = either or not (both or common.pieces)
            result = ranges.union(result, region) if apart else common
    except Unreadable:
        return None
    return result
