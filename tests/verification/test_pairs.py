from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.records import Verdict
from tirgen.verification import Verifier, same_answer, verify
from tirgen.verification.judge import judge
from tirgen.verification.matching import MatchResult
from tirgen.verification.values import Value

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def judged(
    pairs: list[dict[str, Any]], in_process: Callable[[str, str], Verdict]
) -> list[tuple[dict[str, Any], Verdict]]:
    return [(pair, in_process(pair["gold"], pair["response"])) for pair in pairs]


async def test_the_verifier_says_what_is_found_in_process(judged: Any) -> None:
    sample = [(pair, here) for pair, here in judged[::50] if here.method != "timeout"]
    async with Verifier() as verifier:
        there = await asyncio.gather(
            *(verifier.verify(p["gold"], p["response"]) for p, _ in sample)
        )
    assert there == [here for _, here in sample]


def _other_than_labelled(judged: Any) -> set[tuple[str, str]]:
    return {
        (pair["gold"], pair["response"])
        for pair, verdict in judged
        if verdict.correct != pair["correct"]
    }


def test_the_set_is_large_and_mixed(pairs: list[dict[str, Any]]) -> None:
    assert len(pairs) >= 300
    assert sum(pair["hostile"] for pair in pairs) >= 60
    firm = [pair for pair in pairs if not pair["hostile"]]
    assert 0.5 < sum(pair["correct"] for pair in firm) / len(firm) < 0.8


def test_every_pair_gets_its_label_but_the_known_exceptions(judged: Any) -> None:
    """`exceptions.jsonl` names each pair that is judged otherwise, and by which rule."""
    known = {(row["gold"], row["response"]) for row in exceptions()}
    assert _other_than_labelled(judged) == known


def test_no_pair_is_accepted_against_its_label(judged: Any) -> None:
    accepted = {
        (pair["gold"], pair["response"])
        for pair, verdict in judged
        if verdict.correct and not pair["correct"]
    }
    assert accepted == set()
    assert all(row["why"].startswith("missed: ") for row in exceptions())


def test_public_bug_reports_get_their_labels(
    shared: Path, in_process: Callable[[str, str], Verdict]
) -> None:
    rows = _rows(shared / "cases" / "verify.jsonl")
    other = [row for row in rows if _said(in_process, row) != row["expected"]]
    assert other == []


def test_hardverify_answers_get_their_labels_but_the_disputed(
    shared: Path, in_process: Callable[[str, str], Verdict]
) -> None:
    rows = _rows(shared / "cases" / "hardverify_even.jsonl")
    disputed = {(row["id"], row["field"]) for row in _rows(HERE / "disputed.jsonl")}

    def judged_otherwise(field: str, label: bool) -> set[tuple[int, str]]:
        boxed = ((row, rf"\boxed{{{row[field]}}}") for row in rows)
        said = {(row["id"], field): in_process(row["ground_truth"], box) for row, box in boxed}
        return {one for one, verdict in said.items() if verdict.correct != label}

    assert judged_otherwise("tn_output", False) <= disputed
    refused = judged_otherwise("fn_output", True)
    assert len(refused) <= 0.12 * len(rows)
    assert len(refused - disputed) <= 0.03 * len(rows)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _said(in_process: Callable[[str, str], Verdict], row: dict[str, Any]) -> bool:
    return in_process(row["gold"], row["response"]).correct


def test_every_verdict_names_its_method_and_reason(judged: Any) -> None:
    assert all(verdict.method and verdict.reason for _, verdict in judged)


def exceptions() -> list[dict[str, Any]]:
    return _rows(HERE / "exceptions.jsonl")


def _no_worker(gold: Value, answer: Value) -> MatchResult:
    raise AssertionError(f"asked for a worker: {gold} and {answer}")


@pytest.mark.parametrize(
    ("gold", "answer", "rule"),
    [
        ("18", "18", "equal"),
        ("27.0", "27", "number"),
        (r"\frac{1}{2}", "0.5", "number"),
        ("3 1/2", "3.5", "number"),
        ("1010_2", "1011_2", "base"),
        (r"\text{east}", r"\text{seat}", "text"),
        ("(D)", r"\text{D}) 12", "choice"),
        ("[0,1]", "[0,1)", "interval"),
        (r"5\text{ cm}", r"50\text{ mm}", "number"),
        ("3", "3 or 4", "number"),
        ("3", "x > 2", "type"),
        ("x=5", "y=5", "name"),
    ],
)
def test_cheap_rules_decide_without_a_worker(gold: str, answer: str, rule: str) -> None:
    assert judge(gold, answer, _no_worker).method == rule


def test_a_reason_is_readable() -> None:
    documented = verify(r"\frac{1}{2}", r"So the probability is $\boxed{0.5}$.")
    assert (documented.method, documented.reason) == ("number", r"number: \frac{1}{2} = 0.5")
    assert verify("36", r"\boxed{37}").reason == "number: 36 vs 37"
    assert verify("36", "no box").reason == "no boxed answer"


def test_a_gold_answer_may_come_in_its_own_box() -> None:
    assert verify(r"Thus $\boxed{\frac{3}{4}}$.", r"\boxed{0.75}").correct


async def test_exact_digits_reaches_every_comparison(pairs: list[dict[str, Any]]) -> None:
    """Those of rational golds are compared here, those of roots in a worker process."""
    rounded = [pair for pair in pairs if "exact_digits" in pair]
    assert len(rounded) == 8
    async with Verifier(workers=1) as strict, Verifier(workers=1, exact_digits=6) as lenient:
        for pair in rounded:
            asked = pair["gold"], pair["response"]
            assert not (await strict.verify(*asked)).correct
            assert (await lenient.verify(*asked)).correct


@pytest.mark.parametrize(
    ("gold", "answer", "digits", "right"),
    [
        (r"\frac{1}{3}", "0.333333", None, False),
        (r"\frac{1}{3}", "0.33333333333", None, False),
        (r"\frac{1}{3}", "0.333333333333", None, True),
        (r"\frac{1}{3}", "0.3333333333333333", None, True),
        (r"\frac{1}{3}", "0.333333", 6, True),
        (r"\frac{1}{3}", "0.333333", 7, False),
        (r"\frac{1}{3}", "0.333", 3, True),
        (r"\frac{1}{3}", "0.334", 3, False),
        (r"\sqrt{2}", "1.41421", None, False),
        (r"\sqrt{2}", "1.41421", 6, True),
        (r"\sqrt{2}", "1.41422", 6, False),
        (r"x = \pm\sqrt{2}", "x = -1.414214, 1.414214", None, False),
        (r"x = \pm\sqrt{2}", "x = -1.414214, 1.414214", 6, True),
        (r"\sum_{k=1}^{\infty} \frac{1}{k^2}", "1.644934", None, False),
        (r"\sum_{k=1}^{\infty} \frac{1}{k^2}", "1.644934", 6, True),
        (r"\sum_{k=1}^{\infty} \frac{1}{k^2}", "1.644935", 6, False),
        (r"\sum_{k=1}^{\infty} \frac{1}{k^2}", "1.6449340668482264", None, True),
        ("7", "7.0000001", 6, False),
    ],
)
def test_a_decimal_is_an_exact_value_from_its_exact_digits_on(
    gold: str, answer: str, digits: int | None, right: bool
) -> None:
    assert verify(gold, rf"\boxed{{{answer}}}", exact_digits=digits).correct is right


def test_votes_have_the_precision_of_verdicts() -> None:
    assert not same_answer("1/3", "0.333333")
    assert same_answer("1/3", "0.333333", exact_digits=6)
