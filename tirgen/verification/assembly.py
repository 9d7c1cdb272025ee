"""What statements side by side say together: a list, a union, the values of one name."""

from __future__ import annotations

from tirgen.verification import ranges
from tirgen.verification.finishing import flat, spelled_out
from tirgen.verification.tokens import Unreadable
from tirgen.verification.values import (
    Listing,
    Named,
    Number,
    Op,
    Region,
    Set,
    Value,
)


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
    regions = _combined(items, both, either)
    if regions is not None:
        return regions
    first = items[0]
    if isinstance(first, Named) and not any(isinstance(item, Named) for item in items[1:]):
        function = isinstance(first.name, Op) and first.name.name == "call"
        if not function:
            return Named(first.name, Listing((first.value, *items[1:]), either))
    names = {item.name for item in items if isinstance(item, Named)}
    if len(names) == 1 and all(isinstance(item, Named) for item in items):
        values = flat(tuple(item.value for item in items if isinstance(item, Named)))
        return Named(names.pop(), Listing(values, either))
    return Listing(tuple(items), either)


def _is_record(value: Listing) -> bool:
    return all(isinstance(item, Named) for item in value.items)


def _with_exceptions(items: list[Value]) -> list[Value]:
    """``x \\ne 0, 1``: the numbers after an inequality are left out too."""
    first = items[0]
    if isinstance(first, Region) and first.name and len(first.pieces) == 2 and all(
        isinstance(item, Number) for item in items[1:]
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
