"""Budgets bound a run over all its calls, and an estimate is told from rows that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.datasets import Store
from storage.records import Cost, Ending, Program, Trajectory
from tests.rows import row
from tirgen.jobs.budget import BudgetAccount, BudgetSettings, Price, RunCost
from tirgen.jobs.committed_rows import CommittedRows
from tirgen.jobs.estimate import estimate, spread
from tirgen.jobs.generate import GenerationReport, generate
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.settings import ConfigError, load_settings

PRICES = {"pocket": {"prompt": 1, "completion": 3}}


def paid(tokens: int, program: Program = Program.TIRGEN, **fields: Any) -> Trajectory:
    cost = Cost(actor_prompt_tokens=tokens - 10, actor_completion_tokens=10, wall_seconds=1)
    return replace(row(program=program), cost=cost, **fields)


async def work(account: BudgetAccount, tokens: Callable[[int], int], tasks: int = 40) -> list[int]:
    """Many tasks that each make attempts while they are admitted; the costs in their order."""
    made: list[int] = []

    async def one() -> None:
        while await account.admit(Program.TIRGEN):
            await asyncio.sleep(0)
            made.append(tokens(len(made)))
            await account.charge(paid(made[-1]))

    await asyncio.gather(*(one() for _ in range(tasks)))
    return made


async def test_many_tasks_together_stay_within_the_budget() -> None:
    account = BudgetAccount(BudgetSettings(tokens=50_000), RunCost())
    made = await work(account, lambda n: 500)
    assert 49_000 < sum(made) <= 50_000
    assert account.stopped == f"{sum(made):,} of 50,000 tokens are spent"


async def test_attempts_of_unequal_cost_stay_within_the_budget() -> None:
    account = BudgetAccount(BudgetSettings(tokens=50_000), RunCost())
    assert 45_000 < sum(await work(account, lambda n: 200 + (n * 7919) % 800)) <= 50_000


async def test_few_are_begun_before_a_cost_is_known() -> None:
    account = BudgetAccount(BudgetSettings(tokens=100), RunCost())
    assert len(await work(account, lambda n: 500)) == 4


async def test_without_a_budget_everything_is_admitted() -> None:
    account = BudgetAccount(BudgetSettings(), RunCost())
    assert all([await account.admit(Program.TIRGEN) for _ in range(1000)])


async def test_time_of_earlier_calls_counts() -> None:
    spend = RunCost(earlier_seconds=59.5)
    spend.add({**_columns(), "wall_seconds": 1.0}, BudgetSettings())
    account = BudgetAccount(BudgetSettings(minutes=1), spend)
    assert not await account.admit(Program.TIRGEN)
    assert account.stopped == "1.0 of 1 minutes are spent"


def _columns() -> dict[str, Any]:
    return {
        "program": "tirgen",
        "actor_model": "a",
        "critic_model": "c",
        "actor_prompt_tokens": 1_000_000,
        "actor_completion_tokens": 100_000,
        "critic_prompt_tokens": 2_000_000,
        "critic_completion_tokens": 0,
    }


def test_money_is_tokens_of_each_model_at_its_price() -> None:
    prices = {"a": Price(prompt=2, completion=10), "c": Price(prompt=0.5, completion=1)}
    assert BudgetSettings(prices=prices).price(_columns()) == pytest.approx(2 + 1 + 1)
    assert BudgetSettings().price(_columns()) == 0


def test_a_money_budget_without_prices_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"budget\.money needs budget\.prices of pocket"):
        load_settings(GenerateConfig, None, {"budget.money": 5})


def test_attempts_lost_and_made_again_were_paid_twice(tmp_path: Path) -> None:
    run = Store(tmp_path).open_run("d", {}, "h")
    run.append([paid(100, ending=Ending.ENGINE_ERROR, created_at=1.0)])
    run.append([paid(100, created_at=2.0)])
    assert len(list(run.read())) == 1
    assert CommittedRows(run).spend(BudgetSettings(), 0.0).tokens == 200


def test_the_budget_does_not_name_another_run() -> None:
    assert (
        GenerateConfig().fingerprint()
        == load_settings(GenerateConfig, None, {"budget.tokens": 5}).fingerprint()
    )


def a_run(store: Store, changes: dict[str, Any]) -> GenerationReport:
    return asyncio.run(generate(settings(changes), store))


def settings(changes: dict[str, Any]) -> GenerateConfig:
    few = {"dataset": "t", "problems.limit": 16, "attempts": 2, "cot_samples": 1}
    return load_settings(GenerateConfig, None, {**few, "budget.prices": PRICES, **changes})


def test_a_run_stops_publishes_and_goes_on_with_exact_totals(
    tmp_path: Path, served: dict[str, Any]
) -> None:
    store = Store(tmp_path)
    first = a_run(store, {**served, "budget.tokens": 6_000})
    assert first.stopped is not None
    assert first.version.manifest["summary"]["stopped"] == first.stopped
    assert first.progress.settled < 16
    assert 0 < first.version.manifest["rows"] == first.progress.trajectories

    again = a_run(store, {**served, "budget.tokens": 6_000})
    assert (again.reused_version, again.progress.trajectories) == (True, 0)
    assert str(again.version) == str(first.version)

    rest = a_run(store, served)
    assert rest.stopped is None
    assert rest.progress.settled == 16
    costs = [t.cost for t in rest.version.read()]
    prompt = sum(c.actor_prompt_tokens + c.critic_prompt_tokens for c in costs)
    written = sum(c.actor_completion_tokens + c.critic_completion_tokens for c in costs)
    spend = rest.progress.account.spend
    assert spend.tokens == prompt + written
    assert spend.money == pytest.approx((prompt + 3 * written) / 1e6)
    assert spend.seconds > first.seconds


def test_an_estimate_comes_near_and_its_rows_are_reused(
    tmp_path: Path, served: dict[str, Any]
) -> None:
    store = Store(tmp_path)
    told = asyncio.run(estimate(settings(served), store))
    assert (told.problems, told.sampled) == (16, 8)
    assert store.versions("t") == []
    report = a_run(store, served)
    assert report.progress.reused_rows > 8
    spent = report.progress.account.spend
    assert abs(told.tokens - spent.tokens) < max(4 * told.tokens_error, 0.3 * spent.tokens)
    assert told.spent_tokens < spent.tokens


def test_a_sample_is_spread_over_the_file() -> None:
    problems = [row(problem=str(n)).problem for n in range(100)]
    assert [p.problem_id for p in spread(problems, 4)] == ["12", "37", "62", "87"]
    assert spread(problems[:2], 4) == problems[:2]
