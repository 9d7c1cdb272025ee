"""Is one value the same as another? One rule for each pair of types that may be equal.

Anything else is unequal, with a reason that names the two types. The gold value comes first:
precision, names and units follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from tirgen.verification import ranges
from tirgen.verification.naming import NAMING, agree, function_of, namings
from tirgen.verification.outcomes import Leaf, Outcome, outcome, undecided
from tirgen.verification.scalars import (
    components,
    node_of,
    quotient,
    ratio_of,
    same_amount,
    same_clock,
    same_date,
    same_quantity,
    same_residues,
    unitless,
    with_unit,
)
from tirgen.verification.units import UnitError, unit_of
from tirgen.verification.values import (
    KINDS,
    Based,
    Bracket,
    Cases,
    Choice,
    Clock,
    Date,
    Expression,
    Interval,
    Listing,
    Matrix,
    Named,
    Node,
    Num,
    Number,
    Op,
    Opaque,
    Quantity,
    Ratio,
    Region,
    Relation,
    Residues,
    Set,
    Sym,
    Text,
    Tuple,
    Value,
    renamed,
    symbols,
)

_SAME = Callable[[Value, Value], Outcome]


class Comparison:
    """Compares values with one leaf for expressions."""

    def __init__(self, leaf: Leaf) -> None:
        self._leaf = leaf

    def whole(self, gold: Value, answer: Value) -> Outcome:
        """Two whole answers: a single value may stand in brackets, or be said twice."""
        match gold, answer:
            case ((Number() | Expression()), (Set((item,)) | Tuple((item,)))):
                return self.same(gold, item)
            case Named(_, value), (Set((item,)) | Named(_, Set((item,)))):
                return self.same(value, item)
            case Set((item,)), Named(_, value):
                return self.same(item, value)
            case _, Bracket((item,)) if not isinstance(gold, Bracket):
                return self.whole(gold, item)
            case ((Bracket((item,)) | Set((item,))), (Number() | Expression())):
                return self.same(item, answer)
            case ((Number() | Expression() | Quantity()), Listing(items, either=True)):
                return self._every([(gold, item) for item in items], "list")
        return self.same(gold, answer)

    def same(self, gold: Value, answer: Value) -> Outcome:
        if gold == answer:
            return outcome(True, KINDS[type(gold)])
        return (
            self._unwrapped(gold, answer) or self._alike(gold, answer) or _different(gold, answer)
        )

    # -- what stands around a value

    def _unwrapped(self, gold: Value, answer: Value) -> Outcome | None:  # noqa: C901
        """Values behind names, choices and single brackets."""
        match gold, answer:
            case Choice(), _:
                return self._choice(gold, answer)
            case _, Choice(letters, text):
                return self._against_choice(gold, letters, text)
            case Named(), Named():
                return self._both_named(gold, answer)
            case Named(name, value), Relation(_, signs) if set(signs) == {"="}:
                is_value = isinstance(name, Sym | str) or function_of(name)
                if is_value and self._is_chain(answer) and not _variables(value):
                    return self._chain(value, answer)
                return self._curves(Relation((_side(name), value), ("=",)), answer)
            case Relation(), Named(name, value):
                if set(gold.signs) != {"="}:
                    return self._sorted_out(gold, value)
                return self._curves(gold, Relation((_side(name), value), ("=",)))
            case Listing(items), Named(Sym(name), Listing() as values) if _records(items) and all(
                isinstance(i, Named)
                and isinstance(i.name, Sym)
                and i.name.name.startswith(f"{name}_")
                for i in items
            ):
                return self._any_order([_value(item) for item in items], values.items, "list")
            case Named(name, value), _:
                return self._value_of_name(name, value, answer)
            case Listing(items), Named() if _records(items):
                return None
            case _, Named(name, value):
                if isinstance(name, Sym) and name.name in _own(gold):
                    return None
                return self.same(gold, value)
            case ((Number() | Expression() | Quantity()), Relation(_, signs)) if set(signs) == {
                "="
            }:
                return self._chain(gold, answer)
            case Relation((exact, rounded), ("approx",)), _:
                first = self.same(exact, answer)
                return (
                    first if first.same or not _is_decimal(answer) else self.same(rounded, answer)
                )
            case _, Relation((exact, _), ("approx",)):
                return self.same(gold, exact)
            case Number(), Listing((Number(Fraction(numerator=0)), _), decimal=Number() as number):
                return self.same(gold, number)
            case Listing(decimal=Number() as number), (Number() | Expression() | Quantity()):
                return self.same(number, answer)
        return None

    def _both_named(self, gold: Named, answer: Named) -> Outcome:
        if not agree(gold.name, answer.name):
            if _variables(gold.value) and _variables(answer.value) and not (
                function_of(gold.name) or function_of(answer.name) or isinstance(gold.name, str)
                or isinstance(answer.name, str)
            ):  # fmt: skip
                first = Relation((_side(gold.name), gold.value), ("=",))
                return self._curves(first, Relation((_side(answer.name), answer.value), ("=",)))
            return outcome(False, "name", "another thing is named than was asked")
        asked, given = function_of(gold.name), function_of(answer.name)
        value = answer.value
        if asked and given:
            value = _rename(value, dict(zip(given[1], asked[1], strict=True)))
        return self._named_values(gold.value, value)

    def _named_values(self, gold: Value, answer: Value) -> Outcome:
        if isinstance(gold, Relation) and set(gold.signs) == {"="}:
            gold = gold.sides[0]
        if isinstance(answer, Relation) and set(answer.signs) == {"="}:
            return self._chain(gold, answer)
        if isinstance(gold, Expression) and isinstance(answer, Expression):
            return self._expressions(gold, answer, named=True)
        return self.same(gold, answer)

    def _value_of_name(self, name: Node | str, value: Value, answer: Value) -> Outcome:
        function = function_of(name)
        if function and isinstance(answer, Expression):
            own = symbols(answer.node)
            if len(own) == len(function[1]) == 1:
                answer = Expression(renamed(answer.node, {own.pop(): function[1][0]}))
        bounded = isinstance(answer, Region) and answer.name
        if bounded and isinstance(name, Sym) and not agree(name, Sym(bounded)):
            return outcome(False, "name", "another variable is bounded than was asked")
        return self._named_values(value, answer)

    def _chain(self, gold: Value, answer: Value) -> Outcome:
        """``AB = BC = 6``, ``2x + 3y = 7``, ``2 + 3 = 5``: every value of it must be the gold's.

        ``7x = 7`` is an equation in one variable and says 1.
        """
        assert isinstance(answer, Relation)
        own = _variables(gold)
        sides = list(answer.sides)
        if not own and any(map(_is_multiple_of_name, sides[1:])):
            return outcome(False, "relation", "two statements side by side")
        constant = [side for side in sides if not _variables(side)]
        if not own and constant and len(constant) < len(sides):
            names = {name for side in sides for name in _variables(side)}
            if len(names) < 2 and not all(_is_named_value(s) for s in sides if _variables(s)):
                return outcome(False, "relation", "an equation where a value is asked")
            sides = constant
        elif own and {frozenset(_variables(side)) for side in sides} != {frozenset(own)}:
            sides = sides[1:] if len(sides) > 2 else sides
            if (
                len(sides) == 2
                and frozenset(_variables(sides[1])) == frozenset(own)
                and (not _variables(sides[0]) & own)
            ):
                sides = sides[1:]
        return self._every([(gold, side) for side in sides], "relation")

    def _is_chain(self, answer: Relation) -> bool:
        return any(not _variables(side) for side in answer.sides)

    # -- values of comparable types

    def _alike(self, gold: Value, answer: Value) -> Outcome | None:  # noqa: C901  a table
        match gold, answer:
            case ((Number() | Expression()), (Number() | Expression())):
                return self._expressions(gold, answer)
            case Quantity(), Quantity():
                return same_quantity(gold, answer, self._leaf)
            case Quantity(), (Number() | Expression()):
                return self._bare_amount(gold, answer)
            case ((Number() | Expression()), Quantity()):
                return self._expressions(gold, unitless(answer, gold))
            case (Opaque(), _) | (_, Opaque()):
                return self._unread(gold, answer)
            case Relation(), Relation():
                return self._relations(gold, answer)
            case Text(first), Text(second):
                return outcome(_joined(first) == _joined(second), "text", "other words")
            case Clock(), Clock():
                return same_clock(gold, answer)
            case Date(), Date():
                return same_date(gold, answer)
            case Residues(), Residues():
                return same_residues(gold, answer)
            case Based(), Based():
                same = int(gold.digits, gold.base) == int(answer.digits, answer.base)
                return outcome(same, "base", "other digits or another base")
            case Cases(), Cases():
                return self._cases(gold, answer)
        return self._mixed(gold, answer) or self._composites(gold, answer)

    def _mixed(self, gold: Value, answer: Value) -> Outcome | None:  # noqa: C901  a table
        """Types that may say the same in two ways."""
        match gold, answer:
            case Based(digits), Number(value):
                return outcome(str(value) == digits.lstrip("0"), "base", "other digits")
            case Number(value), Based(digits, 10):
                return outcome(str(value) == digits.lstrip("0"), "base", "other digits")
            case Number(value), Residues(values, modulus, False) if 0 <= value < modulus:
                return outcome({value} == set(values), "congruence", "another residue")
            case Residues(values, named=False), Number(value):
                return outcome({value} == set(values), "congruence", "another residue")
            case Residues(), Named(_, Expression(node)) | Expression(node):
                return self._progression(gold, node)
            case Ratio(), Clock(half_known=False, fields=2):
                return self.same(gold, ratio_of(answer))
            case Ratio(first), Ratio(second) if len(first) == len(second):
                return self._ratios(first, second)
            case Ratio(), (Number() | Expression()) if (divided := quotient(gold)) is not None:
                return self.same(divided, answer)
            case ((Number() | Expression()), Ratio()) if (divided := quotient(answer)) is not None:
                return self.same(gold, divided)
            case Clock(fields=2, half_known=False), Number(value, None) if value.denominator > 1:
                ratio = quotient(ratio_of(gold))
                return outcome(ratio == Number(value), "ratio", "another ratio")
            case Number(), Clock(half_known=False, fields=2) if gold.value.denominator > 1:
                ratio = quotient(ratio_of(answer))
                return None if ratio is None else self.same(gold, ratio)
            case ((Tuple() | Matrix()), Expression(node)) if axes := components(node):
                return self.same(gold, Tuple(tuple(map(_end, axes))))
            case Expression(node), (Tuple() | Matrix()) if axes := components(node):
                return self.same(Tuple(tuple(map(_end, axes))), answer)
            case Text(words), Expression(node):
                return outcome(_joined(words) == _letters(node), "text", "other words")
            case Expression(node), Text(words):
                return outcome(_joined(words) == _letters(node), "text", "other words")
            case Number(value), Based(digits, base):
                return outcome(int(digits, base) == value, "base", "another value")
            case Relation(), _:
                return self._sorted_out(gold, answer)
            case _, Relation():
                return self._sorted_into(gold, answer)
        return None

    def _composites(self, gold: Value, answer: Value) -> Outcome | None:  # noqa: C901
        match gold, answer:
            case Region(), _ if (region := ranges.region_of(answer)) is not None:
                return self._regions(gold, region)
            case ((Tuple() | Bracket() | Set()), Region()) if region := ranges.region_of(gold):
                return self._regions(region, answer)
            case Listing(), Listing():
                return self._lists(gold, answer)
            case Number(groups=groups), Listing() if groups:
                return self._any_order([Number(g) for g in groups], answer.items, "list")
            case Tuple(items), (Tuple(others) | Listing(others)):
                return self._in_order(items, _by_name(others), "tuple")
            case Tuple(items), Bracket(others) if len(items) > 2:
                return self._in_order(items, others, "tuple")
            case Bracket(items), (Bracket(others) | Tuple(others) | Listing(others)):
                if len(items) == 2 and not isinstance(answer, Bracket):
                    return None
                return self._in_order(items, others, "bracketed list")
            case Listing(items), (Tuple(others) | Bracket(others) | Set(others)):
                if _records(items):
                    return self._in_order([_value(item) for item in items], others, "list")
                return self._any_order(items, others, "list")
            case Set(), Bracket((_, _)):
                return outcome(False, "set", "a closed interval where a set is asked")
            case Set(items), (Set(others) | Listing(others) | Bracket(others)):
                return self._any_order(self._distinct(items), self._distinct(others), "set")
            case Matrix(rows), Matrix(others):
                return self._matrices(rows, others)
            case Matrix(rows), (Tuple(others) | Bracket(others)) if 1 in (len(rows), len(rows[0])):
                return self._in_order([cell for row in rows for cell in row], others, "matrix")
            case ((Tuple(items) | Bracket(items)), Matrix(rows)) if 1 in (len(rows), len(rows[0])):
                return self._in_order(items, [cell for row in rows for cell in row], "tuple")
        return None

    def _expressions(
        self, gold: Number | Expression, answer: Number | Expression, *, named: bool = False
    ) -> Outcome:
        first, second = node_of(gold), node_of(answer)
        if symbols(first) == symbols(second):
            return same_amount(gold, answer, self._leaf)
        result = outcome(False, "name", "other variables than were asked")
        for candidate in namings(first, second, named=named):
            result = same_amount(gold, Expression(candidate), self._leaf)
            if result.same:
                break
        return result

    def _bare_amount(self, gold: Quantity, answer: Number | Expression) -> Outcome:
        if isinstance(answer, Expression) and (read := with_unit(gold, answer)) is not None:
            return same_quantity(gold, read, self._leaf)
        if isinstance(answer, Number) and answer.percent:
            return outcome(False, "unit", "percent where another unit is asked")
        amount = unitless(gold, answer)
        return self._expressions(amount, answer)

    def _unread(self, gold: Value, answer: Value) -> Outcome | None:
        if isinstance(gold, Opaque) and not gold.readable:
            return undecided("it is no mathematics that can be read")
        if isinstance(answer, Opaque) and not answer.readable:
            return outcome(False, "unread", "no mathematics that can be read")
        readable = (Number, Expression, Opaque, Quantity, Relation)
        if isinstance(gold, readable) and isinstance(answer, readable):
            return self._leaf(gold, answer)
        if isinstance(gold, Opaque):
            return self._leaf(gold, answer)
        return None

    # -- relations

    def _relations(self, gold: Relation, answer: Relation) -> Outcome | None:
        if set(gold.signs) == set(answer.signs) == {"="}:
            return self._curves(gold, answer)
        flipped = _turned(answer)
        for candidate in (answer, flipped):
            if candidate.signs == gold.signs and len(candidate.sides) == len(gold.sides):
                result = self._every(
                    list(zip(gold.sides, candidate.sides, strict=True)), "relation"
                )
                if result.same:
                    return result
        return outcome(False, "relation", "another relation")

    def _curves(self, gold: Relation, answer: Relation) -> Outcome:
        if len(gold.sides) != 2 or len(answer.sides) != 2:
            if len(gold.sides) == len(answer.sides):
                return self._every(list(zip(gold.sides, answer.sides, strict=True)), "relation")
            return outcome(False, "relation", "another number of sides")
        first, second = _difference(gold), _difference(answer)
        if first is None or second is None:
            return self._every(list(zip(gold.sides, answer.sides, strict=True)), "relation")
        result = outcome(False, "name", "other variables than were asked")
        for candidate in namings(first, second, named=True):
            zero = Number(Fraction(0))
            found = self._leaf(
                Relation((Expression(first), zero), ("=",)),
                Relation((Expression(candidate), zero), ("=",)),
            )
            if found.same:
                return found
            result = found
        return result

    def _sorted_out(self, gold: Relation, answer: Value) -> Outcome | None:
        """``b < a < c`` as a list in that order; ``y + 1 = x`` as what y is.

        A list in the order of the alphabet only lists the names.
        """
        items = _ascending(gold)
        names = [_letters(item.node) for item in items or () if isinstance(item, Expression)]
        if items and names != sorted(names) and isinstance(answer, Listing | Tuple):
            return self._in_order(items, answer.items, "order")
        first = _difference(gold) if set(gold.signs) == {"="} else None
        if first is None or not isinstance(answer, Expression):
            return None
        missing = symbols(first) - symbols(answer.node)
        if len(missing) != 1 or not symbols(answer.node):
            return None
        name = Sym(missing.pop())
        return self._curves(gold, Relation((Expression(name), answer), ("=",)))

    def _sorted_into(self, gold: Value, answer: Relation) -> Outcome | None:
        items = _ascending(answer)
        if items and isinstance(gold, Listing | Tuple):
            return self._in_order(gold.items, items, "order")
        return None

    # -- composites

    def _regions(self, gold: Region, answer: Region) -> Outcome:
        if gold.name and answer.name and gold.name.lower() != answer.name.lower():
            return outcome(False, "name", "another variable is bounded than was asked")
        if len(gold.pieces) != len(answer.pieces):
            return outcome(False, "interval", "another number of intervals")
        pairs: list[tuple[Value, Value]] = []
        for first, second in zip(gold.pieces, answer.pieces, strict=True):
            if (first.has_low, first.has_high) != (second.has_low, second.has_high):
                return outcome(False, "interval", "an end point belongs to one of them only")
            pairs += [(_end(first.low), _end(second.low)), (_end(first.high), _end(second.high))]
        return self._every(pairs, "interval")

    def _lists(self, gold: Listing, answer: Listing) -> Outcome:
        asked, given = _records(gold.items), _records(answer.items)
        if asked and given:
            return self._by_names(gold.items, answer.items)
        if asked:
            return self._in_order([_value(item) for item in gold.items], answer.items, "list")
        items = [_value(item) if isinstance(item, Named) else item for item in answer.items]
        if all(isinstance(item, Quantity) for item in (*gold.items, *items)):
            return self._labelled(gold.items, items)
        if any(isinstance(item, Tuple) for item in gold.items):
            items = [
                Tuple(_by_name(item.items)) if isinstance(item, Listing) else item for item in items
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

    def _in_order(self, gold: Sequence[Value], answer: Sequence[Value], rule: str) -> Outcome:
        if len(gold) != len(answer):
            return outcome(False, rule, f"{len(answer)} parts where {len(gold)} are asked")
        return self._every(list(zip(gold, answer, strict=True)), rule)

    def _any_order(self, gold: Sequence[Value], answer: Sequence[Value], rule: str) -> Outcome:
        if len(gold) != len(answer):
            return outcome(False, rule, f"{len(answer)} parts where {len(gold)} are asked")
        left = list(answer)
        unsure: Outcome | None = None
        for item in gold:
            for candidate in left:
                result = self.same(item, candidate)
                if result.same:
                    left.remove(candidate)
                    break
                unsure = unsure or (None if result.decided else result)
            else:
                return unsure or outcome(False, rule, "a part is missing")
        return outcome(True, rule)

    def _distinct(self, items: Sequence[Value]) -> list[Value]:
        return list(dict.fromkeys(items))

    def _every(self, pairs: Sequence[tuple[Value, Value]], rule: str) -> Outcome:
        for gold, answer in pairs:
            result = self.same(gold, answer)
            if not result.same:
                return result
        return outcome(bool(pairs), rule)

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

    # -- choices

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
        return _different(gold, answer)

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

    def _progression(self, gold: Residues, node: Node) -> Outcome:
        """``7k + 3`` as its residues."""
        from tirgen.verification.arithmetic import rational

        names = symbols(node)
        if len(names) != 1:
            return outcome(False, "congruence", "no progression")
        name = names.pop()
        values = [rational(_substituted(node, name, k)) for k in range(3)]
        start, following, last = values
        if (
            start is None
            or following is None
            or last is None
            or last - following != following - start
        ):
            return outcome(False, "congruence", "no progression")
        step = abs(following - start)
        if step.denominator != 1 or start.denominator != 1 or not 1 < step < 10**5:
            return outcome(False, "congruence", "no progression")
        return same_residues(gold, Residues(frozenset({int(start % step)}), int(step), True))


def _different(gold: Value, answer: Value) -> Outcome:
    return outcome(False, "type", f"a {KINDS[type(answer)]} where a {KINDS[type(gold)]} is asked")


def _substituted(node: Node, name: str, value: int) -> Node:
    match node:
        case Sym(own) if own == name:
            return Num(Fraction(value))
        case Op(operation, args):
            return Op(operation, tuple(_substituted(arg, name, value) for arg in args))
    return node


def _rename(value: Value, names: dict[str, str]) -> Value:
    match value:
        case Expression(node, percent):
            return Expression(renamed(node, names), percent)
        case Relation(sides, signs):
            return Relation(tuple(_rename(side, names) for side in sides), signs)
        case Region(pieces, name):
            return Region(pieces, names.get(name, name) if name else None)
        case Cases(rows):
            return Cases(tuple((_rename(a, names), _rename(b, names)) for a, b in rows))
    return value


def _records(items: Sequence[Value]) -> bool:
    return bool(items) and all(isinstance(item, Named) for item in items)


def _value(item: Value) -> Value:
    return item.value if isinstance(item, Named) else item


def _by_name(items: tuple[Value, ...]) -> tuple[Value, ...]:
    """The values of ``y = 1, x = 2`` in the order of their names, where that is the alphabet's."""
    names = [
        item.name.name for item in items if isinstance(item, Named) and isinstance(item.name, Sym)
    ]
    if len(names) == len(items) and (set(names) <= set("xyz") or set(names) <= set("abcd")):
        items = tuple(
            sorted(items, key=lambda item: str(getattr(getattr(item, "name", ""), "name", "")))
        )
    return tuple(map(_value, items))


