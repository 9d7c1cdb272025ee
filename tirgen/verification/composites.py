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
        match answer:
            case Choice(letters, text):
                if letters != gold.letters:
                    return outcome(False, "choice", "other letters")
                both = isinstance(gold.text, Number | Expression) and isinstance(
                    text, Number | Expression
                )
                return (
                    self.same(gold.text, text)
                    if both and gold.text and text
                    else outcome(True, "choice")
                )
            case Expression(Sym(name)) | Text(name) if {name.upper()} == gold.letters:
                return outcome(True, "choice")
            case Expression(Op("mul", args)) if {
                str(getattr(a, "name", "")) for a in args
            } == gold.letters:
                return outcome(True, "choice")
            case Named(_, value):
                return self._choice(gold, value)
        if gold.text is not None:
            return self.same(gold.text, answer)
        return different(gold, answer)

    def _against_choice(
        self, gold: Value, letters: frozenset[str], text: Value | None
    ) -> Outcome | None:
        match gold:
            case Expression(Sym(name)) if text is None:
                return outcome({name.upper()} == letters, "choice", "another letter")
            case Expression(Op("mul", args)) if text is None:
                names = sorted(str(getattr(a, "name", "")) for a in args)
                return outcome(names == sorted(letters), "expression", "other letters")
            case Listing(items) if text is None:
                names = sorted(str(getattr(getattr(i, "node", None), "name", "")) for i in items)
                return outcome(names == sorted(letters), "choice", "other letters")
            case Text(words) if text is None:
                return outcome({words.upper()} == letters, "text", "other words")
        return None if text is None else self.same(gold, text)


def different(gold: Value, answer: Value) -> Outcome:
    return outcome(False, "type", f"a {KINDS[type(answer)]} where a {KINDS[type(gold)]} is asked")
