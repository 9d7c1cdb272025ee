"""Lists, sets, intervals, matrices, cases, ratios and choices against each other."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

from tirgen.verification import ranges
from tirgen.verification.finishing import folded
from tirgen.verification.matching import MatchResult, outcome
from tirgen.verification.naming import agree
from tirgen.verification.relations import Relations
from tirgen.verification.units import UnitError, conflict, unit_of
from tirgen.verification.values import (
    Bracket,
    Cases,
    Choice,
    Expression,
    Listing,
    Named,
    Node,
    Num,
    Op,
    Quantity,
    Region,
    Set,
    Several,
    Sym,
    Text,
    Tuple,
    Unit,
    Value,
    kind,
)


class Composites(Relations):
    """Compares values of several parts."""

    def _regions(self, gold: Region, answer: Region) -> MatchResult:
        if gold.name and answer.name and gold.name.lower() != answer.name.lower():
            return outcome(False, "name", "another variable is bounded than was asked")
        if len(gold.pieces) != len(answer.pieces):
            return outcome(False, "interval", "another number of intervals")
        pairs: list[tuple[Value, Value]] = []
        for first, second in zip(gold.pieces, answer.pieces, strict=True):
            if (first.has_low, first.has_high) != (second.has_low, second.has_high):
                return outcome(False, "interval", "an end point belongs to one of them only")
            pairs += [
                (folded(first.low), folded(second.low)),
                (folded(first.high), folded(second.high)),
            ]
        return self._every(pairs, "interval")

    def _several(self, gold: Several, answer: Several) -> MatchResult | None:
        """In the gold's order, if its brackets give one; None if the answer's say another thing."""
        match gold, answer:
            case Listing(), Listing():
                return self._lists(gold, answer)
            case Listing(items), _:
                return self._unbracketed(items, answer)
            case Set(), Tuple():
                return None
            case Set(), Bracket() if ranges.is_interval(answer):
                return outcome(False, "set", "a closed interval where a set is asked")
            case Set(), _:
                asked, given = (list(dict.fromkeys(one.items)) for one in (gold, answer))
                return self._any_order(asked, given, "set")
            case (Tuple((_, _)), Bracket()) | (_, Set()):
                return None
            case Bracket((_, _)), (Tuple() | Listing()):
                return None
        return self._in_order(gold.items, by_name(answer.items), kind(gold))

    def _unbracketed(self, gold: Sequence[Value], answer: Several) -> MatchResult:
        """A list against one in brackets."""
        names = names_in(gold)
        ordered = names is not None or isinstance(answer, Tuple)
        if isinstance(answer, Set) and are_numbered(names or ()):
            ordered = False
        values = list(map(value_of, gold)) if names else list(gold)
        if ordered:
            return self._in_order(values, answer.items, "list")
        return self._any_order(values, answer.items, "list")

    def _lists(self, gold: Listing, answer: Listing) -> MatchResult:
        """Compare by name if both sides have names; in order if only the gold has them."""
        asked, given = names_in(gold.items), names_in(answer.items)
        if asked and given and _measured(asked) == _measured(given):
            return self._by_names(asked, gold.items, given, answer.items)
        items = list(map(value_of, answer.items))
        if asked:
            return self._in_order(list(map(value_of, gold.items)), items, "list")
        if any(isinstance(item, Tuple) for item in gold.items):
            items = [
                Tuple(by_name(item.items)) if isinstance(item, Listing) else item for item in items
            ]
        return self._any_order(gold.items, items, "list")

    def _by_names(
        self,
        asked: Sequence[Name],
        gold: Sequence[Value],
        given: Sequence[Name],
        answer: Sequence[Value],
    ) -> MatchResult:
        if len(gold) != len(answer):
            return outcome(False, "list", f"{len(answer)} answers where {len(gold)} are asked")
        left = list(zip(given, answer, strict=True))
        for name, item in zip(asked, gold, strict=True):
            found = next((one for one in left if one[0] == name), None) or next(
                (one for one in left if _alike(name, one[0])), None
            )
            if found is None:
                return outcome(False, "name", "other things are named than were asked")
            left.remove(found)
            result = self.same(item, found[1])
            if not result.same:
                return result
        return outcome(True, "list")

    def _matrices(
        self, gold: Sequence[Sequence[Value]], answer: Sequence[Sequence[Value]]
    ) -> MatchResult:
        if (len(gold), len(gold[0])) != (len(answer), len(answer[0])):
            return outcome(False, "matrix", "another size")
        cells = [list(zip(a, b, strict=True)) for a, b in zip(gold, answer, strict=True)]
        return self._every([cell for row in cells for cell in row], "matrix")

    def _cases(self, gold: Cases, answer: Cases) -> MatchResult:
        pairs = [[Tuple(row) for row in side.rows] for side in (gold, answer)]
        return self._any_order(pairs[0], pairs[1], "cases")

    def _ratios(self, gold: tuple[Value, ...], answer: tuple[Value, ...]) -> MatchResult:
        if Expression(Num(Fraction(0))) in (*gold, *answer):
            return self._every(list(zip(gold, answer, strict=True)), "ratio")
        nodes = [[ranges.node(part) for part in side] for side in (gold, answer)]
        asked = [node for node in nodes[0] if node is not None]
        given = [node for node in nodes[1] if node is not None]
        if len(asked) + len(given) < 2 * len(gold):
            return self._every(list(zip(gold, answer, strict=True)), "ratio")
        pairs: list[tuple[Value, Value]] = []
        for a, b in zip(asked[1:], given[1:], strict=True):
            pairs.append((_product(a, given[0]), _product(b, asked[0])))
        return self._every(pairs, "ratio")


def line(rows: Sequence[Sequence[Value]]) -> list[Value] | None:
    """The cells of a single row or column."""
    alone = 1 in (len(rows), len(rows[0]))
    return [cell for row in rows for cell in row] if alone else None


def are_named(items: Sequence[Value]) -> bool:
    return bool(items) and all(isinstance(item, Named) for item in items)


Name: TypeAlias = "Node | str | Unit"


def names_in(items: Sequence[Value]) -> list[Name] | None:
    """What each of several answers is the value of, or what it counts; None unless all differ."""
    if are_named(items):
        return [item.name for item in items if isinstance(item, Named)]
    units = [item.unit for item in items if isinstance(item, Quantity)]
    apart = len({unit.dimensions for unit in units}) == len(items)
    return list(units) if apart else None


def are_numbered(names: Sequence[Name]) -> bool:
    """``x_1`` and ``x_2``: roots, which a set does not tell apart."""
    stems = {str(getattr(name, "name", "")).partition("_")[0] for name in names}
    return len(stems) == 1 and all(isinstance(name, Sym) and "_" in name.name for name in names)


def _measured(names: Sequence[Name]) -> bool:
    return any(isinstance(name, Unit) and name.measured for name in names)


def _alike(gold: Name, answer: Name) -> bool:
    """Whether two names may be of the same thing; a label may be what is counted."""
    if not isinstance(gold, Unit) and not isinstance(answer, Unit):
        return agree(gold, answer)
    try:
        first, second = (
            name if isinstance(name, Unit) else unit_of(str(name)) for name in (gold, answer)
        )
    except UnitError:
        return False
    return first.dimensions == second.dimensions or not conflict(first, second)


def value_of(item: Value) -> Value:
    return item.value if isinstance(item, Named) else item


def by_name(items: tuple[Value, ...]) -> tuple[Value, ...]:
    """The values of ``y = 1, x = 2`` in the order of their names, where that is the alphabet's."""
    names = [
        item.name.name for item in items if isinstance(item, Named) and isinstance(item.name, Sym)
    ]
    if len(names) == len(items) and (set(names) <= set("xyz") or set(names) <= set("abcd")):
        items = tuple(
            sorted(items, key=lambda item: str(getattr(getattr(item, "name", ""), "name", "")))
        )
    return tuple(map(value_of, items))