def _variables(value: Value) -> set[str]:
    match value:
        case Expression(node):
            return symbols(node)
        case Quantity(Expression(node), _):
            return symbols(node)
        case Relation(sides, _):
            return {name for side in sides for name in _variables(side)}
        case Opaque() | Text():
            return {"?"}
    return set()


def _own(value: Value) -> set[str]:
    return _variables(value)


def _is_multiple_of_name(value: Value) -> bool:
    """``6 BC``, which in ``AB = 6 BC = 6`` belongs to two statements."""
    match value:
        case Expression(Op("mul", (Num(), *names))):
            return _is_named_value(Expression(Op("mul", tuple(names))))
    return False


def _is_named_value(value: Value) -> bool:
    match value:
        case Expression(Sym()):
            return True
        case Expression(Op(name, _)) if name in NAMING:
            return True
        case Opaque() | Text():
            return True
        case Expression(Op("mul", args)):
            return all(isinstance(a, Sym) and a.name.isupper() for a in args)
        case Expression(Op("add" | "mul" | "div", args)):
            return all(_is_named_value(Expression(arg)) for arg in args)
        case Quantity(amount, _):
            return _is_named_value(amount)
    return False


def _is_decimal(value: Value) -> bool:
    return isinstance(value, Number) and value.unit is not None


