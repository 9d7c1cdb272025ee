from __future__ import annotations

import asyncio
from typing import Any

import pytest

from storage.records import Verdict
from tirgen.verification import Verifier, WorkerLimits, verify
from tirgen.verification.judge import judge
from tirgen.verification.normalise import normalise


async def _verdicts(pairs: list[dict[str, Any]]) -> list[Verdict]:
    async with Verifier(limits=WorkerLimits(cpu_seconds=2)) as verifier:
        return await asyncio.gather(
            *(verifier.verify(pair["gold"], pair["response"]) for pair in pairs)
        )


@pytest.fixture(scope="module")
def judged(pairs: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Verdict]]:
    return list(zip(pairs, asyncio.run(_verdicts(pairs)), strict=True))


def _wrong(judged: list[tuple[dict[str, Any], Verdict]], hostile: bool, correct: bool) -> list[str]:
    return [
        f"{pair['gold']} | {pair['response']} | {verdict.method}: {verdict.reason}"
        for pair, verdict in judged
        if pair["hostile"] == hostile and verdict.correct == correct != pair["correct"]
    ]


def test_the_set_is_large_and_mixed(pairs: list[dict[str, Any]]) -> None:
    assert len(pairs) >= 300
    assert sum(pair["hostile"] for pair in pairs) >= 60
    firm = [pair for pair in pairs if not pair["hostile"]]
    assert 0.5 < sum(pair["correct"] for pair in firm) / len(firm) < 0.8


def test_no_hostile_response_is_called_correct(judged: Any) -> None:
    assert _wrong(judged, hostile=True, correct=True) == []


def test_at_most_one_percent_of_firm_pairs_are_wrongly_called_correct(judged: Any) -> None:
    mistakes = _wrong(judged, hostile=False, correct=True)
    assert len(mistakes) <= 0.01 * len(judged), mistakes


def test_at_most_three_percent_of_firm_pairs_are_wrongly_called_wrong(judged: Any) -> None:
    mistakes = _wrong(judged, hostile=False, correct=False)
    assert len(mistakes) <= 0.03 * len(judged), mistakes


def test_every_verdict_names_its_method_and_reason(judged: Any) -> None:
    assert all(verdict.method and verdict.reason for _, verdict in judged)


def _symbolic_is_not_needed(gold: str, answer: str) -> Verdict:
    raise AssertionError(f"asked for a worker: {gold} and {answer}")


@pytest.mark.parametrize(
    ("gold", "answer", "method"),
    [
        ("18", "18", "equal"),
        ("27.0", "27", "exact"),
        (r"\frac{1}{2}", "0.5", "exact"),
        ("3 1/2", "3.5", "exact"),
        ("1010_2", "1011_2", "base"),
        (r"\text{east}", r"\text{seat}", "text"),
        ("(D)", r"\text{D}) 12", "choice"),
        ("[0,1]", "[0,1)", "shape"),
        (r"5\text{ cm}", r"50\text{ mm}", "units"),
        ("3", "3 or 4", "hedge"),
        ("3", "x > 2", "relation"),
        ("5", "9^{9^{9}}", "guard"),
        ("x=5", "y=5", "name"),
    ],
)
def test_cheap_layers_decide_without_a_worker(gold: str, answer: str, method: str) -> None:
    assert judge(gold, answer, _symbolic_is_not_needed).method == method


def test_a_reason_is_readable() -> None:
    documented = verify(r"\frac{1}{2}", r"So the probability is $\boxed{0.5}$.")
    assert documented == Verdict(correct=True, method="exact", reason=r"\frac{1}{2} = 0.5")
    assert verify("36", r"\boxed{37}").reason == "exact: 36 vs 37"
    assert verify("36", "no box").reason == "no boxed answer"


def test_a_gold_answer_may_come_in_its_own_box() -> None:
    assert verify(r"Thus $\boxed{\frac{3}{4}}$.", r"\boxed{0.75}").correct


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (r"\dfrac12", r"\frac{1}{2}"),
        (r"\left( 1 , 2 \right)", "( 1 , 2 )"),
        (r"2^10", r"2^{10}"),
        (r"x²", r"x^{2}"),
        (r"−3", "-3"),
        (r"1{,}000", "1,000"),
        (r"5\mathrm{~cm}", r"5\text{ cm}"),
        (r"90°", r"90^{\circ}"),
        ("$12$.", "12"),
        ("4\u200b2", "42"),
    ],
)
def test_spellings_are_normalised(left: str, right: str) -> None:
    assert normalise(left) == normalise(right)


def test_normalising_twice_changes_nothing(pairs: list[dict[str, Any]]) -> None:
    for pair in pairs:
        once = normalise(pair["gold"])
        assert normalise(once) == once


@pytest.mark.parametrize(
    "gold",
    ["", "$ $", r"\{n : \exists k \ldots", "9^{9^{9}}", "x" * 2000, "1 & & 2", r"(3, \foo{x)"],
)
def test_a_gold_answer_that_cannot_be_read_makes_nothing_wrong(gold: str) -> None:
    verdict = verify(gold, r"\boxed{5}")
    assert (verdict.correct, verdict.method, verdict.is_decided) == (False, "unverifiable", False)


def test_a_sentence_is_verified_by_its_spelling_only() -> None:
    gold = r"\text{the line through the midpoint of AB that is perpendicular to AB}"
    assert verify(gold, rf"\boxed{{{gold}}}").correct
    assert not verify(gold, r"\boxed{\text{the perpendicular bisector of AB}}").is_decided


def test_hardly_a_gold_answer_of_the_labelled_pairs_is_unverifiable(judged: Any) -> None:
    unread = {pair["gold"] for pair, verdict in judged if not verdict.is_decided}
    assert len(unread) <= 3, unread
