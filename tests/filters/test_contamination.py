"""Planted copies and paraphrases are found, and what they were is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from storage.records import Problem
from tirgen.data.contamination import Benchmarks, load_benchmarks
from tirgen.filters.apply import filter_rows
from tirgen.filters.filter_config import FilterConfig, Rule

SHARED = Path(os.environ.get("TIRGEN_SHARED", Path(__file__).parents[3] / "shared"))
FILES = SHARED / "data" / "problems"
LONG = (
    "A farmer plants 12 rows of corn with 15 stalks each and then sells a third of all the stalks "
    "to his neighbour for 2 dollars a stalk. How much money does he get?"
)


def problem(name: str, question: str) -> Problem:
    return Problem(problem_id=name, source="bench", question=question, answer="1")


def test_the_three_tests_and_what_they_matched() -> None:
    benchmarks = Benchmarks([problem("b1", LONG), problem("b2", "How many divisors has 196?")], 0.5)
    embedded = LONG.split(". How")[0] + " and buys a goat with it. How many goats, at 40 each?"
    findings = [
        benchmarks.find(question)
        for question in (LONG.upper(), embedded, "How many divisors does 196 have?")
    ]
    assert [str(f).split()[0].rstrip(":") for f in findings] == ["exact", "13-gram", "similar"]
    assert [f and f.benchmark_problem for f in findings] == ["b1", "b1", "b2"]


def test_wording_that_a_benchmark_itself_repeats_proves_nothing() -> None:
    tail = " Express your answer as a common fraction in lowest terms with no units after it."
    questions = [f"{word}?{tail}" for word in ("Apples", "Bridges", "Candles")]
    benchmarks = Benchmarks([problem(q, q) for q in questions], 0.5)
    assert (
        benchmarks.find(f"What is the slope of the line through both given points?{tail}") is None
    )


def test_a_contaminated_row_is_dropped_by_name(make_trajectory: Any, tmp_path: Path) -> None:
    bench = tmp_path / "bench.jsonl"
    bench.write_text(json.dumps({"id": 7, "question": LONG, "answer": "120"}) + "\n")
    config = FilterConfig(against=(str(bench),))
    leaked, clean = filter_rows(
        [make_trajectory(problem="p1", question=LONG + "!"), make_trajectory(problem="p2")],
        config,
        seed=0,
    )
    assert [(v.rule, v.reason) for v in leaked.filters if not v.kept] == [
        (Rule.CONTAMINATED, "exact: bench-7")
    ]
    assert clean.kept


@pytest.mark.skipif(not FILES.exists(), reason=f"no {FILES}")
def test_planted_copies_and_paraphrases_of_real_benchmarks_are_found() -> None:
    benchmarks = load_benchmarks(
        (str(FILES / "gsm8k_test.jsonl"), str(FILES / "math_test.jsonl")), 0.5
    )
    planted = {
        "Find $\\tan 330^{\\circ}$.": "math_test",
        "How many positive whole number divisors does 196 have?": "math_test",
        "A robe needs 2 bolts of blue fiber and half as much white fiber. How many bolts does it "
        "take in total?": "gsm8k_test",
        "Janet's ducks lay sixteen eggs each day. She eats three for breakfast each morning and "
        "bakes muffins for friends daily with four. She sells the rest at the farmers' market for "
        "$2 per fresh duck egg. How much money in dollars does she make daily?": "gsm8k_test",
    }
    for question, source in planted.items():
        finding = benchmarks.find(question)
        assert finding is not None, question
        assert finding.benchmark_problem.startswith(source)
    fresh = ["Compute $\\tan 331^\\circ$.", "What is 17 plus 25?", "How many divisors has 197?"]
    assert [benchmarks.find(question) for question in fresh] == [None] * 3


@pytest.mark.skipif(not FILES.exists(), reason=f"no {FILES}")
def test_benchmarks_of_other_makers_are_hardly_touched() -> None:
    """GSM-Hard is GSM8K with other numbers and is all found; OlympiadBench is not."""
    benchmarks = load_benchmarks(
        (str(FILES / "gsm8k_test.jsonl"), str(FILES / "math_test.jsonl")), 0.5
    )

    def found(name: str, field: str) -> float:
        rows = [json.loads(line) for line in (FILES / name).read_text().splitlines()]
        return sum(benchmarks.find(row[field]) is not None for row in rows) / len(rows)

    assert found("gsm_hard_test.jsonl", "input") > 0.95
    assert found("olympiadbench.jsonl", "question") < 0.01
