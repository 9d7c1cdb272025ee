"""Means and shares over problems with bootstrap confidence intervals; pass@k and maj@k.

The bootstrap resamples problems with all of their samples, since samples of one problem are not
independent. Deterministic for a seed.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from math import comb, sqrt
from statistics import fmean
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Vote = tuple[str | None, bool]
"""A sample's final answer (None without one), and whether it is right."""

Ratio = tuple[Sequence[float], Sequence[float]]
"""Numerators and denominators, one per problem."""
SeedRatio = tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]]
"""The same for each of several trainings with other seeds: seeds x problems."""
Floats = npt.NDArray[np.float64]
_Z95 = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""

MAJORITY_DRAWS = 100
"""Most subsets that maj@k is averaged over."""


class Estimate(BaseModel):
    """A value with its confidence interval (percentile bootstrap)."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float


class RatioSums(NamedTuple):
    """Sums over problems of a ratio's parts, as one SQL aggregate gives them.

    Of r right and n judged samples of each problem: for any number of rows, where the bootstrap
    would draw every problem thousands of times.
    """

    problems: int
    above: float
    """Sum of r."""
    below: float
    """Sum of n, above 0."""
    above_squared: float
    product: float
    """Sum of r n."""
    below_squared: float

    def share(self) -> Estimate:
        """The share above / below with its 95 % interval over problems.

        The variance is that of a ratio of cluster totals (Cochran, Sampling Techniques, 1977,
        §6.3). The interval is Wilson's for a simple random sample with this variance: it stays
        within 0 and 1 also where all are right.
        """
        share, n = self.above / self.below, self.problems
        squares = self.above_squared - 2 * share * self.product + share**2 * self.below_squared
        variance = n / max(n - 1, 1) * max(squares, 0.0) / self.below**2
        size = share * (1 - share) / variance if variance > 1e-12 else float(n)
        size = min(size, self.below)
        width = 1 + _Z95**2 / size
        centre = (share + _Z95**2 / (2 * size)) / width
        spread = _Z95 / width * sqrt(share * (1 - share) / size + (_Z95 / (2 * size)) ** 2)
        low, high = max(0.0, centre - spread), min(1.0, centre + spread)
        return Estimate(value=share, low=min(low, share), high=max(high, share))


class Bootstrap:
    """Estimates over problems; the same seed resamples the same problems for every estimate."""

    def __init__(self, seed: int, resamples: int = 2000, confidence: float = 0.95) -> None:
        self._seed = seed
        self._resamples = resamples
        self._tails = (50 * (1 - confidence), 50 * (1 + confidence))

    def mean(self, values: Sequence[float]) -> Estimate | None:
        """The mean of one value per problem; None without a problem."""
        return self.ratio(values, [1.0] * len(values))

    def ratio(self, numerators: Sequence[float], denominators: Sequence[float]) -> Estimate | None:
        """The ratio of two sums over problems; None if the denominator is 0."""
        above, below = np.asarray(numerators, float), np.asarray(denominators, float)
        if not below.sum():
            return None
        return self._estimate(above.sum() / below.sum(), self._ratios(above, below))

    def difference(self, later: Ratio, earlier: Ratio) -> Estimate:
        """The difference of two ratios over the same problems in the same order (paired)."""
        pairs = [[np.asarray(part, float) for part in ratio] for ratio in (later, earlier)]
        values = [above.sum() / below.sum() for above, below in pairs]
        drawn = [self._ratios(above, below) for above, below in pairs]
        return self._estimate(values[0] - values[1], drawn[0] - drawn[1])

    def over_seeds(self, ratio: SeedRatio) -> Estimate | None:
        """The ratio of two sums over seeds and problems; None if the denominator is 0.

        Seeds and problems are both drawn with replacement, each by itself, because every seed
        answers the same problems (Owen's pigeonhole bootstrap, arXiv 0711.3028). So the interval
        holds for other seeds on other problems. It counts the chance within a seed's answers to a
        problem up to three times, so it is rather too wide than too narrow.
        """
        if not np.asarray(ratio[1], float).sum():
            return None
        return self._estimate(_total(ratio), self._seed_ratios(ratio))

    def difference_over_seeds(self, later: SeedRatio, earlier: SeedRatio) -> Estimate:
        """The difference of two such ratios over the same seeds and problems (paired)."""
        drawn = self._seed_ratios(later) - self._seed_ratios(earlier)
        return self._estimate(_total(later) - _total(earlier), drawn)

    def _seed_ratios(self, ratio: SeedRatio) -> Floats:
        """The ratio in every resample of seeds and problems; nan where the denominator is 0."""
        above, below = (np.asarray(part, float) for part in ratio)
        rng = np.random.default_rng(self._seed)
        times = [rng.multinomial(n, [1 / n] * n, self._resamples) for n in above.shape]
        parts, totals = (
            np.einsum("rs,sp,rp->r", times[0], part, times[1], optimize=True)
            for part in (above, below)
        )
        ratios: Floats = np.full_like(parts, np.nan)
        np.divide(parts, totals, out=ratios, where=totals != 0)
        return ratios

    def _ratios(self, above: Floats, below: Floats) -> Floats:
        """The ratio in every resample; nan where the denominator is 0."""
        rng = np.random.default_rng(self._seed)
        drawn = [rng.integers(0, len(above), len(above)) for _ in range(self._resamples)]
        totals = np.asarray([below[chosen].sum() for chosen in drawn])
        parts = np.asarray([above[chosen].sum() for chosen in drawn])
        ratios: Floats = np.full_like(parts, np.nan)
        np.divide(parts, totals, out=ratios, where=totals != 0)
        return ratios

    def _estimate(self, value: float, drawn: Floats) -> Estimate:
        low, high = np.nanpercentile(drawn, self._tails)
        return Estimate(value=float(value), low=float(low), high=float(high))


def _total(ratio: SeedRatio) -> float:
    above, below = (float(np.asarray(part, float).sum()) for part in ratio)
    return above / below


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Chance that some of `k` samples is right, drawn from `samples` of which `right` are.

    The unbiased estimator 1 - C(n-c, k) / C(n, k). Raises ValueError for `k` above `samples`.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples a problem, there are {samples}")
    return 1 - comb(samples - right, k) / comb(samples, k)


def majority(votes: Sequence[Vote]) -> float:
    """The chance that the most frequent answer is right; ties are broken at random.

    A sample without an answer does not vote. Answers must be normalised: only equal strings agree.
    """
    ballots: defaultdict[str, list[bool]] = defaultdict(list)
    for answer, right in votes:
        if answer is not None:
            ballots[answer].append(right)
    if not ballots:
        return 0.0
    most = max(map(len, ballots.values()))
    winners = [sum(rights) / len(rights) for rights in ballots.values() if len(rights) == most]
    return sum(winners) / len(winners)


def majority_at_k(votes: Sequence[Vote], k: int, seed: object) -> float:
    """maj@k: the mean over all subsets of `k` votes, or over random ones if there are many.

    Raises ValueError for `k` above the number of votes.
    """
    if not 1 <= k <= len(votes):
        raise ValueError(f"maj@{k} needs at least {k} samples a problem, there are {len(votes)}")
    if comb(len(votes), k) <= MAJORITY_DRAWS:
        return fmean(map(majority, combinations(votes, k)))
    rng = random.Random(f"{seed}/majority")
    return fmean(majority(rng.sample(votes, k)) for _ in range(MAJORITY_DRAWS))
