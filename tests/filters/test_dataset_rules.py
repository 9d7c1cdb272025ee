"""Each of the optional rules, shown by a trajectory it dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from storage.records import Ending, Program, Step, Trajectory
from tirgen.filters.apply import filter_rows
from tirgen.filters.filter_config import FilterConfig, Rule, TrajectoryMode
from tirgen.filters.rules import accept

LOOP = "print(sum(n for n in range(10)))"


def dropped(rows: list[Trajectory], config: FilterConfig) -> dict[str, str]:
    """Rule and reason of what was dropped, by problem; nothing for rows that were kept."""
    return {
        row.problem.problem_id: f"{verdict.rule}: {verdict.reason}"
        for row in filter_rows(rows, config, seed=0)
        for verdict in row.filters
        if not verdict.kept
    }


def why(row: Trajectory, rule: Rule, config: FilterConfig | None = None) -> str:
    return next(v.reason for v in accept(row, config or FilterConfig()) if v.rule == rule)


def with_thought(row: Trajectory, thought: str) -> Trajectory:
    return replace(row, steps=(replace(row.steps[0], thought=thought), *row.steps[1:]))


@pytest.mark.parametrize(
    ("thought", "reason"),
    [
        ("So:\n```python\nprint(1)", "the thought of step 1 holds a block"),
        ("```output\n7\n```", "the thought of step 1 holds a block"),
        ("<think> Let me see.", "1 <think> and 0 </think>"),
        ("<think> a </think> <think> b </think>", "2 <think> and 2 </think>"),
    ],
)
def test_format_drops_blocks_and_sections_that_do_not_pair(
    make_trajectory: Any, thought: str, reason: str
) -> None:
    assert why(with_thought(make_trajectory(), thought), Rule.FORMAT).startswith(reason)


def test_format_drops_a_program_without_output(make_trajectory: Any) -> None:
    row = make_trajectory()
    row = replace(row, steps=(replace(row.steps[0], observation=None), *row.steps[1:]))
    assert why(row, Rule.FORMAT) == "the program of step 1 has no output"


def test_format_drops_thinking_without_an_answer(make_trajectory: Any) -> None:
    row = make_trajectory(steps=(Step(thought="<think> It is \\boxed{45}.</think>"),))
    assert why(row, Rule.FORMAT) == "no answer after </think>"


def test_format_names_what_the_loop_refused(make_trajectory: Any) -> None:
    row = make_trajectory(ending=Ending.OFF_FORMAT, error="the critic left a block open")
    assert why(row, Rule.FORMAT) == "the critic left a block open"


def test_thinking_that_ends_before_the_answer_is_sound(make_trajectory: Any) -> None:
    row = with_thought(make_trajectory(), "<think> Let me see. </think> The sum is")
    assert why(row, Rule.FORMAT) == ""


def test_length_has_bounds_by_mode(make_trajectory: Any) -> None:
    config = FilterConfig(
        shortest={TrajectoryMode.REASONING: 3000}, longest={TrajectoryMode.NON_REASONING: 9}
    )
    short = make_trajectory()
    thinking = with_thought(short, "<think> Hm. </think> So")
    assert "in non_reasoning mode, more than 9" in why(short, Rule.LENGTH, config)
    assert "in reasoning mode, fewer than 3000" in why(thinking, Rule.LENGTH, config)
    counted = replace(thinking, steps=(replace(thinking.steps[0], policy_tokens=3000),))
    assert why(counted, Rule.LENGTH, config) == ""


def test_interaction_density_drops_few_calls(make_trajectory: Any) -> None:
    config = FilterConfig(minimum_calls=4, keep_share_by_calls={})
    rows = [make_trajectory(problem="few"), make_trajectory(problem="many", codes=(LOOP,) * 4)]
    assert dropped(rows, config) == {"few": "interaction_density: 2 calls"}


def test_one_of_a_problem_is_drawn_or_the_richest_stands_for_it(make_trajectory: Any) -> None:
    rows = [make_trajectory(attempt=n, codes=(LOOP,) * calls) for n, calls in enumerate((2, 5, 3))]
    config = FilterConfig(keep_share_by_calls={}, richest_per_problem=True)
    assert [row.attempt for row in filter_rows(rows, config, seed=0) if row.kept] == [1]
    by_chance = [
        row.attempt
        for seed in range(20)
        for row in filter_rows(rows, FilterConfig(), seed)
        if row.kept
    ]
    assert len(set(by_chance)) == 3


def test_near_duplicates_across_problems_keep_one_and_name_it(make_trajectory: Any) -> None:
    config = FilterConfig(near_duplicate=0.6, keep_share_by_calls={})
    rows = [
        make_trajectory(problem="a", question="How many positive divisors does 196 have?"),
        make_trajectory(problem="b", question="How many positive divisors does 196 have in total?"),
        make_trajectory(problem="c", question="How many positive divisors does 198 have?"),
    ]
    found = dropped(rows, config)
    assert len(found) == 1
    (name,) = found
    other = {"a": "b", "b": "a"}[name]
    assert found[name].startswith("near_duplicate: similar 0.")
    assert found[name].endswith(f": {other}")


def test_difficulties_are_thinned_to_their_shares(make_trajectory: Any) -> None:
    config = FilterConfig(
        keep_share_by_difficulty={"easy": 0.0, "cot 1/2": 0.0}, keep_share_by_calls={}
    )
    published = make_trajectory(problem="p", question="1?")
    easy = replace(published, problem=replace(published.problem, difficulty="easy"))
    measured = [make_trajectory(problem="m", question="2?")] + [
        make_trajectory(problem="m", program=Program.COT, codes=(), attempt=k, correct=k == 0)
        for k in range(2)
    ]
    hard = make_trajectory(problem="h", question="3?")
    found = {
        row.problem.problem_id: [v.reason for v in row.filters if not v.kept]
        for row in filter_rows([easy, *measured, hard], config, seed=0)
        if row.program is Program.TIRGEN
    }
    assert found == {"p": ["easy is thinned to 0"], "m": ["cot 1/2 is thinned to 0"], "h": []}
