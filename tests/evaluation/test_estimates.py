from __future__ import annotations

from itertools import combinations
from random import Random
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tirgen.evaluation.estimates import Bootstrap, majority, majority_at_k, pass_at_k


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(samples: Any, k: Any) -> None:
    k = min(k, len(samples))
    exact = fmean(any(chosen) for chosen in combinations(samples, k))
    assert pass_at_k(len(samples), sum(samples), k) == pytest.approx(exact)


def test_pass_at_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="pass@5 needs at least 5 samples"):
        pass_at_k(4, 2, 5)


def test_the_majority_is_right_or_not() -> None:
    assert majority([("1", True), ("2", False), ("1", True)]) == 1
    assert majority([("1", True), ("2", False), ("2", False)]) == 0


def test_ties_are_broken_by_lot_and_no_answer_is_no_vote() -> None:
    assert majority([("1", True), ("2", False)]) == 0.5
    assert majority([("1", True), (None, False), (None, False)]) == 1
    assert majority([(None, False)]) == 0


votes = st.lists(
    st.sampled_from([("1", True), ("2", False), ("3", False), (None, False)]),
    min_size=1,
    max_size=6,
)


@given(votes, st.integers(1, 6))
def test_maj_at_k_is_the_mean_over_all_subsets(found: Any, k: Any) -> None:
    k = min(k, len(found))
    exact = fmean(majority(chosen) for chosen in combinations(found, k))
    assert majority_at_k(found, k, seed=1) == pytest.approx(exact)


def test_of_many_subsets_some_are_drawn_by_the_seed() -> None:
    found = [("1", True)] * 7 + [("2", False)] * 6
    exact = fmean(majority(chosen) for chosen in combinations(found, 7))
    assert majority_at_k(found, 7, seed=1) == pytest.approx(exact, abs=0.15)
    assert majority_at_k(found, 7, seed=1) == majority_at_k(found, 7, seed=1)
    assert len({majority_at_k(found, 7, seed) for seed in range(5)}) > 1


def test_maj_at_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="maj@3 needs at least 3 samples"):
        majority_at_k([("1", True)], 3, seed=0)


def test_the_interval_of_a_share_is_what_the_binomial_says() -> None:
    """300 problems, 70 % right: the normal approximation gives 0.648 to 0.752."""
    found = Bootstrap(seed=3).mean([1.0] * 210 + [0.0] * 90)
    assert found is not None
    assert found.value == pytest.approx(0.7)
    assert found.low == pytest.approx(0.648, abs=0.01)
    assert found.high == pytest.approx(0.752, abs=0.01)


def test_problems_are_resampled_with_all_of_their_samples() -> None:
    """Forty samples of two problems are two observations: the interval spans everything."""
    found = Bootstrap(seed=3).ratio([20.0, 0.0], [20.0, 20.0])
    assert found is not None
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_estimates_are_a_function_of_the_seed() -> None:
    values = [float(n % 3 == 0) for n in range(50)]
    assert Bootstrap(1).mean(values) == Bootstrap(1).mean(values)
    assert Bootstrap(1).mean(values) != Bootstrap(2).mean(values)


def test_a_wider_confidence_is_a_wider_interval() -> None:
    values = [float(n % 3 == 0) for n in range(50)]
    narrow, wide = Bootstrap(1, confidence=0.5).mean(values), Bootstrap(1).mean(values)
    assert narrow is not None
    assert wide is not None
    assert wide.low < narrow.low < narrow.high < wide.high


def test_nothing_has_no_estimate() -> None:
    assert Bootstrap(0).mean([]) is None
    assert Bootstrap(0).ratio([0.0, 0.0], [0.0, 0.0]) is None


def test_seeds_that_differ_widen_the_interval_as_problems_that_differ_do() -> None:
    """Every problem alike, seeds of 40 % and 60 %: only the seeds tell what chance there is."""
    seeds = [[0.4] * 200] * 4 + [[0.6] * 200] * 4
    whole = [[1.0] * 200] * 8
    found = Bootstrap(seed=1).over_seeds((seeds, whole))
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.1 / 8**0.5, rel=0.15)
    swapped = tuple([list(row) for row in zip(*part, strict=True)] for part in (seeds, whole))
    turned = Bootstrap(seed=1).over_seeds((swapped[0], swapped[1]))
    assert turned is not None
    assert turned.high - turned.low == pytest.approx(found.high - found.low, rel=0.15)
    assert Bootstrap(seed=1).over_seeds((whole, [[0.0] * 200] * 8)) is None


def test_a_difference_over_seeds_is_paired() -> None:
    """What seeds and problems have in common is in no difference."""
    rng = Random(3)
    before = [[rng.random() + seed for _ in range(50)] for seed in range(6)]
    after = [[value + 0.25 for value in row] for row in before]
    whole = [[1.0] * 50] * 6
    found = Bootstrap(seed=1).difference_over_seeds((after, whole), (before, whole))
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_an_interval_over_seeds_holds_the_truth_at_least_as_often_as_it_says() -> None:
    """100 simulated ablations, whose differences have chance in seeds, problems and answers."""
    held = 0
    for run in range(100):
        rng = np.random.default_rng(run)
        cells = rng.normal(0, 0.02, (8, 1)) + rng.normal(0, 0.1, (1, 60))
        values = 0.03 + cells + rng.normal(0, 0.25, (8, 60))
        ones, zeros = np.ones((8, 60)).tolist(), np.zeros((8, 60)).tolist()
        boot = Bootstrap(seed=run, resamples=400)
        found = boot.difference_over_seeds((values.tolist(), ones), (zeros, ones))
        held += found.low <= 0.03 <= found.high
    assert held >= 93
