r"""Numbers that can be compared exactly: integers, decimals, fractions, mixed, percent, scientific.

Constants such as ``\sqrt{2}`` are not here: they need a computer algebra system (`symbolic`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_MAX_POWER_OF_TEN = 400
_CUT_OFF_DIGITS = 9
"""Decimals from which on the last digit may not have been rounded."""
_FLOAT_DIGITS, _MOST_FLOAT_DIGITS = 15, 17
"""Decimals of so many digits are printed doubles: right to the first 15, not to their last."""
_INTEGER = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]{1,3}(?: [0-9]{3})+(?![0-9])|[0-9]+"
_DECIMAL = rf"(?:(?:{_INTEGER})(?:\.[0-9]*)?|\.[0-9]+)"
_PLAIN = re.compile(rf"({_DECIMAL})")
_RATIO = re.compile(rf"\(?({_DECIMAL})\)? ?/ ?\(?(-?{_DECIMAL})\)?")
_FRAC = re.compile(rf"\\frac ?\{{ ?(-?) ?({_DECIMAL}) ?\}} ?\{{ ?(-?) ?({_DECIMAL}) ?\}}")
_MIXED = re.compile(
    r"([0-9]+) ?(?:\\text\{ and \} ?)?(?:\\frac ?\{ ?([0-9]+) ?\} ?\{ ?([0-9]+) ?\}"
    r"|(?:(?<= )|(?<=\+)|(?<=-))([0-9]+) ?/ ?([0-9]+))"
)
_SCIENTIFIC = re.compile(
    rf"(?:({_DECIMAL}) ?(?:\\cdot ?|\* ?|x ?)10 ?\^ ?\{{ ?(-?[0-9]+) ?\}}"
    rf"|({_DECIMAL})[eE]([+-]?[0-9]+)|()10 ?\^ ?\{{ ?(-?[0-9]+) ?\}})"
)
_REPEATING = re.compile(r"([0-9]*)\.([0-9]*)\\(?:overline|bar) ?\{ ?([0-9]+) ?\}")
_SIGN = re.compile(r"^\s*([+-]?)\s*(.*?)\s*$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rational:
    """An exactly known number and how it was written."""

    value: Fraction
    percent: bool = False
    """Written with a percent sign, which `value` does not count."""
    places: int | None = None
    """Digits after the point if it was written as a decimal."""
    digits: int = 0
    """Significant digits if it was written as a decimal."""


def parse_rational(text: str) -> Rational | None:
    """The number a normalised answer is, or None if it is not (only) a rational number."""
    body, percent = re.subn(r"\s*\\%\s*$", "", text)
    sign, body = _SIGN.match(_unparenthesised(body)).groups()  # type: ignore[union-attr]
    number = _unsigned(_unparenthesised(body))
    if number is None:
        return None
    value = -number.value if sign == "-" else number.value
    return Rational(value, bool(percent), number.places, number.digits)


def same_number(gold: Rational, answer: Rational) -> bool:
    """Equal exactly, or as closely as a long decimal expansion can say it.

    A percent sign may be left out (``50%`` for 50) or meant literally (``50%`` for 1/2); of a gold
    answer below one it was not left out: ``0.4%`` is not 0.4.
    """
    pairs = {(_literal(gold), _literal(answer))}
    if gold.percent or abs(gold.value) >= 1:
        pairs.add((gold.value, answer.value))
    return any(left == right for left, right in pairs) or (
        gold.percent == answer.percent and _rounds_to(gold, answer)
    )


def _literal(number: Rational) -> Fraction:
    return number.value / 100 if number.percent else number.value


def _rounds_to(gold: Rational, answer: Rational) -> bool:
    """One is the other rounded or cut off, at a precision no coincidence reaches."""
    rounded = [n for n in (gold, answer) if n.places is not None]
    if not rounded:
        return False
    coarse = min(rounded, key=lambda number: number.places or 0)
    return precise(coarse) and abs(gold.value - answer.value) < tolerance(coarse)


def precise(number: Rational) -> bool:
    """Enough digits to stand for an exact value: six after the point, or nine in all."""
    return number.digits >= 6 and ((number.places or 0) >= 6 or number.digits >= 9)


def tolerance(number: Rational) -> Fraction:
    """What a decimal may be off by: half a unit in its last place, or what cut off or printed
    doubles are off by, if it is that long.
    """
    unit = Fraction(1, 10 ** (number.places or 0))
    unit = unit if number.digits >= _CUT_OFF_DIGITS else unit / 2
    printed_double = abs(number.value) / 10**_FLOAT_DIGITS
    is_double = _FLOAT_DIGITS <= number.digits <= _MOST_FLOAT_DIGITS
    return max(unit, printed_double) if is_double else unit


def _unparenthesised(text: str) -> str:
    text = text.strip()
    if text.startswith("(") and text.endswith(")") and "(" not in text[1:] and "," not in text:
        return text[1:-1].strip()
    return text


def _unsigned(text: str) -> Rational | None:
    if match := _PLAIN.fullmatch(text):
        return _decimal(match[1])
    if match := _RATIO.fullmatch(text):
        return _quotient(match[1], match[2])
    if match := _FRAC.fullmatch(text):
        return _quotient(match[1] + match[2], match[3] + match[4])
    if match := _MIXED.fullmatch(text):
        whole, top, bottom = match[1], match[2] or match[4], match[3] or match[5]
        part = _quotient(top, bottom)
        return part and Rational(int(whole) + part.value)
    if match := _SCIENTIFIC.fullmatch(text):
        mantissa, exponent = match[1] or match[3] or "1", match[2] or match[4] or match[6]
        return _scaled(mantissa, int(exponent))
    if match := _REPEATING.fullmatch(text):
        return _repeating(*match.groups())
    return None


def _decimal(text: str) -> Rational:
    digits = re.sub(r"[, ]", "", text)
    _, point, after = digits.partition(".")
    value = Fraction(digits.rstrip(".") or "0")
    significant = len(digits.replace(".", "").lstrip("0"))
    return Rational(value, places=len(after), digits=significant) if point else Rational(value)


def _quotient(top: str, bottom: str) -> Rational | None:
    signs = (top[0] == "-") + (bottom[0] == "-")
    numerator, denominator = _decimal(top.lstrip("-")).value, _decimal(bottom.lstrip("-")).value
    if denominator == 0:
        return None
    value = numerator / denominator
    return Rational(-value if signs == 1 else value)


def _scaled(mantissa: str, exponent: int) -> Rational | None:
    if abs(exponent) > _MAX_POWER_OF_TEN:
        return None
    return Rational(_decimal(mantissa).value * Fraction(10) ** exponent)


def _repeating(whole: str, fixed: str, cycle: str) -> Rational:
    start = Fraction(int((whole + fixed) or "0"), 10 ** len(fixed))
    return Rational(start + Fraction(int(cycle), (10 ** len(cycle) - 1) * 10 ** len(fixed)))