def _product(first: Node, second: Node) -> Value:
    return folded(Op("mul", (first, second)))


class Choices(Composites):
    """Compares choices."""

    def _choice(self, gold: Choice, answer: Value) -> MatchResult:
        if isinstance(answer, Named):
            return self._choice(gold, answer.value)
        if isinstance(answer, Choice):
            both = isinstance(gold.text, Expression) and isinstance(answer.text, Expression)
            if gold.text and answer.text and both and gold.letters == answer.letters:
                return self.same(gold.text, answer.text)
            return outcome(gold.letters == answer.letters, "choice", "other letters")
        if _letters(answer) == gold.letters:
            return outcome(True, "choice")
        return different(gold, answer) if gold.text is None else self.same(gold.text, answer)

    def _against_choice(self, gold: Value, answer: Choice) -> MatchResult | None:
        if answer.text is not None:
            return self.same(gold, answer.text)
        letters = _letters(gold)
        if letters is None:
            return None
        return outcome(letters == answer.letters, "choice", "other letters")


def _letters(value: Value) -> frozenset[str] | None:
    """The letters that a value lists, as those of a choice: ``AC``, ``{A, C}``, ``a``."""
    match value:
        case Expression(Sym(name)) | Text(name) if len(name) == 1:
            return frozenset(name.upper())
        case Expression(Op("mul", args)) if all(isinstance(one, Sym) for one in args):
            return _letters(Set(tuple(map(Expression, args))))
        case Several(items):
            letters = [_letters(item) for item in items]
            known = frozenset(letter for one in letters for letter in one or ())
            return known if None not in letters and len(known) == len(letters) else None
    return None


def different(gold: Value, answer: Value) -> MatchResult:
    given, asked = (
        f"{'an' if name[0] in 'aeiou' else 'a'} {name}" for name in (kind(answer), kind(gold))
    )
    return outcome(False, "type", f"{given} where {asked} is asked")
