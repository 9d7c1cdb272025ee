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
    by_name,
    different,
    line,
    value_of,
)
from tirgen.verification.finishing import folded
from tirgen.verification.matching import MatchResult, outcome, undecided
from tirgen.verification.naming import function_of
from tirgen.verification.relations import equation_of, letters_of, variables
from tirgen.verification.scalars import (
    components,
    progression,
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
    Opaque,
    Quantity,
    Ratio,
    Region,
    Relation,
    Residues,
    Set,
    Several,
    Sym,
    Text,
    Tuple,
    Value,
    kind,
    number,
)


class Comparison(Choices):
    """Compares values of all types."""

    def whole(self, gold: Value, answer: Value) -> MatchResult:
        """Two whole answers: a single value may stand in brackets, or be said twice."""
        match gold, answer:
            case (Expression(), (Set((item,)) | Tuple((item,)))):
                return self.same(gold, item)
            case Named(_, value), (Set((item,)) | Named(_, Set((item,)))):
                return self.same(value, item)
            case Set((item,)), Named(_, value):
                return self.same(item, value)
            case _, Bracket((item,)) if not isinstance(gold, Bracket):
                return self.whole(gold, item)
            case ((Bracket((item,)) | Set((item,))), Expression()):
                return self.same(item, answer)
            case ((Expression() | Quantity()), Listing(items, either=True)):
                return self._every([(gold, item) for item in items], "list")
        return self.same(gold, answer)

    def same(self, gold: Value, answer: Value) -> MatchResult:
        if gold == answer:
            return outcome(True, kind(gold))
        return self._unwrapped(gold, answer) or self._alike(gold, answer) or different(gold, answer)

    def _unwrapped(self, gold: Value, answer: Value) -> MatchResult | None:  # noqa: C901
        """Values behind names, choices and single brackets."""
        match gold, answer:
            case Choice(), _:
                return self._choice(gold, answer)
            case _, Choice():
                return self._against_choice(gold, answer)
            case Named(), Named():
                return self._both_named(gold, answer)
            case Named(), Relation(_, signs) if set(signs) == {"="}:
                return self._curves(equation_of(gold), answer)
            case Relation(), Named(_, value):
                if set(gold.signs) != {"="}:
                    return self._sorted_out(gold, value)
                return self._curves(gold, equation_of(answer))
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
                if number(gold) and function_of(name):
                    return outcome(False, "name", "a function where a number is asked")
                return self.same(gold, value)
            case ((Expression() | Quantity()), Relation(_, signs)) if set(signs) == {"="}:
                return self._chain(gold, answer)
            case Relation((exact, rounded), ("approx",)), _:
                first = self.same(exact, answer)
                return first if first.same or not is_decimal(answer) else self.same(rounded, answer)
            case _, Relation((exact, _), ("approx",)):
                return self.same(gold, exact)
            case Expression(Num()), Listing(
                (Expression(Num(Fraction(numerator=0))), _), decimal=Expression() as decimal
            ):
                return self.same(gold, decimal)
            case Listing(decimal=Expression() as decimal), (Expression() | Quantity()):
                return self.same(decimal, answer)
        return None

    def _alike(self, gold: Value, answer: Value) -> MatchResult | None:  # noqa: C901  a table
        match gold, answer:
            case (Expression(), Expression()):
                return self._expressions(gold, answer)
            case Quantity(), Quantity():
                return same_quantity(gold, answer, self._terms)
            case Quantity(), Expression():
                return self._bare_amount(gold, answer)
            case (Expression(), Quantity()):
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

    def _mixed(self, gold: Value, answer: Value) -> MatchResult | None:  # noqa: C901  a table
        """Types that may say the same in two ways."""
        match gold, answer:
            case Based(digits), Expression(Num(value)):
                return outcome(str(value) == digits.lstrip("0"), "base", "other digits")
            case Expression(Num(value)), Residues(values, modulus, False) if 0 <= value < modulus:
                return outcome({value} == set(values), "congruence", "another residue")
            case Residues(values, named=False), Expression(Num(value)):
                return outcome({value} == set(values), "congruence", "another residue")
            case Residues(), Named(_, Expression(node)) | Expression(node) | Set(
                (Expression(node),)
            ):
                return self._progression(gold, node)
            case Quantity(), Clock(seconds, half_known=False) if (
                gold.unit.dimensions == SECOND.dimensions
            ):
                return self.same(gold, Quantity(Expression(Num(Fraction(seconds))), SECOND))
            case Ratio(), Clock(half_known=False, fields=2):
                return self.same(gold, ratio_of(answer))
            case Expression(Num(value)), Clock(half_known=False, fields=2) if value.denominator > 1:
                return self.same(gold, ratio_of(answer))
            case Ratio(first), Ratio(second) if len(first) == len(second):
                return self._ratios(first, second)
            case Ratio(), Expression() if (divided := quotient(gold)) is not None:
                return self.same(divided, answer)
            case (Expression(), Ratio()) if (divided := quotient(answer)) is not None:
                return self.same(gold, divided)
            case ((Tuple() | Matrix()), Expression(node)) if axes := components(node):
                return self.same(gold, Tuple(tuple(map(folded, axes))))
            case Expression(node), (Tuple() | Matrix()) if axes := components(node):
                return self.same(Tuple(tuple(map(folded, axes))), answer)
            case Text(words), Expression(node):
                return outcome(_joined(words) == letters_of(node), "text", "other words")
            case Expression(Num(value)), Based(digits, base):
                return outcome(int(digits, base) == value, "base", "another value")
            case Relation(), _:
                return self._sorted_out(gold, answer)
        return None

    def _composites(self, gold: Value, answer: Value) -> MatchResult | None:
        match gold, answer:
            case Region(), _ if (region := ranges.region_of(answer)) is not None:
                return self._regions(gold, region)
            case Region(), Listing(items) if (region := ranges.united(items)) is not None:
                return self._regions(gold, region)
            case Several(), Region() if region := ranges.region_of(gold):
                return self._regions(region, answer)
            case Several(), Several():
                return self._several(gold, answer)
            case Matrix(rows), Matrix(others):
                return self._matrices(rows, others)
            case Matrix(rows), (Tuple() | Bracket() | Listing()) if vector := line(rows):
                return self._in_order(vector, by_name(answer.items), "matrix")
            case ((Tuple(items) | Bracket(items)), Matrix(rows)) if vector := line(rows):
                return self._in_order(items, vector, "tuple")
        return None

    def _bare_amount(self, gold: Quantity, answer: Expression) -> MatchResult:
        if (read := with_unit(gold, answer)) is not None:
            return same_quantity(gold, read, self._terms)
        if number(answer) and answer.percent:
            return outcome(False, "unit", "percent where another unit is asked")
        amount = unitless(gold, answer)
        return self._expressions(amount, answer)

    def _unread(self, gold: Value, answer: Value) -> MatchResult | None:
        if isinstance(gold, Opaque) and not gold.readable:
            return undecided("it is no mathematics that can be read")
        if isinstance(answer, Opaque) and not answer.readable:
            return outcome(False, "unread", "no mathematics that can be read")
        if not isinstance(gold, Opaque) and isinstance(answer, Opaque):
            return outcome(False, "unread", "a sum, integral or limit that is still to be computed")
        readable = (Expression, Opaque, Quantity, Relation)
        if isinstance(gold, readable) and isinstance(answer, readable):
            return self._terms.leaf(gold, answer)
        if isinstance(gold, Opaque):
            return self._terms.leaf(gold, answer)
        return None

    def _progression(self, gold: Residues, node: Node) -> MatchResult:
        given = progression(node)
        if given is None:
            return outcome(False, "congruence", "no progression")
        return same_residues(gold, given)


def is_decimal(value: Value) -> bool:
    found = number(value)
    return found is not None and found.unit is not None


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
