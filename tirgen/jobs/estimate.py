"""Estimates the cost of a whole generation from a few of its problems, which are really run.

The rows of this sample are committed like all others, so the run that follows reuses them.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from storage.datasets import Store
from storage.records import Problem
from storage.runs import Run
from tirgen.jobs.budget import COST_COLUMNS, BudgetSettings, RunCost
from tirgen.jobs.generate import generation
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.progress import GenerationProgress, Watch, unwatched

SAMPLE = 8
"""Problems to run, spread evenly over those that are left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """The cost of the whole run, including what is already spent."""

    problems: int
    sampled: int
    """Settled problems that the estimate is based on."""
    spent_tokens: int
    spent_money: float
    tokens: float
    tokens_error: float
    """Standard error of `tokens`, estimated from the sample."""
    money: float
    seconds: tuple[float, float]
    """Remaining wall time: if the engine is as fast under full load as with the sample, and if full
    load makes it no faster than the sample alone."""


async def estimate(
    config: GenerateConfig, store: Store, watch: Watch[GenerationProgress] = unwatched
) -> CostEstimate:
    """Settle the sample and extrapolate; publish nothing. Raises what `generate` raises."""
    async with generation(config, store, watch) as opened:
        begun = time.monotonic()
        sample = spread(opened.todo, SAMPLE)
        await opened.settle(sample)
        seconds = time.monotonic() - begun
        progress = opened.progress
        unsettled = progress.problems - progress.settled
        costs = _by_problem(opened.job.run, config.budget)
        tried = {p.problem_id for p in opened.todo} - {p.problem_id for p in sample}
        settled = [cost for name, cost in costs.items() if name not in tried]
        spend = progress.account.spend
    tokens, money = [c.tokens for c in settled], [c.money for c in settled]
    each = mean(c.total.seconds for c in settled)
    error = stdev(tokens) / math.sqrt(len(tokens)) if len(tokens) > 1 else float(tokens[0])
    at_once = min(config.live, max(unsettled, 1))
    return CostEstimate(
        problems=progress.problems,
        sampled=len(settled),
        spent_tokens=spend.tokens,
        spent_money=spend.money,
        tokens=spend.tokens + mean(tokens) * unsettled,
        tokens_error=error * unsettled,
        money=spend.money + mean(money) * unsettled,
        seconds=(each * unsettled / at_once, max(each, seconds) * unsettled / max(len(sample), 1)),
    )


def spread(problems: Sequence[Problem], count: int) -> list[Problem]:
    """Draw `count` problems at even distances, since files are often sorted by difficulty."""
    count = min(count, len(problems))
    return [problems[(2 * n + 1) * len(problems) // (2 * count)] for n in range(count)]


def _by_problem(run: Run, budget: BudgetSettings) -> dict[str, RunCost]:
    """The cost of the attempts of each problem, repeated attempts included."""
    costs: dict[str, RunCost] = defaultdict(RunCost)
    for row in run.every_row(["problem_id", *COST_COLUMNS]).to_pylist():
        costs[row["problem_id"]].add(row, budget)
    return costs
