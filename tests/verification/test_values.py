r"""Metamorphic: every spelling the field uses of a value is right, of a different value wrong."""

from __future__ import annotations

import os
from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tirgen.verification.judge import judge
from tirgen.verification.matching import Outcome
from tirgen.verification.values import Value

MANY = settings(max_examples=int(os.environ.get("TIRGEN_EXAMPLES", "300")), deadline=None)
WHOLE = st.integers(-9999, 9999)
PART = st.builds(Fraction, st.integers(-300, 300), st.integers(1, 99))
UNITS = st.sampled_from([("cm", "m", 100), ("minutes", "hours", 60), ("g", "kg", 1000)])


def _no_worker(gold: Value, answer: Value) -> Outcome:
    raise AssertionError(f"a worker was asked: {gold} and {answer}")


def _right(gold: str, answer: str) -> bool:
    return judge(gold, answer, _no_worker).correct


def _fractions(value: Fraction) -> list[str]:
    top, bottom = value.numerator, value.denominator
    sign = "-" if top < 0 else ""
    return [
        f"{top}/{bottom}",
        rf"\frac{{{top}}}{{{bottom}}}",
        rf"{sign}\dfrac{{{abs(top)}}}{{{bottom}}}",
        rf"\left(\tfrac{{{3 * top}}}{{{3 * bottom}}}\right)",
        f"Rational({top}, {bottom})",
        f"Fraction({top}, {bottom})",
        rf"x = \frac{{{top}}}{{{bottom}}}",
        rf"\text{{The answer is }} \frac{{{top}}}{{{bottom}}}",
        rf"${top} \div {bottom}$",
    ]


def _integers(value: int) -> list[str]:
    return [
        str(value),
        f"{value}.0",
        f"{value:,}",
        rf"\boxed{{{value}}}"[7:-1],
        f"**{value}**",
        f"`{value}`",
        rf"\text{{{value}}}",
        rf"{value}\text{{ apples}}",
        f"np.float64({value}.0)",
        "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in str(value)),
        f"{value} 个",
    ]


@MANY
@given(WHOLE, st.integers(0, 10), WHOLE)
def test_a_whole_number(value: int, spelling: int, other: int) -> None:
    assert _right(str(value), _integers(value)[spelling])
    assume(other != value)
    assert not _right(str(value), _integers(other)[spelling])


@MANY
@given(PART, st.integers(0, 8), st.integers(0, 8), PART)
def test_a_fraction(value: Fraction, first: int, second: int, other: Fraction) -> None:
    gold = _fractions(value)[first]
    assert _right(gold, _fractions(value)[second])
    assume(other != value)
    assert not _right(gold, _fractions(other)[second])


@MANY
@given(PART, st.integers(2, 6))
def test_a_gold_decimal_is_a_rounding(value: Fraction, places: int) -> None:
    gold = f"{float(round(value, places)):.{places}f}"
    shown = float(gold)
    assume(abs(shown) >= 1 and value.denominator > 1 and abs(shown - value) > 0)
    exact = rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
    off = value + Fraction(11, 10 * 10**places)
    assert _right(gold, exact)
    assert not _right(gold, rf"\frac{{{off.numerator}}}{{{off.denominator}}}")


@MANY
@given(st.floats(0.001, 1000), st.floats(0.001, 1000))
def test_a_float_as_python_prints_it(value: float, other: float) -> None:
    gold = Fraction(value).limit_denominator(500)
    exact = rf"\frac{{{gold.numerator}}}{{{gold.denominator}}}"
    assert _right(exact, repr(float(gold)))
    assume(abs(Fraction(other) - gold) > Fraction(1, 10**6) and gold)
    assert not _right(exact, repr(other))


@MANY
@given(st.integers(1, 500), UNITS, st.integers(1, 500))
def test_a_quantity_converts(amount: int, units: tuple[str, str, int], other: int) -> None:
    small, large, factor = units
    gold = rf"{amount}\text{{ {large}}}"
    assert _right(gold, rf"{amount * factor}\text{{ {small}}}")
    assert _right(gold, f"{amount} {large}")
    assert _right(gold, str(amount))
    assume(other != amount)
    assert not _right(gold, rf"{other * factor}\text{{ {small}}}")
    assert not _right(gold, rf"{amount}\text{{ {small}}}")


@MANY
@given(st.lists(WHOLE, min_size=2, max_size=5, unique=True), st.randoms(use_true_random=False))
def test_a_set_and_a_tuple(items: list[int], lots: object) -> None:
    mixed = list(items)
    lots.shuffle(mixed)  # type: ignore[attr-defined]
    inside, moved = ", ".join(map(str, items)), ", ".join(map(str, mixed))
    gold = rf"\{{{inside}\}}"
    assert _right(gold, rf"\{{{moved}\}}")
    assert _right(gold, f"FiniteSet({moved})")
    assert _right(gold, f"{{{moved}}}")
    assert _right(inside, moved)
    assert not _right(gold, rf"\{{{moved}, 123456\}}")
    assert _right(f"({inside})", rf"\left({inside}\right)")
    assert _right(f"({inside})", f"({moved})") == (items == mixed)


@MANY
@given(WHOLE, WHOLE, st.booleans(), st.booleans())
def test_an_interval(first: int, second: int, low: bool, high: bool) -> None:
    assume(first != second)
    start, end = sorted((first, second))
    gold = f"{'(['[low]}{start}, {end}{')]'[high]}"
    sign = {True: r"\le", False: "<"}
    spellings = [
        rf"{start} {sign[low]} x {sign[high]} {end}",
        rf"x \in {gold}",
        rf"\{{x \mid {start} {sign[low]} x {sign[high]} {end}\}}",
        f"{']['[low]}{start}; {end}{'[]'[high]}",
        f"Interval({start}, {end}, {not low}, {not high})",
    ]
    assert all(_right(gold, spelling) for spelling in spellings)
    assert not _right(gold, rf"{start} {sign[not low]} x {sign[high]} {end}")
    assert not _right(gold, rf"{start} {sign[low]} x {sign[high]} {end + 1}")


@MANY
@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 23), st.integers(0, 59))
def test_a_time_is_no_ratio(hour: int, minute: int, other: int, minutes: int) -> None:
    gold = f"{hour}:{minute:02}"
    half = "AM" if hour < 12 else "PM"
    assert _right(gold, f"{hour:02}:{minute:02}:00")
    assert _right(gold, rf"{hour % 12 or 12}:{minute:02}\text{{ {half}}}")
    assume((hour, minute) != (other, minutes))
    assert not _right(gold, f"{other}:{minutes:02}")


@MANY
@given(st.sampled_from("xyzabn"), WHOLE, st.sampled_from("xyzabn"))
def test_a_name_is_part_of_the_claim(name: str, value: int, other: str) -> None:
    gold = f"{name}_1 = {value}"
    assert _right(gold, f"{name}_{{1}}={value}")
    assert _right(gold, str(value))
    assert not _right(gold, f"{name}_2 = {value}")
    assert _right(f"{name}={value}", f"{other}={value}") == (name == other)
