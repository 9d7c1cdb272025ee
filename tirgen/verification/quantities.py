r"""Numbers with units compared: the same without them, or after conversion where both name one."""

from __future__ import annotations

import re
from fractions import Fraction

from storage.records import Verdict
from tirgen.verification.normalise import normalise, plain
from tirgen.verification.rationals import parse_rational
from tirgen.verification.units import DEGREES, RADIANS, conflict, letter_unit, split_unit, unit_of
from tirgen.verification.verdicts import Compare, decided, wrong

_QUANTITY = r"(\d+(?:\.\d+)?) ?([a-zA-Z]+),? ?(?:and )?"
_PIECE = re.compile(_QUANTITY)
_DEGREES_AND_MINUTES = re.compile(r"(\d+) ?\\text\{ degrees\} ?(\d+) ?'(?: ?(\d+) ?(?:''|\"))?")
_COMPOUND = re.compile(f"(?:{_QUANTITY}){{2,3}}")


def compare_quantities(gold: str, answer: str, compare: Compare) -> Verdict | None:
    """The verdict where at least one side names a unit, else None."""
    gold, answer = _added_up(gold), _added_up(answer)
    (asked, gold_unit), (given, unit) = split_unit(gold), split_unit(answer)
    if gold_unit is None and unit is None:
        return None
    if gold_unit is None:
        asked, gold_unit = letter_unit(asked)
    if unit is None:
        given, unit = letter_unit(given)
    if {gold_unit, unit} == {DEGREES, RADIANS} and "\\pi" in (asked, given)[unit == RADIANS]:
        gold_unit, unit = (None if one == RADIANS else one for one in (gold_unit, unit))
    if gold_unit and unit and conflict(gold_unit, unit):
        if gold_unit.dimensions != unit.dimensions:
            return wrong("units", gold, answer)
        return _converted(gold, answer, asked, given, unit.factor / gold_unit.factor, compare)
    if gold_unit == DEGREES and "\\pi" in given:
        asked = rf"\frac{{{asked}\pi}}{{180}}"
    if unit == DEGREES and "\\pi" in asked:
        given = rf"\frac{{{given}\pi}}{{180}}"
    inner = compare(asked, given)
    return Verdict(correct=inner.correct, method=inner.method, reason=f"{inner.reason} (units)")


def _added_up(text: str) -> str:
    r"""``1\text{ hour }30\text{ minutes}`` in its smallest unit; any other text as it is."""
    if arc := _DEGREES_AND_MINUTES.fullmatch(text):
        seconds = 3600 * int(arc[1]) + 60 * int(arc[2]) + int(arc[3] or 0)
        return rf"\frac{{{seconds}}}{{3600}}\text{{ degrees}}"
    words = plain(text)
    pieces = _PIECE.findall(words)
    if "\\text" not in text or len(pieces) < 2 or not _COMPOUND.fullmatch(words):
        return text
    units = [unit for _, name in pieces if (unit := unit_of(name))]
    if len(units) < len(pieces) or len({unit.dimensions for unit in units}) > 1:
        return text
    values = (Fraction(value) for value, _ in pieces)
    total = sum(value * unit.factor for value, unit in zip(values, units, strict=True))
    total = Fraction(total) / units[-1].factor
    return rf"\frac{{{total.numerator}}}{{{total.denominator}}}\text{{{pieces[-1][1]}}}"


def _converted(
    gold: str, answer: str, asked: str, given: str, factor: Fraction, compare: Compare
) -> Verdict:
    """Compare in the gold answer's unit: `given` is worth `factor` of it."""
    first, second = parse_rational(normalise(asked)), parse_rational(normalise(given))
    if first is not None and second is not None:
        return decided(first.value == second.value * factor, "units", gold, answer)
    scaled = rf"\frac{{{factor.numerator}}}{{{factor.denominator}}} \cdot ({given})"
    return decided(compare(asked, scaled).correct, "units", gold, answer)
