"""Published gold answers against themselves and against one another."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tirgen.verification import extract_answer, verify

GOLDS = {
    "gsm8k_test": lambda row: row["answer"].rpartition("####")[2].strip(),
    "gsm_hard_test": lambda row: str(row["target"]),
    "math_test": lambda row: extract_answer(row["solution"]),
    "aime24": lambda row: row["answer"],
    "amc23": lambda row: str(row["answer"]),
    "minerva_math": lambda row: extract_answer(row["solution"]),
    "olympiadbench": lambda row: ", ".join(row["final_answer"]),
}


def _golds(folder: Path, name: str) -> list[str]:
    lines = (folder / "problems" / f"{name}.jsonl").read_text().splitlines()
    return [GOLDS[name](json.loads(line)) for line in lines]


@pytest.mark.parametrize("name", GOLDS)
def test_every_gold_answer_verifies_against_itself(benchmark_files: Path, name: str) -> None:
    golds = _golds(benchmark_files, name)
    assert all(golds)
    wrong = [gold for gold in golds if not verify(gold, f"\\boxed{{{gold}}}").correct]
    assert wrong == []


@pytest.mark.parametrize("name", ["gsm8k_test", "gsm_hard_test", "aime24", "amc23"])
def test_numbers_are_accepted_however_they_are_written(benchmark_files: Path, name: str) -> None:
    for gold in _golds(benchmark_files, name)[:300]:
        number = gold.replace(",", "")
        value = re.sub(r"\.0$", "", number)
        assert verify(gold, rf"\boxed{{{value}}}").correct
        assert verify(gold, rf"It costs $\boxed{{\${value}.}}$").correct or "." in value
        assert not verify(gold, rf"\boxed{{9{value.lstrip('-')}}}").correct


@pytest.mark.parametrize("name", ["gsm8k_test", "gsm_hard_test", "aime24", "amc23"])
def test_another_row_s_answer_is_wrong_unless_equal(benchmark_files: Path, name: str) -> None:
    golds = _golds(benchmark_files, name)
    for gold, other in pairwise(golds):
        same = float(gold.replace(",", "")) == float(other.replace(",", ""))
        assert verify(gold, rf"\boxed{{{other}}}").correct == same


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
        if verdict.correct != _same_number(row["gt"], row["pred"][0]):
            disagreed.append((row["gt"], row["pred"][0], verdict))
    assert len(disagreed) <= 0.005 * 1319, disagreed


def _same_number(gold: str, answer: str) -> bool:
    try:
        return abs(float(gold.replace(",", "")) - float(answer.replace(",", ""))) < 1e-6
    except ValueError:
        return False
