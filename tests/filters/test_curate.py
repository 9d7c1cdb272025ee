from __future__ import annotations

import dataclasses
import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

from storage.records import Ending, Outcome, Program, Trajectory
from tirgen.filters.apply import Filtering, YieldRow, filter_rows, yield_table
from tirgen.filters.filter_config import FilterConfig, Rule

ALL_CALLS = FilterConfig(keep_share_by_calls={})
LOOP = "print(sum(n for n in range(10)))"


def ids(rows: list[Trajectory]) -> list[str]:
    return sorted(row.trajectory_id for row in rows if row.kept)


def reason(row: Trajectory, rule: Rule) -> str | None:
    return next((v.reason for v in row.filters if v.rule == rule and not v.kept), None)


def a_run(make: Any, problems: int = 40) -> list[Trajectory]:
    """Three attempts and two baselines a problem; every fifth problem is easy without tools."""
    rows = []
    for number in range(problems):
        name, easy = f"p{number}", number % 5 == 0
        rows += [make(problem=name, attempt=k, codes=(LOOP,) * (1 + number % 3)) for k in range(3)]
        rows += [
            make(problem=name, attempt=k, program=Program.COT, codes=(), correct=easy)
            for k in range(2)
        ]
    return rows


def test_one_trajectory_a_problem_is_kept_and_named_to_its_siblings(make_trajectory: Any) -> None:
    rows = filter_rows([make_trajectory(attempt=k) for k in range(4)], ALL_CALLS, seed=1)
    (kept,) = ids(rows)
    dropped = [row for row in rows if not row.kept]
    assert len(dropped) == 3
    assert all(reason(row, Rule.ONE_PER_PROBLEM) == f"{kept} stands for this problem"
               for row in dropped)  # fmt: skip


def test_a_wrong_sibling_never_stands_for_its_problem(make_trajectory: Any) -> None:
    rows = [make_trajectory(attempt=k, correct=k == 2) for k in range(5)]
    kept = [row for row in filter_rows(rows, ALL_CALLS, seed=3) if row.kept]
    assert [row.attempt for row in kept] == [2]


def test_another_seed_draws_other_siblings(make_trajectory: Any) -> None:
    rows = [make_trajectory(problem=f"p{n}", attempt=k) for n in range(20) for k in range(3)]
    assert ids(filter_rows(rows, ALL_CALLS, seed=1)) != ids(filter_rows(rows, ALL_CALLS, seed=2))


def test_problems_that_need_no_tool_are_dropped_with_the_count(make_trajectory: Any) -> None:
    easy = [make_trajectory(program=Program.COT, codes=(), attempt=k) for k in range(4)]
    (row, *_) = filter_rows([make_trajectory(), *easy], ALL_CALLS, seed=0)
    assert reason(row, Rule.COT_SOLVABLE) == "4 of 4 chain-of-thought samples are right"


def test_one_wrong_baseline_keeps_the_problem(make_trajectory: Any) -> None:
    baselines = [
        make_trajectory(program=Program.COT, codes=(), attempt=k, correct=k != 3) for k in range(4)
    ]
    (row, *_) = filter_rows([make_trajectory(), *baselines], ALL_CALLS, seed=0)
    assert row.kept
    (row, *_) = filter_rows(
        [make_trajectory(), *baselines],
        FilterConfig(keep_share_by_calls={}, cot_solved_share=0.75),
        seed=0,
    )
    assert not row.kept


def test_baselines_that_were_never_judged_prove_nothing(make_trajectory: Any) -> None:
    lost = make_trajectory(program=Program.COT, codes=(), verdict=None, ending=Ending.ENGINE_ERROR)
    (row, _) = filter_rows([make_trajectory(), lost], ALL_CALLS, seed=0)
    assert row.kept


def test_baseline_samples_are_returned_and_never_kept(make_trajectory: Any) -> None:
    rows = filter_rows(a_run(make_trajectory), ALL_CALLS, seed=0)
    baselines = [row for row in rows if row.program is Program.COT]
    assert len(baselines) == 80
    assert all(reason(row, Rule.PROGRAM) == "baseline sample" for row in baselines)


def test_single_call_trajectories_are_thinned_to_about_half(make_trajectory: Any) -> None:
    rows = [make_trajectory(problem=f"p{n}", codes=(LOOP,)) for n in range(1000)]
    kept = len(ids(filter_rows(rows, FilterConfig(), seed=0)))
    assert 450 < kept < 550


