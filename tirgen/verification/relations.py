"""Names, equations, curves and chains of relations against each other."""

from __future__ import annotations

from fractions import Fraction

from tirgen.verification import ranges
from tirgen.verification.finishing import folded
from tirgen.verification.literals import node_of
from tirgen.verification.matching import Matching, MatchResult, outcome
from tirgen.verification.naming import agree, function_of, is_label, namings
from tirgen.verification.scalars import same_amount
from tirgen.verification.values import (
    Expression,
    Listing,
    Named,
    Node,
    Num,
    Op,
    Opaque,
    Quantity,
    Region,
    Relation,
    Sym,
    Text,
    Tuple,
    Value,
    changed,
    renamed,
    renamed_in,
    symbols,
)


class Relations(Matching):
    """Compares what is said of names."""

    def _both_named(self, gold: Named, answer: Named) -> MatchResult:
        if not agree(gold.name, answer.name):
            if variables(gold.value) and variables(answer.value) and not (
                function_of(gold.name) or function_of(answer.name) or isinstance(gold.name, str)
                or isinstance(answer.name, str)
            ):  # fmt: skip
                return self._curves(equation_of(gold), equation_of(answer))
            return outcome(False, "name", "another thing is named than was asked")
        asked, given = function_of(gold.name), function_of(answer.name)
        value = answer.value
        if asked and given:
            value = renamed_in(value, dict(zip(given[1], asked[1], strict=True)))
        return self._named_values(gold.value, value)

    def _named_values(self, gold: Value, answer: Value) -> MatchResult:
        if isinstance(gold, Relation) and set(gold.signs) == {"="}:
            gold = gold.sides[0]
        if isinstance(answer, Relation) and set(answer.signs) == {"="}:
            return self._chain(gold, answer)
        if isinstance(gold, Expression) and isinstance(answer, Expression):
            return self._expressions(gold, answer, named=True)
        return self.same(gold, answer)

    def _value_of_name(self, name: Node | str, value: Value, answer: Value) -> MatchResult:
        function = function_of(name)
        if function and isinstance(answer, Expression):
            own = symbols(answer.node)
            if len(own) == len(function[1]) == 1:
                answer = Expression(renamed(answer.node, {own.pop(): function[1][0]}))
        bounded = isinstance(answer, Region) and answer.name
        if bounded and isinstance(name, Sym) and not agree(name, Sym(bounded)):
            return outcome(False, "name", "another variable is bounded than was asked")
        return self._named_values(value, answer)

    def _chain(self, gold: Value, answer: Value) -> MatchResult:
        """``AB = BC = 6``, ``2x + 3y = 7``, ``2 + 3 = 5``: every value of it must be the gold's.

        ``7x = 7`` is an equation in one variable and says 1.
        """
        assert isinstance(answer, Relation)
        own = variables(gold)
        sides = list(answer.sides)
        if not own and any(map(_is_multiple_of_name, sides[1:])):
            return outcome(False, "relation", "two statements side by side")
        constant = [side for side in sides if not variables(side)]
        if not own and constant and len(constant) < len(sides):
            names = {name for side in sides for name in variables(side)}
            if len(names) < 2 and not all(_is_named_value(s) for s in sides if variables(s)):
                return outcome(False, "relation", "an equation where a value is asked")
            sides = constant
        elif own and {frozenset(variables(side)) for side in sides} != {frozenset(own)}:
            sides = sides[1:] if len(sides) > 2 else sides
            if (
                len(sides) == 2
                and frozenset(variables(sides[1])) == frozenset(own)
                and (not variables(sides[0]) & own)
            ):
                sides = sides[1:]
        return self._every([(gold, side) for side in sides], "relation")

    def _expressions(
        self, gold: Expression, answer: Expression, *, named: bool = False
    ) -> MatchResult:
        asked, given = node_of(gold), node_of(answer)
        first, second = _written_out(*_counting(asked, given))
        if (first, second) != (asked, given):
            gold, answer = folded(first), folded(second)
        if symbols(first) == symbols(second):
            return same_amount(gold, answer, self._terms)
        result = outcome(False, "name", "other variables than were asked")
        for candidate in namings(first, second, named=named):
            result = same_amount(gold, Expression(candidate), self._terms)
            if result.same:
                return result
        if symbols(second) < symbols(first):
            return same_amount(gold, answer, self._terms)
        return result

    def _relations(self, gold: Relation, answer: Relation) -> MatchResult | None:
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

    def _curves(self, gold: Relation, answer: Relation) -> MatchResult:
        first, second = difference(gold), difference(answer)
        if first is None or second is None:
            return self._in_order(gold.sides, answer.sides, "relation")
        result = outcome(False, "name", "other variables than were asked")
        for candidate in namings(first, second, named=True):
            zero = Expression(Num(Fraction(0)))
            found = self._terms.leaf(
                Relation((Expression(first), zero), ("=",)),
                Relation((Expression(candidate), zero), ("=",)),
            )
            if found.same:
                return found
            result = found
        return result

    def _sorted_out(self, gold: Relation, answer: Value) -> MatchResult | None:
        """``b < a < c`` as a list in that order; ``y + 1 = x`` as what y is.

        A list in the order of the alphabet only lists the names.
        """
        if set(gold.signs) == {"="} and isinstance(answer, Expression):
            every = self._every([(side, answer) for side in gold.sides], "relation")
            if every.same:
                return every
        items = _ascending(gold)
        names = [letters_of(item.node) for item in items or () if isinstance(item, Expression)]
        if items and names != sorted(names) and isinstance(answer, Listing | Tuple):
            return self._in_order(items, answer.items, "order")
        first = difference(gold) if set(gold.signs) == {"="} else None
        if first is None or not isinstance(answer, Expression):
            return None
        missing = symbols(first) - symbols(answer.node)
        if len(missing) != 1 or not symbols(answer.node):
            return None
        name = Sym(missing.pop())
        return self._curves(gold, Relation((Expression(name), answer), ("=",)))


