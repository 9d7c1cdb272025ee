r"""What is compared is the claim: names, precision, languages, and what is undecidable."""

from __future__ import annotations

import pytest

from tirgen.verification import same_answer, undecidable, verify


def _right(gold: str, answer: str) -> bool:
    return verify(gold, rf"\boxed{{{answer}}}").correct


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\sin x = \frac{42}{59}", r"\cos x = \frac{42}{59}"),
        ("f(0)=1", "f'(0)=1"),
        ("1", "f(x)=1"),
        (r"\angle ABC = 40^\circ", r"\angle ACB = 40^\circ"),
        ("P(X=2)=0.25", "P(X=3)=0.25"),
        ("1, 250", "1,250"),
        ("-3, 3", "(3, -3)"),
        ("A(2,3), B(-1,4)", "A(-1,4), B(2,3)"),
        ("P(A)=0.25", "P(B)=0.25"),
        ("12:00", "1:00"),
        (r"14\text{ chickens}, 16\text{ rabbits}", r"16\text{ chickens}, 14\text{ rabbits}"),
        ("a_n = 2n+1", "S_n = 2n+1"),
        (r"\det A = 4", r"\operatorname{tr} A = 4"),
        ("2x+3y=7", "7"),
        ("-x = 5", "x = 5"),
        ("7", r"\text{the opposite is } 7"),
        ("7", "8 (7)"),
        ("42", r"42\text{ or }43"),
        ("15", "不是15"),
        ("15", "答案不是15"),
        (r"\frac{\pi^2}{6}", r"\sum_{n=1}^{\infty} \frac{1}{n^2}"),
        (r"2^{1000}+\sqrt{2}", r"2^{1000}+\sqrt{3}"),
        (r"\frac{1}{1500!}", r"\frac{1}{1502!}"),
    ],
)
def test_another_claim_is_wrong(gold: str, answer: str) -> None:
    assert not _right(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("f(z)=z", "f(x)=x"),
        ("12", r"n(A\cup B)=12"),
        ("45", "C(10,2)"),
        (r"\angle ABC = 40^\circ", r"m\angle CBA = 40^\circ"),
        ("y=Ce^{2x}", "y=Ae^{2x}"),
        ("n=4k+1", "n=4m+1"),
        ("14, 16", r"\text{chickens: }14,\ \text{rabbits: }16"),
        ("x^2+y^2=4", r"\frac{x^2}{4}+\frac{y^2}{4}=1"),
        ("y=2x+1", "2x - y + 1 = 0"),
        ("(f(n), g(n)) = (n, 1)", "f(n)=n, g(n)=1"),
        ("b<a<c", "c > a > b"),
        (r"\binom{n}{k}", r"\frac{n!}{k!(n-k)!}"),
    ],
)
def test_the_same_claim_in_other_names_or_form_is_right(gold: str, answer: str) -> None:
    assert _right(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("30.52", r"\frac{1587}{52}", True),
        (r"\frac{1587}{52}", "30.52", False),
        (r"\frac{\sqrt3}{3}\approx 0.577", r"\frac{1}{\sqrt{3}}", True),
        ("2.5", "2.4999999999999996", True),
        (r"\frac{1}{432}", "2.314814814814815e-3", True),
        ("2+3i", "(2+3j)", True),
        (r"(-\infty, 3)", "Interval.open(-oo, 3)", True),
        ("2.75e11", r"2.8\times10^{11}", False),
        (r"6.67\%", r"\frac{1}{15}", True),
        (r"\pi", "3.14", False),
        ("0.25", "0,25", True),
    ],
)
def test_precision_follows_the_gold(gold: str, answer: str, right: bool) -> None:
    assert _right(gold, answer) == right


@pytest.mark.parametrize(
    ("gold", "answer"),
    [("6", "6 米"), ("6", "6개"), ("4 коробки", "4"), ("1,2", "1或2"), ("①③", "③①"), ("5", "５"),
     ("1/2", "１／２"), ("(1,2)", "（1，2）"), ("2", "2。"), ("没有", r"\text{没有}"),
     ("90 минут", "90"), ("15", "答案是15"), ("8", "一共8个"), ("8", "答えは 8")],
)  # fmt: skip
def test_other_languages_are_read(gold: str, answer: str) -> None:
    assert _right(gold, answer)


@pytest.mark.parametrize(
    "gold",
    ["", "$ $", "x" * 3000, "1 & & 2", r"(3, \foo{x)", r"\text{Draw the line through A and B, "
     r"circle around the middle of AB.}"],
)  # fmt: skip
def test_a_gold_answer_that_nobody_can_judge_by_is_known_before_inference(gold: str) -> None:
    assert undecidable(gold)
    verdict = verify(gold, r"\boxed{5}")
    assert (verdict.correct, verdict.is_decided) == (False, False)


def test_a_verdict_says_what_both_were_read_as() -> None:
    verdict = verify(r"\frac{1}{2}", r"\boxed{0.5}")
    assert (verdict.gold_value, verdict.answer_value) == ("number 1/2", "number 0.5")
    other = verify("(1, 2)", r"\boxed{x^2}")
    assert other.reason.endswith("an expression where a tuple is asked")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("(1,2)", "(1, 2)", True),
        ("1,000", "1000", True),
        ("1/2", "0.5", True),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        ("0.33", "1/3", False),
    ],
)
def test_spellings_of_one_answer_are_the_same_for_votes(
    first: str, second: str, same: bool
) -> None:
    assert same_answer(first, second) is same
    assert same_answer(second, first) is same