def test_longer_trajectories_are_not_thinned(make_trajectory: Any) -> None:
    rows = [make_trajectory(problem=f"p{n}", codes=(LOOP, LOOP)) for n in range(100)]
    assert len(ids(filter_rows(rows, FilterConfig(), seed=0))) == 100


def test_verdicts_do_not_depend_on_the_order_of_rows(make_trajectory: Any) -> None:
    rows = a_run(make_trajectory)
    shuffled = random.Random(7).sample(rows, len(rows))
    first = {row.trajectory_id: row.filters for row in filter_rows(rows, FilterConfig(), seed=5)}
    second = {
        row.trajectory_id: row.filters for row in filter_rows(shuffled, FilterConfig(), seed=5)
    }
    assert first == second


def test_curating_again_changes_nothing(make_trajectory: Any) -> None:
    once = filter_rows(a_run(make_trajectory), FilterConfig(), seed=5)
    assert filter_rows(once, FilterConfig(), seed=5) == once


def test_dataset_rules_judge_only_what_reached_them(make_trajectory: Any) -> None:
    rows = filter_rows([make_trajectory(correct=False)], FilterConfig(), seed=0)
    assert {v.rule for v in rows[0].filters}.isdisjoint({"one_per_problem", "call_balance"})


def test_the_yield_table_counts_each_row_at_its_first_failing_rule(make_trajectory: Any) -> None:
    """Ten rows, counted by hand."""
    rows = [
        make_trajectory(problem="a"),
        make_trajectory(problem="a", attempt=1),
        make_trajectory(problem="b"),
        make_trajectory(problem="c", correct=False, codes=("print(1)",)),
        make_trajectory(problem="d", correct=False),
        make_trajectory(problem="e", outcomes=(Outcome.OK, Outcome.ERROR)),
        make_trajectory(problem="f", ending=Ending.ENGINE_ERROR, verdict=None),
        make_trajectory(problem="g", codes=("print(1)",)),
        make_trajectory(problem="b", program=Program.COT, codes=()),
        make_trajectory(problem="a", program=Program.COT, codes=(), correct=False),
    ]
    config = ALL_CALLS.model_copy(update={"cot_minimum_samples": 1})
    table = yield_table(filter_rows(rows, config, seed=0))
    dropping = [row for row in table if row.dropped]
    assert dropping == [
        YieldRow("infrastructure", entered=8, dropped=1, kept=7),
        YieldRow("correct", entered=7, dropped=2, kept=5),
        YieldRow("executed", entered=5, dropped=1, kept=4),
        YieldRow("code_quality", entered=4, dropped=1, kept=3),
        YieldRow("one_per_problem", entered=3, dropped=1, kept=2),
        YieldRow("cot_solvable", entered=2, dropped=1, kept=1),
    ]
    judging = [rule.value for rule in Rule if config.applies(rule)]
    assert ["program", *(row.rule for row in table)] == judging


def test_the_yield_of_nothing_is_an_empty_table() -> None:
    assert yield_table(filter_rows([], FilterConfig(), seed=0)) == []


def test_filtering_holds_the_rows_of_one_problem(make_trajectory: Any) -> None:
    size = 100_000

    def read() -> Iterator[Trajectory]:
        for number in range(200):
            row = make_trajectory(problem=f"p{number // 4:02}", attempt=number)
            step = dataclasses.replace(row.steps[0], draft=f"{number}" + "x" * size)
            yield dataclasses.replace(row, steps=(step, *row.steps[1:]))

    config = FilterConfig(keep_share_by_calls={}, near_duplicate=0.6)
    few = [make_trajectory(problem=name) for name in ("a", "b")]
    list(Filtering(lambda: iter(few), config, seed=0).rows())  # imports are not counted
    tracemalloc.start()
    filtering = Filtering(read, config, seed=0)
    rows = sum(1 for row in filtering.rows() if row.filters)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (rows, filtering.count, filtering.problems) == (200, 200, 50)
    assert peak < 20 * size
    whole = filter_rows(read(), config, seed=0)
    assert list(Filtering(read, config, seed=0).rows()) == whole
    assert filtering.kept == sum(row.kept for row in whole)
    assert filtering.yields == yield_table(whole)