def _side(name: Node | str) -> Value:
    return Text(name) if isinstance(name, str) else Expression(name)


def _end(node: Node) -> Value:
    from tirgen.verification.answers import finished

    return finished(Expression(node))


def _difference(relation: Relation) -> Node | None:
    sides = [ranges.node(side) for side in relation.sides]
    if len(sides) != 2 or sides[0] is None or sides[1] is None:
        return None
    return Op("add", (sides[0], Op("neg", (sides[1],))))


def _product(first: Node, second: Node) -> Value:
    return _end(Op("mul", (first, second)))


def _turned(relation: Relation) -> Relation:
    opposite = {"<": ">", ">": "<", "le": "ge", "ge": "le"}
    signs = tuple(opposite.get(sign, sign) for sign in reversed(relation.signs))
    return Relation(tuple(reversed(relation.sides)), signs)


def _ascending(relation: Relation) -> list[Value] | None:
    """The sides of a chain of inequalities between symbols, smallest first."""
    if len(relation.sides) < 3 or not all(isinstance(s, Expression) for s in relation.sides):
        return None
    if set(relation.signs) == {"<"}:
        return list(relation.sides)
    return list(reversed(relation.sides)) if set(relation.signs) == {">"} else None


def _letters(node: Node) -> str:
    """The letters of a product, as a word that was taken for one."""
    factors = node.args if isinstance(node, Op) and node.name == "mul" else (node,)
    return "".join(one.name if isinstance(one, Sym) else "?" for one in factors).casefold()


def _joined(words: str) -> str:
    return words.replace(" ", "")


__all__ = ["Comparison", "Interval", "UnitError", "unit_of"]
