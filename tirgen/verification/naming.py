r"""Which letters of an answer may be called otherwise: parameters, constants, bound variables.

``n = 4k + 1`` is ``n = 4m + 1``, ``y = Ce^{2x}`` is ``y = Ae^{2x}``, ``f(z) = z`` is ``f(x) = x``;
a given variable keeps its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import permutations

from tirgen.verification.symbols import NAMING
from tirgen.verification.values import (
    CONSTANTS,
    Expression,
    Node,
    Op,
    Opaque,
    Ratio,
    Sym,
    Text,
    Value,
    renamed,
    symbols,
    walk,
)

BOUND = "any "
"""Before the name of a parameter that the answer itself declares: ``for some integer t``."""
NATURAL = BOUND + "natural "
"""Before the name of one that takes no negative values."""
_PARAMETERS = frozenset("klmtsjn")
_CONSTANT = re.compile(r"[CcKkABDM](?:_\d)?")
_SURELY_CONSTANT = re.compile(r"[Cc](?:_\d)?|K")
_MOST_CONSTANTS = 4


def namings(gold: Node, answer: Node, *, named: bool) -> Iterator[Node]:
    """The answer under each naming that gives it the gold's variables; none if there is none.

    `named` says that the gold answer tells the value of a variable, so that a whole-number
    parameter in it is no given one.
    """
    asked, given = symbols(gold), symbols(answer)
    if asked == given:
        yield answer
        return
    missing, extra = asked - given, given - asked
    if len(missing) != len(extra):
        return
    declared = [{n.startswith(NATURAL) for n in s if n.startswith(BOUND)} for s in (missing, extra)]
    if declared[0] and declared[1] and declared[0] != declared[1]:
        return
    bound = sorted(name for name in missing | extra if name.startswith(BOUND))
    given_n = "n" in extra and not _periodic(gold)
    if bound and len(missing) <= _MOST_CONSTANTS and not given_n:
        for order in permutations(sorted(missing)):
            yield renamed(answer, dict(zip(sorted(extra), order, strict=True)))
        return
    if (
        len(missing) == 1
        and _is_prime(*missing) != _is_prime(*extra)
        and (_derivative(*missing) == _derivative(*extra) != "")
    ):
        yield renamed(answer, {extra.pop(): missing.pop()})
        return
    if {name.lower() for name in missing} == {name.lower() for name in extra} and all(
        len(name) == 1 for name in missing
    ):
        yield renamed(answer, {name: name.swapcase() for name in extra})
        return
    free = _periodic(gold) or (named and missing != {"n"})
    if len(missing) == 1 and free and missing | extra <= _PARAMETERS:
        yield renamed(answer, {extra.pop(): missing.pop()})
        return
    yield from _constants(answer, asked, given)


def _is_prime(name: str) -> bool:
    return name.endswith("'")


def _derivative(name: str) -> str:
    """What ``y'`` or ``dy/dx`` is the derivative of; empty where the two forms may not be mixed."""
    return name[:-1] if name.endswith("'") else name[1 : name.find("/")] if "/d" in name else ""


def _periodic(node: Node) -> bool:
    return any(isinstance(one, Sym) and one.name == "pi" for one in walk(node))


def _constants(answer: Node, asked: set[str], given: set[str]) -> Iterator[Node]:
    """Arbitrary constants in every order."""
    wanted = sorted(name for name in asked if _CONSTANT.fullmatch(name))
    own = sorted(name for name in given if _CONSTANT.fullmatch(name))
    if asked - set(wanted) != given - set(own) or len(wanted) != len(own):
        return
    if (
        not asked - set(wanted)
        or len(own) > _MOST_CONSTANTS
        or not any(_SURELY_CONSTANT.fullmatch(n) for n in wanted)
    ):
        return
    for order in permutations(wanted):
        yield renamed(answer, dict(zip(own, order, strict=True)))


_VARIABLE = re.compile(r"[a-z](?:_\w+)?|[a-zA-Z]{3,}")


def function_of(name: Node | str) -> tuple[str, tuple[str, ...]] | None:
    """(the function, its variables) of ``f(x)``; None for a value such as ``f(2)``."""
    match name:
        case Op("call", (Sym(function), *arguments)):
            variables = [one.name for one in arguments if isinstance(one, Sym)]
            small = all(map(_VARIABLE.fullmatch, variables))
            if len(variables) == len(arguments) and small and not set(variables) & CONSTANTS:
                return function, tuple(variables)
    return None


_LETTER_WORDS = re.compile(r"[a-z]{2,}")


def agree(gold: Node | str, answer: Node | str) -> bool:
    """Whether two names may be of the same thing. Words are never held against symbols."""
    if gold == answer:
        return True
    if isinstance(gold, str) or isinstance(answer, str):
        if isinstance(gold, str) and isinstance(answer, str):
            both_symbolic = "\\" in gold and "\\" in answer
            return (not both_symbolic and not (_words(gold) and _words(answer))) or gold == answer
        return "\\" not in (gold if isinstance(gold, str) else str(answer))
    first, second = function_of(gold), function_of(answer)
    if first and second:
        return first[0] == second[0] and len(first[1]) == len(second[1])
    if bool(first) != bool(second):
        other = answer if first else gold
        function = first or second
        assert function is not None
        return isinstance(other, Sym) and (other.name == "y" or other.name == function[0])
    match gold, answer:
        case Sym(), Sym():
            return gold.name.lower() == answer.name.lower()
        case (Op("angle", (Op("mul", (_, vertex, _)),)), Op("angle", (Sym() as other,))) | (
            Op("angle", (Sym() as other,)), Op("angle", (Op("mul", (_, vertex, _)),))
        ):  # fmt: skip
            return vertex == other
    return _bare(gold) == _bare(answer)


def _words(label: str) -> bool:
    return bool(_LETTER_WORDS.search(label))


def _bare(name: Node) -> object:
    """A name without what only says that it is a measure, and without a direction."""
    match name:
        case Op("angle", (inner,)):
            return _bare(inner)
        case Op("triangle", (Op("mul", args),)):
            return frozenset(args)
        case Op("abs" | "overline", (Op("mul", args) as inner,)) if all(map(_is_point, args)):
            return _bare(inner)
        case Op("mul", args) if all(map(_is_point, args)):
            return min(args, args[::-1], key=str)
        case Op("mul", args):
            return frozenset(args)
    return name


def _is_point(node: Node) -> bool:
    return isinstance(node, Sym) and node.name[0].isupper()


def is_label(value: Value) -> bool:
    """Whether a side of an equation only names what the other side says."""
    match value:
        case Opaque() | Text():
            return True
        case Expression(Sym(name)):
            return name not in CONSTANTS
        case Expression(Op(name, _)) if name in NAMING:
            return True
        case Ratio((first, second)):
            return is_label(first) and is_label(second)
        case Expression(Op("div", parts)):
            return all(
                (isinstance(p, Op) and is_label(Expression(p))) or _is_indexed(p) for p in parts
            )
        case Expression(Op("mul", args)):
            return len(args) in (2, 3) and all(
                isinstance(a, Sym) and a.name.isupper() for a in args
            )
    return False


def _is_indexed(node: Node) -> bool:
    return isinstance(node, Sym) and "_" in node.name
