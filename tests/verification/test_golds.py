"""Published gold answers against themselves and against one another."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks._golds import GOLDS, golds, judged, same_number, shuffled, spelled_alike
from tirgen.verification import Verifier, verify


@pytest.mark.parametrize("name", GOLDS)
def test_every_gold_answer_verifies_against_itself(benchmark_files: Path, name: str) -> None:
    answers = golds(benchmark_files, name)
    assert all(answers)
    wrong = [gold for gold in answers if not verify(gold, f"\\boxed{{{gold}}}").correct]
    assert wrong == []


@pytest.mark.parametrize("name", ["gsm8k_test", "gsm_hard_test", "aime24", "amc23"])
def test_numbers_are_accepted_however_they_are_written(benchmark_files: Path, name: str) -> None:
    for gold in golds(benchmark_files, name)[:300]:
        number = gold.replace(",", "")
        value = re.sub(r"\.0$", "", number)
        assert verify(gold, rf"\boxed{{{value}}}").correct
        assert verify(gold, rf"It costs $\boxed{{\${value}.}}$").correct or "." in value
        assert not verify(gold, rf"\boxed{{9{value.lstrip('-')}}}").correct


@pytest.mark.parametrize("name", ["gsm8k_test", "gsm_hard_test", "aime24", "amc23"])
def test_another_row_s_answer_is_wrong_unless_equal(benchmark_files: Path, name: str) -> None:
    answers = golds(benchmark_files, name)
    for gold, other in pairwise(answers):
        same = float(gold.replace(",", "")) == float(other.replace(",", ""))
        assert verify(gold, rf"\boxed{{{other}}}").correct == same


@pytest.mark.parametrize("name", ["math_test", "minerva_math", "olympiadbench"])
async def test_another_row_s_expression_is_wrong_unless_it_is_the_same(
    benchmark_files: Path, name: str
) -> None:
    """A sample; `python -m benchmarks recorded` shuffles whole files."""
    pairs = shuffled(golds(benchmark_files, name)[:400], seed=0)
    async with Verifier() as verifier:
        verdicts = await judged(verifier, pairs)
    right = [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.correct]
    assert [pair for pair in right if not (spelled_alike(*pair) or same_number(*pair))] == []
    unread = [verdict.reason for verdict in verdicts if not verdict.is_decided]
    assert len(unread) <= 0.03 * len(pairs), unread


def test_recorded_verdicts_of_the_publisher_are_met(benchmark_files: Path) -> None:
    """Four models' recorded GSM8K answers: agreement with the recorded `is_correct`."""
    lines = (benchmark_files / "recorded" / "gsm8k_model_solutions.jsonl").read_text().splitlines()
    agreed = total = 0
    for row in map(json.loads, lines):
        gold = row["ground_truth"].rpartition("A:")[2].strip()
        for solution in (row[model] for model in row if isinstance(row[model], dict)):
            verdict = verify(gold, solution["solution"], require_box=False)
            agreed += verdict.correct == solution["is_correct"]
            total += 1
    assert total == 4 * 1319
    assert agreed / total >= 0.995


def test_recorded_tora_answers_get_the_verdict_of_their_numbers(benchmark_files: Path) -> None:
    path = benchmark_files / "recorded" / "tora_code_34b_gsm8k.jsonl"
    disagreed: list[Any] = []
    for row in map(json.loads, path.read_text().splitlines()):
        verdict = verify(row["gt"], row["code"][0], require_box=False)
        if verdict.correct != same_number(row["gt"], row["pred"][0]):
            disagreed.append((row["gt"], row["pred"][0], verdict))
    assert len(disagreed) <= 0.005 * 1319, disagreed
