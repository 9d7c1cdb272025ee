"""Is one value the same as another? One rule for each pair of types that may be equal.

Anything else is unequal, with a reason that names the two types. The gold value comes first:
precision, names and units follow it.
"""

from __future__ import annotations

import re
from fractions import Fraction

from tirgen.verification import ranges
from tirgen.verification.composites import (
    Choices,
    are_named,
    are_numbered,
    by_name,
    different,
    end_point,
    names_in,
    value_of,
)
from tirgen.verification.matching import Outcome, outcome, undecided
from tirgen.verification.naming import function_of
from tirgen.verification.relations import letters_of, side_named, variables
from tirgen.verification.scalars import (
    components,
    quotient,
    ratio_of,
    same_clock,
    same_date,
    same_quantity,
    same_residues,
    unitless,
    with_unit,
)
from tirgen.verification.units import SECOND
from tirgen.verification.values import (
    KINDS,
    Based,
    Bracket,
    Cases,
    Choice,
    Clock,
    Date,
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
    Ratio,
    Region,
    Relation,
    Residues,
    Set,
    Sym,
    Text,
    Tuple,
    Value,
    symbols,
)


class Comparison(Choices):
    """Compares values with one leaf for expressions."""

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
        return self._unwrapped(gold, answer) or self._alike(gold, answer) or different(gold, answer)

    def _unwrapped(self, gold: Value, answer: Value) -> Outcome | None:  # noqa: C901
        """Values behind names, choices and single brackets."""
        match gold, answer:
            case Choice(), _:
                return self._choice(gold, answer)
            case _, Choice():
                return self._against_choice(gold, answer)
            case Named(), Named():
                return self._both_named(gold, answer)
            case Named(name, value), Relation(_, signs) if set(signs) == {"="}:
                return self._curves(Relation((side_named(name), value), ("=",)), answer)
            case Relation(), Named(name, value):
                if set(gold.signs) != {"="}:
                    return self._sorted_out(gold, value)
                return self._curves(gold, Relation((side_named(name), value), ("=",)))
            case Listing(items), Named(Sym(name), Listing() as values) if are_named(items) and all(
                isinstance(i, Named)
                and isinstance(i.name, Sym)
                and i.name.name.startswith(f"{name}_")
                for i in items
            ):
                return self._any_order([value_of(item) for item in items], values.items, "list")
            case Named(name, value), _:
                return self._value_of_name(name, value, answer)
            case Listing(items), Named() if are_named(items):
                return None
            case _, Named(name, value):
                if isinstance(name, Sym) and name.name in variables(gold):
                    return None
                if isinstance(gold, Number) and function_of(name):
                    return outcome(False, "name", "a function where a number is asked")
                return self.same(gold, value)
            case ((Number() | Expression() | Quantity()), Relation(_, signs)) if set(signs) == {
                "="
            }:
                return self._chain(gold, answer)
            case Relation((exact, rounded), ("approx",)), _:
                first = self.same(exact, answer)
                return first if first.same or not is_decimal(answer) else self.same(rounded, answer)
            case _, Relation((exact, _), ("approx",)):
                return self.same(gold, exact)
            case Number(), Listing((Number(Fraction(numerator=0)), _), decimal=Number() as number):
                return self.same(gold, number)
            case Listing(decimal=Number() as number), (Number() | Expression() | Quantity()):
                return self.same(number, answer)
        return None

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
                first, second = (_POLARITY.get(words, words) for words in (first, second))
                return outcome(_same_words(first, second), "text", "other words")
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
            case Number(value), Residues(values, modulus, False) if 0 <= value < modulus:
                return outcome({value} == set(values), "congruence", "another residue")
            case Residues(values, named=False), Number(value):
                return outcome({value} == set(values), "congruence", "another residue")
            case Residues(), Named(_, Expression(node)) | Expression(node) | Set(
                (Expression(node),)
            ):
                return self._progression(gold, node)
            case Quantity(), Clock(seconds, half_known=False) if (
                gold.unit.dimensions == SECOND.dimensions
            ):
                return self.same(gold, Quantity(Number(Fraction(seconds)), SECOND))
            case Ratio(), Clock(half_known=False, fields=2):
                return self.same(gold, ratio_of(answer))
            case Number(value), Clock(half_known=False, fields=2) if value.denominator > 1:
                return self.same(gold, ratio_of(answer))
            case Ratio(first), Ratio(second) if len(first) == len(second):
                return self._ratios(first, second)
            case Ratio(), (Number() | Expression()) if (divided := quotient(gold)) is not None:
                return self.same(divided, answer)
            case ((Number() | Expression()), Ratio()) if (divided := quotient(answer)) is not None:
                return self.same(gold, divided)
            case ((Tuple() | Matrix()), Expression(node)) if axes := components(node):
                return self.same(gold, Tuple(tuple(map(end_point, axes))))
            case Expression(node), (Tuple() | Matrix()) if axes := components(node):
                return self.same(Tuple(tuple(map(end_point, axes))), answer)
            case Tuple(), Expression(Op("call", (Sym("C"), *coordinates))):
                return self.same(gold, Tuple(tuple(map(end_point, coordinates))))
            case Expression(Op("call", (Sym("C"), *coordinates))), Tuple():
                return self.same(Tuple(tuple(map(end_point, coordinates))), answer)
            case Text(words), Expression(node):
                return outcome(_joined(words) == letters_of(node), "text", "other words")
            case Number(value), Based(digits, base):
                return outcome(int(digits, base) == value, "base", "another value")
            case Relation(), _:
                return self._sorted_out(gold, answer)
        return None

    def _composites(self, gold: Value, answer: Value) -> Outcome | None:  # noqa: C901
        match gold, answer:
            case Region(), _ if (region := ranges.region_of(answer)) is not None:
                return self._regions(gold, region)
            case Region(), Listing(items) if (region := ranges.united(items)) is not None:
                return self._regions(gold, region)
            case ((Tuple() | Bracket() | Set()), Region()) if region := ranges.region_of(gold):
                return self._regions(region, answer)
            case Listing(), Listing():
                return self._lists(gold, answer)
            case Tuple(items), (Tuple(others) | Listing(others)):
                return self._in_order(items, by_name(others), "tuple")
            case Tuple(items), Bracket(others) if len(items) > 2:
                return self._in_order(items, others, "tuple")
            case Bracket(items), (Bracket(others) | Tuple(others) | Listing(others)):
                if len(items) == 2 and not isinstance(answer, Bracket):
                    return None
                return self._in_order(items, others, "bracketed list")
            case Listing(items), (Tuple(others) | Bracket(others) | Set(others)):
                names = names_in(items)
                numbered = isinstance(answer, Set) and are_numbered(names or ())
                if numbered:
                    return self._any_order(list(map(value_of, items)), others, "list")
                if names or isinstance(answer, Tuple):
                    return self._in_order([value_of(item) for item in items], others, "list")
                return self._any_order(items, others, "list")
            case Set(), Bracket() if ranges.is_interval(answer):
                return outcome(False, "set", "a closed interval where a set is asked")
            case Set(items), (Set(others) | Listing(others) | Bracket(others)):
                return self._any_order(self._distinct(items), self._distinct(others), "set")
            case Matrix(rows), Matrix(others):
                return self._matrices(rows, others)
            case Matrix(rows), (Tuple(others) | Bracket(others) | Listing(others)) if 1 in (
                len(rows), len(rows[0])
            ):  # fmt: skip
                cells = [cell for row in rows for cell in row]
                return self._in_order(cells, by_name(others), "matrix")
            case ((Tuple(items) | Bracket(items)), Matrix(rows)) if 1 in (len(rows), len(rows[0])):
                return self._in_order(items, [cell for row in rows for cell in row], "tuple")
        return None

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
        if not isinstance(gold, Opaque) and isinstance(answer, Opaque):
            return outcome(False, "unread", "a sum, integral or limit that is still to be computed")
        readable = (Number, Expression, Opaque, Quantity, Relation)
        if isinstance(gold, readable) and isinstance(answer, readable):
            return self._leaf(gold, answer)
        if isinstance(gold, Opaque):
            return self._leaf(gold, answer)
        return None

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


def _substituted(node: Node, name: str, value: int) -> Node:
    match node:
        case Sym(own) if own == name:
            return Num(Fraction(value))
        case Op(operation, args):
            return Op(operation, tuple(_substituted(arg, name, value) for arg in args))
    return node


def is_decimal(value: Value) -> bool:
    return isinstance(value, Number) and value.unit is not None


def _same_words(gold: str, answer: str) -> bool:
    """The same letters; or the subject of a gold sentence: ``Ann`` where ``Ann will win``."""
    if _joined(gold) == _joined(answer):
        return True
    rest = gold.removeprefix(answer)
    said = rest != gold and _PREDICATE.match(rest) is not None
    return said and not _NEGATED.search(rest)


_PREDICATE = re.compile(r" (?:will|can|must|should|has|wins?|gets)\b")
_NEGATED = re.compile(r"\b(?:not|never|no|cannot|loses?)\b")


_POLARITY = {"true": "yes", "false": "no"}


def _joined(words: str) -> str:
    return words.replace(" ", "")
