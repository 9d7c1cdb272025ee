"""Recorded claims are computed, corrected and retold consistently."""

import random

import pytest

from benchmarks._claims import CLAIM, Corrections, computed, is_rounding, python_of, retell
from benchmarks._slips import spoil

QUESTION = "Tom has 3 bags of 14 apples and gives 9 away. How many are left?"
SOLUTION = "He has 3*14 = <<3*14=42>>42 apples.\nSo 42-9 = <<42-9=33>>33 are left.\nA: 33"


@pytest.mark.parametrize(
    ("expression", "python"),
    [
        ("16-3-4", "16-3-4"),
        (" 9 * 2 ", "9 * 2"),
        ("20,000/400", "20000/400"),
        ("50000*5%", "50000*(5/100)"),
        ("2*1/2", "2*1/2"),
        ("6", None),
        ("x+56", None),
        ("5+2(3)", None),
        ("4*2=8", None),
        ("2:15+2:38", None),
        ("__import__('os')*2", None),
        ("", None),
    ],
)
def test_only_plain_arithmetic_is_computed(expression: str, python: str | None) -> None:
    assert python_of(expression) == python


@pytest.mark.parametrize(
    ("claim", "actual", "holds"),
    [
        ("18", 18.0, True),
        ("18.0", 18, True),
        ("2,520", 2520, True),
        ("3.33", 10 / 3, True),
        ("3.34", 10 / 3, False),
        ("3", 10 / 3, False),
        ("235.6", 235.60000000000002, True),
        ("19", 18, False),
        ("x", 18, False),
    ],
)
def test_a_rounded_claim_holds_and_a_wrong_one_does_not(
    claim: str, actual: float, holds: bool
) -> None:
    assert is_rounding(claim, actual) is holds


def test_a_step_is_retold_from_the_outputs_in_order() -> None:
    step = "He has 3*14 = <<3*14=40>>40, so 40-9 = <<40-9=31>>31 are left of 40."
    assert retell(step, []).next_expression == "3*14"
    assert retell(step, ["42"]).next_expression == "42-9"
    told = retell(step, ["42", "33"])
    assert told.text == "He has 3*14 = 42, so 42-9 = 33 are left of 42."
    assert (told.next_expression, told.used) == (None, 2)


def test_a_right_claim_keeps_its_wording() -> None:
    step = "It costs 840*3=$<<840*3=2520>>2,520.00 a week"
    assert retell(step, ["2520.0"]).text == "It costs 840*3=$2,520.00 a week"


def test_a_signed_result_is_stated_once() -> None:
    assert retell("450 - 468 = <<450-468=-18>>-18", ["-18"]).text == "450 - 468 = -18"


def test_a_step_without_arithmetic_stays_as_it_is() -> None:
    step = "So x+56 = <<x+56=86>>86 and x is 30."
    assert retell(step, []) == (step, None, 0)


def test_numbers_of_the_question_are_left_alone() -> None:
    corrections = Corrections("There are 40 days.")
    corrections.learn("40", "42")
    corrections.learn("31", "33")
    assert corrections.apply("In 40 days he eats 31.") == "In 40 days he eats 33."
    assert corrections.apply("A: 40") == "A: 42"


def test_a_value_computed_rightly_later_is_no_longer_corrected() -> None:
    corrections = Corrections()
    corrections.learn("40", "42")
    corrections.learn("40", "40")
    assert corrections.apply("40 and 401") == "40 and 401"


@pytest.mark.parametrize("seed", range(8))
def test_a_slip_is_carried_on_to_the_answer(seed: int) -> None:
    spoilt = spoil(QUESTION, SOLUTION, random.Random(seed))
    assert spoilt is not None
    wrong = [c for c in CLAIM.finditer(spoilt) if not is_rounding(c["value"], computed(c))]
    assert len(wrong) == 1
    first, second = CLAIM.finditer(spoilt)
    assert second["expression"] == f"{first['value']}-9"
    assert spoilt.endswith(f"A: {second['value']}")
    assert second["value"] != "33"


def test_nothing_is_spoilt_where_nothing_is_claimed() -> None:
    assert spoil(QUESTION, "It is 33.\nA: 33", random.Random(0)) is None
