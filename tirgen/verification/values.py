"""What an answer can be: a small set of typed values, and expressions as trees.

Values are immutable and compared by `compare`; ``==`` between them is sameness of form only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self, TypeAlias


@dataclass(frozen=True, slots=True)
class Num:
    """A number as written. A decimal has the worth of one unit in its last place, else None."""

    value: Fraction
    unit: Fraction | None = None
    digits: int = 0
    """Significant digits of a decimal."""


@dataclass(frozen=True, slots=True)
class Sym:
    """A variable or a constant: ``x``, ``x_1``, ``pi``, ``oo``."""

    name: str


@dataclass(frozen=True, slots=True)
class Op:
    """An operation or a function: add, mul, div, pow, sin, call, ..."""

    name: str
    args: tuple[Node, ...]


Node: TypeAlias = "Num | Sym | Op"


@dataclass(frozen=True, slots=True)
class Expression:
    """Mathematics: ``2\\pi``, ``x^2 + 1``; a rational number where the node is a `Num`."""

    node: Node
    percent: bool = False
    """Written with a percent sign, which the node does not count."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount of something: a unit of measurement, money, an angle, or what is counted."""

    amount: Expression
    unit: Unit


@dataclass(frozen=True, slots=True)
class Unit:
    """Base dimensions with their powers, and the factor that converts to them."""

    factor: Fraction
    dimensions: tuple[tuple[str, int], ...]
    measured: bool
    """Of measurement; ``students`` only names what was counted."""


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day, or a duration written like one."""

    seconds: int
    fields: int
    half_known: bool
    """Whether it is said to be before or after noon."""


@dataclass(frozen=True, slots=True)
class Date:
    month: int
    day: int
    year: int | None


@dataclass(frozen=True, slots=True)
class Ratio:
    parts: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Based:
    """Digits in a base other than ten."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Residues:
    """Whole numbers by what they leave on division."""

    values: frozenset[int]
    modulus: int
    named: bool
    """Written of a variable, which asks for all its values."""


@dataclass(frozen=True, slots=True)
class Named:
    """``x = 2``, ``P(A) = 1/2``, ``f(x) = x^2``, ``chickens: 14``."""

    name: Node | str
    value: Value


@dataclass(frozen=True, slots=True)
class Relation:
    """Sides joined by relations: ``x^2 + y^2 = 4``, ``a < b < c``."""

    sides: tuple[Value, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    low: Node
    high: Node
    has_low: bool
    has_high: bool


@dataclass(frozen=True, slots=True)
class Region:
    """A union of intervals and points, and the variable it bounds where one is named."""

    pieces: tuple[Interval, ...]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Several:
    """Answers side by side; the type says what stands around them."""

    items: tuple[Value, ...]
    either: bool = False
    """Whether "or" joins them."""
    decimal: Expression | None = None
    """What ``0,25`` is where the comma is a decimal one."""

    def of(self, items: Iterable[Value]) -> Self:
        """The same with other items."""
        return replace(self, items=tuple(items))


class Tuple(Several):
    """``(1, 2)``: in order. Of two parts it may be an open interval."""

    __slots__ = ()


class Bracket(Several):
    """``[1, 2]``: a closed interval or a list as Python prints it."""

    __slots__ = ()


class Listing(Several):
    """``1, 2`` without brackets, in any order unless their names give one."""

    __slots__ = ()


class Set(Several):
    """``{1, 2}``: in any order, each once."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class Cases:
    """A function by cases: (value, condition) pairs."""

    rows: tuple[tuple[Value, Value], ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Letters of a multiple choice, and what stands beside a single one."""

    letters: frozenset[str]
    text: Value | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """Words, spelled as they are compared."""

    words: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """Mathematics beyond the grammar (sums, integrals, limits), as LaTeX for the worker."""

    latex: str
    readable: bool = True
    """Whether a library may read it; False where the text is broken."""


Value: TypeAlias = (
    "Expression | Quantity | Clock | Date | Ratio | Based | Residues | Named | Relat"
    "ion | Region | Several | Matrix | Cases | Choice | Text | Opaque"
    ""
)

KINDS: dict[type, str] = {
    Expression: "expression", Quantity: "quantity", Clock: "time", Date: "date",
    Ratio: "ratio", Based: "number in a base", Residues: "congruence", Named: "named value",
    Relation: "relation", Region: "interval", Tuple: "tuple", Bracket: "bracketed list",
    Listing: "list", Set: "set", Matrix: "matrix", Cases: "cases", Choice: "choice", Text: "text",
    Opaque: "unread mathematics",
}  # fmt: skip


def number(value: Value) -> Num | None:
    """The rational number that a value is, apart from its percent sign."""
    return value.node if isinstance(value, Expression) and isinstance(value.node, Num) else None


def kind(value: Value) -> str:
    """What a reason calls a value."""
    return "number" if number(value) else KINDS[type(value)]


def symbols(node: Node) -> set[str]:
    """The names of the variables in an expression."""
    return {one.name for one in walk(node) if isinstance(one, Sym)} - CONSTANTS


def walk(node: Node) -> Iterator[Node]:
    """Every node of a tree, without recursion."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        if isinstance(one, Op):
            waiting.extend(one.args)


CONSTANTS = frozenset({"pi", "e", "i", "oo"})


def changed(node: Node, change: Callable[[Node], Node | None]) -> Node:
    """A tree in which `change` replaced what it gives a node for; the rest as it was."""
    replaced = change(node)
    if replaced is not None:
        return replaced
    if isinstance(node, Op):
        return Op(node.name, tuple(changed(arg, change) for arg in node.args))
    return node


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """An expression with variables renamed."""
    return with_values(node, {name: Sym(other) for name, other in names.items()})


def with_values(node: Node, values: Mapping[str, Node]) -> Node:
    """An expression with other expressions for its variables."""
    return changed(node, lambda one: values.get(one.name) if isinstance(one, Sym) else None)


def renamed_in(value: Value, names: Mapping[str, str]) -> Value:
    """A value with variables of its expressions renamed."""

    match value:
        case Expression(node, percent):
            return Expression(renamed(node, names), percent)
        case Named(name, inner):
            return Named(name, renamed_in(inner, names))
        case Several(items):
            return value.of(renamed_in(item, names) for item in items)
        case Relation(sides, signs):
            return Relation(tuple(renamed_in(side, names) for side in sides), signs)
        case Region(pieces, name):
            return Region(pieces, names.get(name, name) if name else None)
        case Cases(rows):
            return Cases(tuple((renamed_in(a, names), renamed_in(b, names)) for a, b in rows))
    return value
