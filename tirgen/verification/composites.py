"""Lists, sets, intervals, matrices, cases, ratios and choices against each other."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from tirgen.verification import ranges
from tirgen.verification.finishing import finished
from tirgen.verification.matching import Outcome, outcome
from tirgen.verification.naming import agree
from tirgen.verification.relations import Relations
from tirgen.verification.values import (
    KINDS,
    Cases,
    Choice,
    Expression,
    Listing,
    Named,
    Node,
    Number,
    Op,
    Quantity,
    Region,
    Set,
    Sym,
    Text,
    Tuple,
    Value,
)


class Composites(Relations):
    """Compares values of several parts."""

    def _regions(self, gold: Region, answer: Region) -> Outcome:
        if gold.name and answer.name and gold.name.lower() != answer.name.lower():
            return outcome(False, "name", "another variable is bounded than was asked")
        if len(gold.pieces) != len(answer.pieces):
            return outcome(False, "interval", "another number of intervals")
        pairs: list[tuple[Value, Value]] = []
        for first, second in zip(gold.pieces, answer.pieces, strict=True):
            if (first.has_low, first.has_high) != (second.has_low, second.has_high):
                return outcome(False, "interval", "an end point belongs to one of them only")
            pairs += [
                (end_point(first.low), end_point(second.low)),
                (end_point(first.high), end_point(second.high)),
            ]
        return self._every(pairs, "interval")

    def _lists(self, gold: Listing, answer: Listing) -> Outcome:
        asked, given = are_named(gold.items), are_named(answer.items)
        if asked and given:
            return self._by_names(gold.items, answer.items)
        if asked:
            return self._in_order([value_of(item) for item in gold.items], answer.items, "list")
        items = [value_of(item) if isinstance(item, Named) else item for item in answer.items]
        if all(isinstance(item, Quantity) for item in (*gold.items, *items)):
            return self._labelled(gold.items, items)
        if any(isinstance(item, Tuple) for item in gold.items):
            items = [
                Tuple(by_name(item.items)) if isinstance(item, Listing) else item for item in items
            ]
        return self._any_order(gold.items, items, "list")

    def _by_names(self, gold: Sequence[Value], answer: Sequence[Value]) -> Outcome:
        if len(gold) != len(answer):
            return outcome(False, "list", f"{len(answer)} answers where {len(gold)} are asked")
        left = list(answer)
        for item in gold:
            assert isinstance(item, Named)
            found = next(
                (o for o in left if isinstance(o, Named) and agree(item.name, o.name)), None
            )
            if found is None:
                return outcome(False, "name", "other things are named than were asked")
            left.remove(found)
            result = self._both_named(item, found)
            if not result.same:
                return result
        return outcome(True, "list")

    def _labelled(self, gold: Sequence[Value], answer: Sequence[Value]) -> Outcome:
        """Amounts of things: by what is counted where both name the same, else in order."""
        units = [
            [item.unit.dimensions for item in side if isinstance(item, Quantity)]
            for side in (gold, answer)
        ]
        if sorted(units[0]) == sorted(units[1]) and len(set(units[0])) == len(units[0]):
            order = [units[1].index(unit) for unit in units[0]] if len(gold) == len(answer) else []
            return self._in_order(gold, [answer[k] for k in order], "list")
        if len(set(units[0])) == 1:
            return self._any_order(gold, answer, "list")
        return self._in_order(gold, answer, "list")

    def _distinct(self, items: Sequence[Value]) -> list[Value]:
        return list(dict.fromkeys(items))

    def _matrices(
        self, gold: Sequence[Sequence[Value]], answer: Sequence[Sequence[Value]]
    ) -> Outcome:
        if (len(gold), len(gold[0])) != (len(answer), len(answer[0])):
            return outcome(False, "matrix", "another size")
        cells = [list(zip(a, b, strict=True)) for a, b in zip(gold, answer, strict=True)]
        return self._every([cell for row in cells for cell in row], "matrix")

    def _cases(self, gold: Cases, answer: Cases) -> Outcome:
        pairs = [[Tuple(row) for row in side.rows] for side in (gold, answer)]
        return self._any_order(pairs[0], pairs[1], "cases")

    def _ratios(self, gold: tuple[Value, ...], answer: tuple[Value, ...]) -> Outcome:
        if Number(Fraction(0)) in (*gold, *answer):
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


def are_named(items: Sequence[Value]) -> bool:
    return bool(items) and all(isinstance(item, Named) for item in items)


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
    return end_point(Op("mul", (first, second)))


def end_point(node: Node) -> Value:
    return finished(Expression(node))


class Choices(Composites):
    """Compares choices."""

    def _choice(self, gold: Choice, answer: Value) -> Outcome:
        if isinstance(answer, Named):
            return self._choice(gold, answer.value)
        if isinstance(answer, Choice):
            amounts = (Number, Expression)
            both = isinstance(gold.text, amounts) and isinstance(answer.text, amounts)
            if gold.text and answer.text and both and gold.letters == answer.letters:
                return self.same(gold.text, answer.text)
            return outcome(gold.letters == answer.letters, "choice", "other letters")
        if _letters(answer) == gold.letters:
            return outcome(True, "choice")
        return different(gold, answer) if gold.text is None else self.same(gold.text, answer)

    def _against_choice(self, gold: Value, answer: Choice) -> Outcome | None:
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
        case Set(items) | Listing(items) | Tuple(items):
            letters = [_letters(item) for item in items]
            known = frozenset(letter for one in letters for letter in one or ())
            return known if None not in letters and len(known) == len(letters) else None
    return None


def different(gold: Value, answer: Value) -> Outcome:
    return outcome(False, "type", f"a {KINDS[type(answer)]} where a {KINDS[type(gold)]} is asked")
