r"""Congruences: ``x \equiv 3 \pmod 7`` is ``10 \pmod 7`` and ``x = 7k + 3``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import lcm

_CONGRUENCE = re.compile(
    r"(?:(?P<name>[a-zA-Z]) ?\\equiv ?)?(?P<residues>-?\d+(?: ?, ?-?\d+)*) ?,? ?"
    r"\(?(?:\\[pb]?mod|\\text\{ ?\(?(?:mod|modulo) ?\}) ?"
    r"\{?\(? ?(?P<modulus>\d+)\}?\)?(?:\\text\{\)\})?"
)
_PROGRESSION = re.compile(
    r"(?:[a-z] ?= ?)?(?:(?P<step>\d+) ?[a-z](?: ?(?P<start>[+-] ?\d+))?"
    r"|(?P<first>\d+) ?\+ ?(?P<factor>\d+) ?[a-z])"
)
_PLUS_MINUS = re.compile(r"\\pm ?(\d+)")
_EITHER = re.compile(r" ?,? ?\\text\{ ?(?:or|and) ?\} ?")
_NEXT = re.compile(r" ?, ?(?=[a-zA-Z] ?\\equiv)")
_NUMBER = re.compile(r"-?\d+")
_MAX_MODULUS = 100_000


@dataclass(frozen=True, slots=True)
class Residues:
    """Whole numbers by what they leave on division."""

    values: frozenset[int]
    modulus: int
    named: bool
    r"""Written of a variable, ``x \equiv 3``, which asks for all its values."""


def same_residues(gold: str, answer: str) -> bool | None:
    r"""Whether two answers are the same classes; None if neither is a congruence.

    ``3`` agrees with ``3 \pmod 7``, where the modulus only says in which ring it was computed.
    """
    left = _congruence(gold)
    right = _congruence(answer) or (left and _progression(answer))
    if left and right:
        common = lcm(left.modulus, right.modulus)
        return _lifted(left, common) == _lifted(right, common)
    classes, number = left or right, answer if left else gold
    if classes is None:
        return None
    if not _NUMBER.fullmatch(number):
        return False
    return not classes.named and classes.values == {int(number)}


def _congruence(text: str) -> Residues | None:
    text = _EITHER.sub(",", _PLUS_MINUS.sub(r"\1,-\1", text))
    if len(parts := _NEXT.split(text)) > 1:
        return _together([_congruence(part) for part in parts])
    match = _CONGRUENCE.fullmatch(text)
    if match is None:
        return None
    values = [int(value) for value in _NUMBER.findall(match["residues"])]
    return _residues(values, int(match["modulus"]), named=match["name"] is not None)


def _together(parts: list[Residues | None]) -> Residues | None:
    """Classes that were written one by one."""
    classes = [part for part in parts if part]
    if len(classes) < len(parts):
        return None
    modulus = lcm(*(part.modulus for part in classes))
    values = frozenset().union(*(_lifted(part, modulus) for part in classes))
    return Residues(values, modulus, named=True)


def _progression(text: str) -> Residues | None:
    match = _PROGRESSION.fullmatch(text)
    if match is None:
        return None
    start = (match["start"] or match["first"] or "0").replace(" ", "")
    return _residues([int(start)], int(match["step"] or match["factor"]), named=True)


def _residues(values: list[int], modulus: int, *, named: bool) -> Residues | None:
    if not 1 < modulus < _MAX_MODULUS:
        return None
    return Residues(frozenset(value % modulus for value in values), modulus, named)


def _lifted(residues: Residues, modulus: int) -> frozenset[int]:
    """The same whole numbers by a multiple of their modulus, unless that makes too many."""
    steps = range(0, min(modulus, _MAX_MODULUS), residues.modulus)
    return frozenset(value + step for value in residues.values for step in steps)
