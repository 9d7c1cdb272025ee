from __future__ import annotations

import random

import pytest

from storage.records import Outcome
from tests.evaluation.answers import BAD, OK, sample
from tirgen.evaluation.best_of_n import choose, contenders, pass_rate
from tirgen.evaluation.votes import answer_keys, representatives


def test_the_pass_rate_is_a_fraction() -> None:
    """Method D3: cast to an integer there, one failure of many became 0."""
    assert pass_rate(sample(outcomes=(OK, BAD, OK, OK))) == 0.75
    assert pass_rate(sample(outcomes=(OK, Outcome.NO_OUTPUT))) == 0.5
    assert pass_rate(sample(outcomes=(OK, Outcome.INFRA_ERROR))) == 1


def test_the_best_is_the_one_whose_programs_ran() -> None:
    rows = [
        sample(attempt=0, outcomes=(BAD, OK)),
        sample(attempt=1, outcomes=(OK, OK), answer="7"),
        sample(attempt=2, outcomes=(BAD,)),
    ]
    assert choose(rows, seed=0).attempt == 1


def test_no_code_counts_as_one_but_after_code_that_ran() -> None:
    """Method A22."""
    plain, ran, failed = (
        sample(attempt=0, outcomes=()),
        sample(attempt=1),
        sample(attempt=2, outcomes=(OK, BAD)),
    )
    assert pass_rate(plain) == 1
    assert contenders([plain, ran, failed]) == [ran]
    assert contenders([plain, failed]) == [plain]


def test_a_candidate_without_an_answer_comes_last() -> None:
    silent = sample(attempt=0, answer=None)
    assert contenders([silent, sample(attempt=1, outcomes=(BAD,))])[0].attempt == 1
    assert choose([silent], seed=0) == silent


def test_ties_go_to_the_majority_answer_however_it_is_spelled() -> None:
    rows = [
        sample(attempt=0, answer="3"),
        sample(attempt=1, answer="\\frac{1}{2}"),
        sample(attempt=2, answer="\\dfrac{1}{2}"),
        sample(attempt=3, answer="3", outcomes=(BAD,)),
    ]
    assert {choose(rows, seed).attempt for seed in range(40)} == {1, 2}


@pytest.mark.parametrize(
    "spelled",
    [("84", "84.0", "$84$"), ("0.5", "\\frac12", "1/2"), ("x=2", "2", "x = 2")],
)
def test_equal_answers_vote_together_however_they_are_spelled(spelled: tuple[str, ...]) -> None:
    others = ["7", "7"]
    rows = [sample(attempt=n, answer=text) for n, text in enumerate([*others, *spelled])]
    for shuffled in (rows, rows[::-1]):
        assert {choose(shuffled, seed).attempt for seed in range(40)} == {2, 3, 4}
        assert len(set(answer_keys(shuffled))) == 2


def test_a_decimal_votes_with_an_exact_answer_if_exact_digits_allow_it() -> None:
    texts = ["7", "7", "7", "1/3", "\\frac{2}{6}", "0.333333", "0.333333"]
    rows = [sample(attempt=n, answer=text) for n, text in enumerate(texts)]
    assert {choose(rows, seed).attempt for seed in range(40)} == {0, 1, 2}
    assert {choose(rows, seed, exact_digits=6).attempt for seed in range(40)} == {3, 4, 5, 6}


def test_text_that_would_be_another_answer_in_a_box_votes_for_itself() -> None:
    answers = ["1}} \\boxed{2", "2", "1}", "{", "\x00", "\\boxed{2}"]
    keys = representatives(answers)
    assert keys["2"] == "2"
    assert keys["1}} \\boxed{2"] != "2"
    assert set(keys) == set(answers)


def test_a_reward_model_breaks_ties_but_overrules_no_pass_rate() -> None:
    rows = [sample(attempt=n, answer=str(n)) for n in range(3)]
    rows.append(sample(attempt=3, outcomes=(BAD,)))
    scores = {
        row.trajectory_id: score for row, score in zip(rows, (0.1, 0.9, 0.5, 7.0), strict=True)
    }
    assert choose(rows, 0, scores).attempt == 1


def test_a_missing_score_is_no_silent_zero() -> None:
    with pytest.raises(KeyError):
        choose([sample(attempt=0), sample(attempt=1)], 0, {})


def test_the_lot_depends_on_the_seed_alone() -> None:
    rows = [sample(attempt=n, answer=str(n)) for n in range(6)]
    shuffled = random.Random(1).sample(rows, len(rows))
    assert choose(rows, 5) == choose(shuffled, 5)
    assert len({choose(rows, seed).attempt for seed in range(60)}) == 6


def test_nobody_to_choose_from_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one candidate"):
        choose([], 0)
