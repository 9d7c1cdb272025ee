from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from storage.records import UNVERIFIABLE, Ending, Opinion, Trajectory
from tests.evaluation.answers import BAD, OK, sample, value
from tirgen.evaluation.results import Analysis, BenchmarkResult, summarise

ROWS = [
    sample("p1", 0, outcomes=(OK, OK), seconds=2.0),
    sample("p1", 1, outcomes=(OK, BAD), answer="2", right=False, corrections=2),
    sample("p2", 0, outcomes=(), answer="5", right=False, ending=Ending.TOKEN_LIMIT),
    sample("p2", 1, outcomes=(BAD,), answer="5", right=False),
]


def figures(rows: Sequence[Trajectory] = ROWS, **analysis: Any) -> BenchmarkResult:
    return summarise("b", rows, Analysis(pass_at=(1, 2), **analysis), 0, {})


def test_figures_are_those_of_the_rows() -> None:
    found = figures()
    assert (found.problems, found.samples, found.lost) == (2, 4, 0)
    assert value(found.accuracy) == 0.25
    assert found.pass_at[1].value == 0.25
    assert found.pass_at[2].value == 0.5
    assert found.majority_at[2].value == 0.25
    assert value(found.code_ratio) == 0.75
    assert found.truncated == 0.25
    assert value(found.seconds_per_sample) == 1.25


def test_both_pass_rates_are_given() -> None:
    """Method A21: three of five programs ran in the end, three of seven that were tried."""
    found = figures()
    assert (found.programs, found.programs_failed, found.corrections) == (5, 2, 2)
    assert value(found.execution_pass) == pytest.approx(3 / 5)
    assert value(found.execution_pass_all) == pytest.approx(3 / 7)


def test_majorities_have_the_precision_of_verdicts() -> None:
    texts = ["7", "7", "1/3", "0.333333", "0.333333"]
    rows = [sample(attempt=n, answer=text, right=n > 1) for n, text in enumerate(texts)]
    analysis = Analysis(pass_at=(5,), best_of=5)
    found = [summarise("b", rows, analysis, 0, {}, digits) for digits in (None, 6)]
    assert [each.majority_at[5].value for each in found] == [0.5, 1.0]


def test_what_correction_throws_away_is_paid_for() -> None:
    found = figures()
    assert value(found.tokens_per_sample) == 12.5
    assert found.correction_tokens == 2.5


def test_what_the_machinery_lost_counts_nowhere() -> None:
    lost = sample("p1", 2, ending=Ending.SANDBOX_ERROR, outcomes=(BAD,))
    assert figures([*ROWS, lost]) == figures().model_copy(update={"lost": 1})


def test_the_order_of_the_rows_does_not_matter() -> None:
    assert figures(ROWS[::-1]) == figures()


def test_best_of_n_takes_the_first_n() -> None:
    """p1: the one whose programs ran; p2: the plain answer, since the other's failed."""
    assert value(figures(best_of=2).best_of) == 0.5
    assert figures().best_of is None


def test_an_opinion_counts_in_the_accuracy_but_not_in_that_by_rules() -> None:
    said = Opinion(judge_correct=True, judge_model="j", judge_reason="yes")
    found = figures([*ROWS[:3], replace(ROWS[3], opinion=said)])
    assert value(found.accuracy) == 0.5
    assert value(found.accuracy_by_rules) == 0.25


def test_a_problem_with_too_few_samples_is_left_out_of_pass_at_k() -> None:
    found = figures(ROWS[:3])
    assert found.pass_at[2].value == 1
    assert value(found.accuracy) == 0.25


def test_nothing_at_all_has_no_figures() -> None:
    found = figures([])
    assert found.accuracy is None
    assert found.pass_at == {}


def test_problems_without_a_verifiable_gold_answer_count_nowhere_else() -> None:
    """Not even the sample that is spelled as the gold answer, which would be a biased one."""
    unreadable = [sample("p3", 0), sample("p3", 1, right=False, method=UNVERIFIABLE)]
    found = figures([*ROWS, *unreadable])
    assert (found.problems, found.samples, found.lost, found.unverifiable) == (2, 4, 0, 2)
    assert found.accuracy == figures().accuracy
    assert figures().unverifiable == 0