def _counting(first: Node, second: Node) -> tuple[Node, Node]:
    """``C(n, k)`` and ``C_n^k`` as combinations, where only one side writes of a C."""
    sides = [any(name.partition("_")[0] == "C" for name in symbols(one)) for one in (first, second)]
    return (first, second) if all(sides) else (_combinations(first), _combinations(second))


def _combinations(node: Node) -> Node:
    def combination(one: Node) -> Node | None:
        match one:
            case Op("call", (Sym("C"), n, k)):
                return Op("binom", (n, k))
            case Op("pow", (Sym(name), k)) if name.startswith("C_"):
                index = name[2:]
                size = Num(Fraction(int(index))) if index.isdecimal() else Sym(index)
                return Op("binom", (size, k))
        return None

    return changed(node, combination)


def _written_out(first: Node, second: Node) -> tuple[Node, Node]:
    r"""Two expressions in ``a_1, \\ldots, a_n`` where the terms that are written are all."""
    names = symbols(first) | symbols(second)
    indices = {name.partition("_")[2] for name in names if "_" in name}
    last = [index for index in indices if len(index) == 1 and index.isalpha()]
    written = sorted(int(index) for index in indices if index.isdecimal())
    if "ldots" not in symbols(first) & symbols(second) or len(last) != 1 or not written:
        return first, second
    count = Num(Fraction(written[-1] + 1))
    return _at_count(first, last[0], count), _at_count(second, last[0], count)


def _at_count(node: Node, last: str, count: Num) -> Node:
    def counted(one: Node) -> Node | None:
        match one:
            case Sym(name) if name == last:
                return count
            case Sym(name) if name.endswith(f"_{last}"):
                return Sym(f"{name[:-1]}{count.value}")
            case Op(name, args) if Sym("ldots") in args:
                written = tuple(arg for arg in args if arg != Sym("ldots"))
                return changed(Op(name, written), counted)
        return None

    return changed(node, counted)


def variables(value: Value) -> set[str]:
    match value:
        case Expression(node):
            return symbols(node)
        case Quantity(Expression(node), _):
            return symbols(node)
        case Relation(sides, _):
            return {name for side in sides for name in variables(side)}
        case Opaque() | Text():
            return {"?"}
    return set()


def _is_multiple_of_name(value: Value) -> bool:
    """``6 BC``, which in ``AB = 6 BC = 6`` belongs to two statements."""
    match value:
        case Expression(Op("mul", (Num(), *names))):
            return _is_named_value(Expression(Op("mul", tuple(names))))
    return False


def _is_named_value(value: Value) -> bool:
    match value:
        case Quantity(amount, _):
            return _is_named_value(amount)
        case Expression(Op("add" | "mul" | "div", args)) if not is_label(value):
            return all(_is_named_value(Expression(arg)) for arg in args)
    return is_label(value)


def equation_of(named: Named) -> Relation:
    """``y = 2x`` as an equation between two sides."""
    name = Text(named.name) if isinstance(named.name, str) else Expression(named.name)
    return Relation((name, named.value), ("=",))


def difference(relation: Relation) -> Node | None:
    sides = [ranges.node(side) for side in relation.sides]
    if len(sides) != 2 or sides[0] is None or sides[1] is None:
        return None
    return Op("add", (sides[0], Op("neg", (sides[1],))))


def _turned(relation: Relation) -> Relation:
    signs = tuple(ranges.FLIPPED.get(sign, sign) for sign in reversed(relation.signs))
    return Relation(tuple(reversed(relation.sides)), signs)


def _ascending(relation: Relation) -> list[Value] | None:
    """The sides of a chain of inequalities between symbols, smallest first."""
    if len(relation.sides) < 3 or not all(isinstance(s, Expression) for s in relation.sides):
        return None
    if set(relation.signs) == {"<"}:
        return list(relation.sides)
    return list(reversed(relation.sides)) if set(relation.signs) == {">"} else None


def letters_of(node: Node) -> str:
    """The letters of a product, as a word that was taken for one."""
    factors = node.args if isinstance(node, Op) and node.name == "mul" else (node,)
    return "".join(one.name if isinstance(one, Sym) else "?" for one in factors).casefold()
