"""Counts of a run: the same as SQL's, whenever they are read, and over merged files."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.live.counts import Counts
from storage.compaction import Compactor
from storage.datasets import Store
from storage.records import (
    UNVERIFIABLE,
    Cost,
    Ending,
    FilterVerdict,
    Level,
    Outcome,
    Program,
    Step,
    Trajectory,
    Verdict,
)
from storage.runs import Run
from storage.sql import query
from tests.rows import row
from tirgen.jobs.budget import BudgetSettings, Price

PRICED = BudgetSettings(prices={"a": Price(prompt=1, completion=2)})


def made(number: int) -> Trajectory:
    """One of many kinds: right, wrong, unverifiable, lost, a baseline, a branch."""
    one = row(f"p{number}", kept=number % 2 == 0, created_at=time.time())
    outcome = (Outcome.OK, Outcome.ERROR, Outcome.TIMEOUT)[number % 3]
    one = replace(
        one,
        steps=(Step(thought="t", action="a", observation="o", outcome=outcome), Step(thought="e")),
        cost=Cost(
            actor_calls=2, actor_prompt_tokens=100, actor_completion_tokens=number,
            llm_seconds=6.0, sandbox_seconds=0.5,
        ),
    )  # fmt: skip
    match number % 7:
        case 3:
            return replace(one, verdict=Verdict(correct=False, method=UNVERIFIABLE, reason=""))
        case 4:
            return replace(one, ending=Ending.ENGINE_ERROR, verdict=None)
        case 5:
            baseline = FilterVerdict(rule="program", kept=False)
            return replace(one, program=Program.COT, filters=(baseline,))
        case 6:
            return replace(one, level=Level.STEP, group_id=f"g{number}")
    return one


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Store(tmp_path).open_run("d", {}, "h")


def counted(run: Run) -> Counts:
    counts = Counts(run.folder, PRICED, cot_measures=True)
    counts.update()
    return counts


def figures(counts: Counts) -> dict[str, Any]:
    names = (
        "rows", "branches", "baselines", "correct", "wrong", "unverifiable", "kept", "endings",
        "programs", "sums", "money", "tokens", "lost", "last",
    )  # fmt: skip
    return {name: getattr(counts, name) for name in names}


def test_the_counts_are_those_of_sql(run: Run, tmp_path: Path) -> None:
    for start in range(0, 60, 20):
        run.append([made(number) for number in range(start, start + 20)])
    counts = counted(run)
    sql = """SELECT count(*) AS rows, count(*) FILTER (level = 'step') AS branches,
        count(*) FILTER (baseline) AS baselines,
        count(*) FILTER (correct AND own AND judged) AS correct,
        count(*) FILTER (NOT correct AND own AND judged) AS wrong,
        count(*) FILTER (method = 'unverifiable' AND own) AS unverifiable,
        count(*) FILTER (kept AND own AND judged) AS kept,
        sum(actor_completion_tokens)::BIGINT AS written
    FROM (SELECT *, level <> 'step' AND NOT baseline AS own, ending = 'finished' AS judged
        FROM running_samples)"""
    [told] = query(Store(tmp_path), sql).to_pylist()
    written = told.pop("written")
    assert {name: getattr(counts, name) for name in told} == told
    assert all(told.values()), "every kind occurs"
    assert counts.sums["actor_completion_tokens"] == written
    assert counts.money == pytest.approx((60 * 100 + 2 * written) / 1e6)
    assert counts.programs == {"ok": 20, "error": 20, "timeout": 20}
    assert counts.lost == counts.endings["engine_error"] > 0


def test_reading_only_what_is_new_gives_the_same(run: Run) -> None:
    step_by_step = counted(run)
    for number in range(40):
        run.append([made(number), made(100 + number)])
        step_by_step.update()
    assert figures(step_by_step) == figures(counted(run))
    assert step_by_step.last[0]["problem_id"] == "p139"


def test_a_merge_between_two_looks_counts_nothing_twice(run: Run) -> None:
    for number in range(30):
        run.append([made(number)])
    counts = counted(run)
    run.append([made(30)])
    Compactor(run.folder, fan_in=4).compact()
    run.append([made(31)])
    counts.update()
    fresh = counted(run)
    assert counts.rows == fresh.rows == 32
    assert figures(counts) == figures(fresh)


def test_the_pace_is_of_the_last_minute(run: Run) -> None:
    old = [replace(made(number), created_at=time.time() - 600) for number in range(10)]
    run.append([*old, *(made(number) for number in range(10, 16))])
    lately = counted(run).lately
    assert lately.rows_per_minute == 6
    assert lately.engine_calls == pytest.approx(6 * 6.0 / 60)
    assert lately.programs == pytest.approx(6 * 0.5 / 60)
    assert counted(run).overall(120).rows_per_minute == 8
