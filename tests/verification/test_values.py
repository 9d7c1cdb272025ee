r"""Metamorphic: every spelling the field uses of a value is right, of a different value wrong."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tirgen.verification.judge import judge
from tirgen.verification.symbolic import decide

EXAMPLES = int(os.environ.get("TIRGEN_EXAMPLES", "30"))
MANY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="TIRGEN_EXAMPLES" not in os.environ,  # the slow form draws new ones each time
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
WHOLE = st.integers(-9999, 9999)
SMALL = st.integers(2, 40)
PART = st.builds(Fraction, st.integers(-300, 300), st.integers(2, 99)).filter(
    lambda part: part.denominator > 1
)
UNITS = st.sampled_from([("cm", "m", 100), ("minutes", "hours", 60), ("g", "kg", 1000)])
ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def _right(gold: str, answer: str) -> bool:
    return judge(gold, answer, decide).correct


@dataclass(frozen=True)
class Kind:
    """Random values of one type, and all spellings of one; the first is the gold answer."""

    values: st.SearchStrategy[Any]
    spell: Callable[[Any], list[str]]


def _whole(value: int) -> list[str]:
    wide = "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in str(value))
    return [
        str(value), f"{value}.0", f"{value:,}", f"**{value}**", f"`{value}`", rf"\text{{{value}}}",
        rf"{value}\text{{ apples}}", f"np.float64({value}.0)", wide, f"{value} 个", f"{value}개",
        f"x = {value}", rf"\text{{The answer is }} {value}", f"{value:,}".replace(",", "{,}"),
        f"{value}_000"[:-4], f"${value}$", rf"\mathbf{{{value}}}", f"{value}.", f"Float({value}.0)",
    ]  # fmt: skip


def _fraction(value: Fraction) -> list[str]:
    top, bottom, sign = value.numerator, value.denominator, "-" * (value < 0)
    whole, rest = divmod(abs(top), bottom)
    mixed = rf"{sign}{whole}\frac{{{rest}}}{{{bottom}}}" if whole and rest else f"{top}/{bottom}"
    return [
        rf"\frac{{{top}}}{{{bottom}}}", f"{top}/{bottom}",
        rf"{sign}\dfrac{{{abs(top)}}}{{{bottom}}}",
        rf"\left(\tfrac{{{3 * top}}}{{{3 * bottom}}}\right)", f"Rational({top}, {bottom})",
        f"Fraction({top}, {bottom})", rf"x = \frac{{{top}}}{{{bottom}}}", mixed, repr(top / bottom),
        rf"\text{{The answer is }} \frac{{{top}}}{{{bottom}}}", rf"${top} \div {bottom}$",
        rf"{top} \cdot {bottom}^{{-1}}", f"{top}*{bottom}**(-1)", rf"\frac{{{-top}}}{{{-bottom}}}",
    ]  # fmt: skip


def _percent(value: int) -> list[str]:
    return [rf"{value}\%", f"{value}%", f"{value} percent", rf"{value}\text{{ percent}}",
            f"{value}",
            f"{value / 100}", rf"\frac{{{value}}}{{100}}", f"{value}％"]  # fmt: skip


def _scientific(value: tuple[int, int]) -> list[str]:
    digits, power = value
    mantissa = f"{digits / 100:.2f}"
    return [rf"{mantissa} \times 10^{{{power}}}", rf"{mantissa} \cdot 10^{{{power}}}",
            f"{mantissa}e{power}", f"{mantissa}E{power:+d}", f"{mantissa}*10**{power}",
            rf"{digits}\times 10^{{{power - 2}}}"]  # fmt: skip


def _money(value: int) -> list[str]:
    return [rf"\${value}", f"${value}", f"{value} dollars", rf"{value}\text{{ dollars}}",
            f"${value}.00", rf"\text{{\${value}}}", str(value), f"US\\${value}"]  # fmt: skip


def _angle(value: int) -> list[str]:
    return [rf"{value}^\circ", rf"{value}^{{\circ}}", f"{value}°", f"{value} degrees", str(value),
            rf"\frac{{{value}\pi}}{{180}}", rf"\angle ABC = {value}^\circ",
            rf"{value}\text{{ degrees}}", rf"{value}\degree"]  # fmt: skip


def _ratio(value: tuple[int, int]) -> list[str]:
    a, b = value
    return [
        f"{a}:{b}",
        f"{a} : {b}",
        f"{2 * a}:{2 * b}",
        rf"{a} \text{{ to }} {b}",
        rf"\frac{{{a}}}{{{b}}}",
    ]


def _base(value: int) -> list[str]:
    digits = f"{value:b}"
    return [f"{digits}_2", f"{digits}_{{2}}", f"({digits})_2", rf"{digits}_{{\text{{two}}}}",
            digits,
            rf"{digits} \text{{ in base }} 2", rf"{digits}_{{(2)}}"]  # fmt: skip


def _complex(value: tuple[int, int]) -> list[str]:
    a, b = value
    return [f"{a}+{b}i", f"{b}i+{a}", f"({a}+{b}j)", f"{a} + {b}*I", rf"z = {a} + {b}i",
            f"{a}+{b}*i"]  # fmt: skip


def _tuple(value: tuple[int, int, int]) -> list[str]:
    a, b, c = value
    return [f"({a}, {b}, {c})", f"({a},{b},{c})", rf"\left({a}, {b}, {c}\right)",
            rf"(x, y, z) = ({a}, {b}, {c})", rf"x = {a}, y = {b}, z = {c}", f"（{a}，{b}，{c}）",
            rf"\langle {a}, {b}, {c} \rangle",
            rf"\begin{{pmatrix}} {a} \\ {b} \\ {c} \end{{pmatrix}}"]  # fmt: skip


def _set(value: frozenset[int]) -> list[str]:
    items = [str(item) for item in sorted(value)]
    mixed = list(reversed(items))
    inside, turned = ", ".join(items), ", ".join(mixed)
    return [rf"\{{{inside}\}}", rf"\{{{turned}\}}", turned, f"FiniteSet({turned})", f"{{{turned}}}",
            " and ".join(mixed), rf"\left\{{{turned}\right\}}", rf"x \in \{{{turned}\}}",
            ", ".join(f"x = {item}" for item in mixed),
            rf"\text{{{' or '.join(mixed)}}}"]  # fmt: skip


def _interval(value: tuple[int, int, bool, bool]) -> list[str]:
    start, length, low, high = value
    end, sign = start + length, {True: r"\le", False: "<"}
    gold = f"{'(['[low]}{start}, {end}{')]'[high]}"
    return [
        gold, rf"{start} {sign[low]} x {sign[high]} {end}", rf"x \in {gold}",
        rf"\{{x \mid {start} {sign[low]} x {sign[high]} {end}\}}",
        f"{']['[low]}{start}; {end}{'[]'[high]}",
        f"Interval({start}, {end}, {not low}, {not high})",
        rf"\left{gold[0]}{start}, {end}\right{gold[-1]}",
    ]  # fmt: skip


def _union(value: tuple[int, int]) -> list[str]:
    low, length = value
    high = low + length
    return [rf"(-\infty, {low}) \cup ({high}, \infty)", rf"x < {low} \text{{ or }} x > {high}",
            rf"({high}, +\infty) \cup (-\infty, {low})", f"(-oo, {low}) U ({high}, oo)",
            f"Union(Interval.open(-oo, {low}), Interval.open({high}, oo))",
            rf"x \in (-\infty, {low}) \cup ({high}, \infty)"]  # fmt: skip


def _matrix(value: tuple[int, int, int, int]) -> list[str]:
    a, b, c, d = value
    rows = rf"{a} & {b} \\ {c} & {d}"
    return [rf"\begin{{pmatrix}} {rows} \end{{pmatrix}}",
            rf"\begin{{bmatrix}}{rows}\end{{bmatrix}}",
            f"[[{a}, {b}], [{c}, {d}]]", f"Matrix([[{a}, {b}], [{c}, {d}]])",
            rf"A = \begin{{pmatrix}} {rows} \end{{pmatrix}}",
            rf"\left[\begin{{array}}{{cc}} {rows} \end{{array}}\right]"]  # fmt: skip


def _root(value: tuple[int, int]) -> list[str]:
    a, b = value[0], 4 * value[1] + 2
    return [rf"{a}\sqrt{{{b}}}", f"{a}*sqrt({b})", rf"\sqrt{{{a * a * b}}}", f"sqrt({b})*{a}",
            rf"{a} \cdot {b}^{{1/2}}", f"{a}√{b}", rf"x = {a}\sqrt{{{b}}}"]  # fmt: skip


def _polynomial(value: tuple[int, int]) -> list[str]:
    p, q = value
    return [rf"x^2 + {p + q}x + {p * q}", rf"(x+{p})(x+{q})", f"x**2 + {p + q}*x + {p * q}",
            rf"{p * q} + {p + q}x + x^2", rf"f(x) = x^{{2}} + {p + q} x + {p * q}",
            rf"x(x + {p + q}) + {p * q}", f"x² + {p + q}x + {p * q}"]  # fmt: skip


def _line(value: tuple[int, int]) -> list[str]:
    m, b = value
    return [f"y = {m}x + {b}", f"{m}x - y + {b} = 0", f"y - {b} = {m}x",
            rf"{2 * m}x - 2y = -{2 * b}",
            f"y = {b} + {m}x", rf"x = \frac{{y - {b}}}{{{m}}}"]  # fmt: skip


def _named(value: tuple[int, int]) -> list[str]:
    a, b = value
    return [rf"{a}\text{{ boys}}, {b}\text{{ girls}}", rf"{b}\text{{ girls}}, {a}\text{{ boys}}",
            f"{a}, {b}", rf"\text{{boys: }} {a}, \text{{girls: }} {b}",
            rf"{a}\text{{ boys and }} {b}\text{{ girls}}"]  # fmt: skip


def _parts(value: tuple[int, int]) -> list[str]:
    a, b = value
    return [f"(a) {a}; (b) {b}", f"(a) {a}, (b) {b}", f"{a}, {b}",
            rf"\text{{(a) }} {a} \quad \text{{(b) }} {b}"]  # fmt: skip


def _choice(value: str) -> list[str]:
    return [value, f"({value})", rf"\text{{{value}}}", rf"\textbf{{({value})}}", f"{value}.",
            f"{value})", f"Option {value}", rf"\text{{({value})}}",
            rf"\mathrm{{{value}}}"]  # fmt: skip


def _word(value: int) -> list[str]:
    return [str(value), ONES[value], ONES[value].capitalize(), rf"\text{{{ONES[value]}}}",
            rf"\text{{{ONES[value]} apples}}"]  # fmt: skip


def _date(value: tuple[int, str]) -> list[str]:
    day, month = value
    return [rf"\text{{{month} {day}}}", f"{month} {day}", f"{day} {month}", f"{month} {day}th",
            rf"\text{{{month[:3]}. {day}}}"]  # fmt: skip


def _residue(value: tuple[int, int]) -> list[str]:
    modulus, rest = value[0] + 2, value[1] % (value[0] + 2)
    return [rf"{rest} \pmod{{{modulus}}}", rf"{rest} \bmod {modulus}",
            rf"x \equiv {rest} \pmod{{{modulus}}}",
            rf"{rest + modulus} \pmod {modulus}", rf"\text{{{rest} mod {modulus}}}"]  # fmt: skip


PAIR = st.tuples(SMALL, SMALL)
KINDS = {
    "whole number": Kind(WHOLE, _whole),
    "fraction": Kind(PART, _fraction),
    "percent": Kind(st.integers(3, 299), _percent),  # 400% reads as 4, too
    "scientific": Kind(st.tuples(st.integers(101, 999), st.integers(3, 20)), _scientific),
    "money": Kind(st.integers(2, 900), _money),
    "angle": Kind(st.integers(1, 359), _angle),
    "ratio": Kind(st.tuples(st.integers(1, 19), st.sampled_from([61, 67, 71])), _ratio),
    "base": Kind(st.integers(2, 500), _base),
    "complex": Kind(PAIR, _complex),
    "tuple": Kind(st.tuples(WHOLE, WHOLE, WHOLE), _tuple),
    "set": Kind(st.frozensets(st.integers(-50, 50), min_size=2, max_size=5), _set),
    "interval": Kind(st.tuples(WHOLE, SMALL, st.booleans(), st.booleans()), _interval),
    "union": Kind(st.tuples(WHOLE, SMALL), _union),
    "matrix": Kind(st.tuples(WHOLE, WHOLE, WHOLE, WHOLE), _matrix),
    "root": Kind(PAIR, _root),
    "polynomial": Kind(st.tuples(SMALL, st.just(1)), _polynomial),
    "line": Kind(PAIR, _line),
    "named amounts": Kind(PAIR, _named),
    "parts": Kind(PAIR, _parts),
    "choice": Kind(st.sampled_from("ABCDE"), _choice),
    "number word": Kind(st.integers(1, 9), _word),
    "date": Kind(st.tuples(st.integers(4, 20), st.sampled_from(["May", "June", "July"])), _date),
    "residue": Kind(PAIR, _residue),
}


@pytest.mark.parametrize("name", KINDS)
@MANY
@given(data=st.data())
def test_every_spelling_of_a_value_is_right_and_of_another_wrong(
    name: str, data: st.DataObject
) -> None:
    kind = KINDS[name]
    value, other = data.draw(kind.values), data.draw(kind.values)
    gold, *spellings = kind.spell(value)
    assert [text for text in spellings if not _right(gold, text)] == []
    others = kind.spell(other)
    assume(not set(others) & {gold, *spellings})
    assert [text for text in others if _right(gold, text)] == []


@MANY
@given(PART, st.integers(2, 6))
def test_a_gold_decimal_is_a_rounding(value: Fraction, places: int) -> None:
    gold = f"{float(round(value, places)):.{places}f}"
    shown = float(gold)
    assume(abs(shown) >= 1 and abs(shown - value) > 0)
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
@given(st.lists(WHOLE, min_size=2, max_size=5, unique=True), st.integers())
def test_a_tuple_has_an_order(items: list[int], seed: int) -> None:
    mixed = random.Random(seed).sample(items, len(items))
    inside, moved = ", ".join(map(str, items)), ", ".join(map(str, mixed))
    assert _right(inside, moved)
    assert _right(f"({inside})", f"({moved})") == (items == mixed)
    assert not _right(rf"\{{{inside}\}}", rf"\{{{moved}, 123456\}}")


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


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (r"\text{boys: } 2, \text{girls: } 3", True),
        (r"\text{girls} = 3, \text{boys} = 2", True),
        (r"3\text{ girls}, 2\text{ boys}", True),
        ("2, 3", True),
        ("(2, 3)", True),
        (r"\text{boys: } 3, \text{girls: } 2", False),
        (r"3\text{ boys}, 2\text{ girls}", False),
        ("3, 2", False),
        ("(3, 2)", False),
    ],
)
def test_an_amount_belongs_to_its_name_in_every_notation(answer: str, right: bool) -> None:
    for gold in ("2 boys and 3 girls", r"\text{boys: } 2, \text{girls: } 3"):
        assert _right(gold, answer) == right


@pytest.mark.slow
def test_the_same_with_two_thousand_examples_a_kind() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "not slow", __file__]
    subprocess.run(command, env={**os.environ, "TIRGEN_EXAMPLES": "2000"}, check=True)
