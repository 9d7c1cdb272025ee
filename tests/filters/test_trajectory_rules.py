from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from storage.records import (
    UNVERIFIABLE,
    Ending,
    Opinion,
    Outcome,
    Program,
    Trajectory,
    Verdict,
)
from tirgen.filters.filter_config import FilterConfig, Rule
from tirgen.filters.rules import TRAJECTORY_RULES, accept

CONFIG = FilterConfig()


def dropped_by(trajectory: Trajectory, config: FilterConfig = CONFIG) -> dict[str, str]:
    return {v.rule: v.reason for v in accept(trajectory, config) if not v.kept}


def test_a_sound_trajectory_has_a_verdict_of_every_rule_and_is_kept(make_trajectory: Any) -> None:
    verdicts = accept(make_trajectory(), CONFIG)
    on = [rule.value for rule in TRAJECTORY_RULES if CONFIG.applies(rule)]
    assert [verdict.rule for verdict in verdicts] == on
    assert all(verdict.kept and verdict.reason == "" for verdict in verdicts)


def test_a_baseline_sample_meets_no_other_rule(make_trajectory: Any) -> None:
    (verdict,) = accept(make_trajectory(program=Program.COT, correct=False), CONFIG)
    assert (verdict.rule, verdict.kept, verdict.reason) == ("program", False, "baseline sample")


@pytest.mark.parametrize("ending", [Ending.ENGINE_ERROR, Ending.SANDBOX_ERROR])
def test_infrastructure_faults_are_dropped_with_what_broke(
    make_trajectory: Any, ending: Ending
) -> None:
    broken = make_trajectory(ending=ending, verdict=None, error="the engine did not answer")
    assert dropped_by(broken)["infrastructure"] == "the engine did not answer"


def test_a_call_lost_to_the_machinery_is_not_a_sample(make_trajectory: Any) -> None:
    lost = make_trajectory(outcomes=(Outcome.OK, Outcome.INFRA_ERROR))
    assert "infrastructure" in dropped_by(lost)


@pytest.mark.parametrize("ending", [Ending.STEP_LIMIT, Ending.TOKEN_LIMIT])
def test_truncated_trajectories_are_not_finished(make_trajectory: Any, ending: Ending) -> None:
    assert dropped_by(make_trajectory(ending=ending)) == {"finished": f"ended by {ending}"}


def test_an_answer_must_be_boxed(make_trajectory: Any) -> None:
    assert dropped_by(make_trajectory(final_answer=None)) == {"boxed": "no boxed answer"}


def test_wrong_answers_are_dropped_with_the_verdict_s_reason(make_trajectory: Any) -> None:
    assert dropped_by(make_trajectory(correct=False)) == {"correct": "exact: 45 vs 44"}


def test_a_trajectory_without_code_uses_no_tool(make_trajectory: Any) -> None:
    assert dropped_by(make_trajectory(codes=())) == {"uses_tool": "no code was run"}


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.TIMEOUT, Outcome.NO_OUTPUT])
def test_one_failed_call_drops_the_trajectory(make_trajectory: Any, outcome: Outcome) -> None:
    failed = make_trajectory(outcomes=(Outcome.OK, outcome))
    assert dropped_by(failed) == {"executed": f"1 of 2 calls failed: {outcome}"}


def test_one_trivial_block_alone_is_not_enough(make_trajectory: Any) -> None:
    trivial = make_trajectory(codes=("print(17 * 23)",))
    assert dropped_by(trivial) == {"code_quality": "none of 1 blocks is substantial"}


def test_overlaps_are_recorded_rule_by_rule(make_trajectory: Any) -> None:
    bad = make_trajectory(
        codes=("print(1)",), outcomes=(Outcome.ERROR,), correct=False, ending=Ending.TOKEN_LIMIT
    )
    assert set(dropped_by(bad)) == {"finished", "correct", "executed", "code_quality"}


def test_a_rule_that_is_off_leaves_no_verdict(make_trajectory: Any) -> None:
    config = FilterConfig(off=(Rule.CORRECT,))
    verdicts = accept(make_trajectory(correct=False), config)
    assert "correct" not in {verdict.rule for verdict in verdicts}


def test_a_trajectory_without_steps_is_dropped_not_a_crash(make_trajectory: Any) -> None:
    assert "uses_tool" in dropped_by(make_trajectory(steps=()))


def test_foreign_letters_and_repetition_are_found_in_what_the_policy_wrote(
    make_trajectory: Any,
) -> None:
    assert "language" in dropped_by(make_trajectory(thought="因此 we compute $s$."))
    assert "repetition" in dropped_by(make_trajectory(thought="Wait, let me check that. " * 30))


def test_an_odd_dollar_is_dropped(make_trajectory: Any) -> None:
    assert "dollar_parity" in dropped_by(
        make_trajectory(thought="We find $x$ and $y.", codes=("x",))
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"off": ["no_such_rule"]},
        {"off": ["program"]},
        {"trivial_blocks": 1.5},
        {"keep_share_by_calls": {1: 2.0}},
        {"threshold": 3},
    ],
)
def test_a_configuration_that_cannot_mean_anything_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FilterConfig.model_validate(wrong)


def test_a_configuration_survives_json() -> None:
    config = FilterConfig(off=(Rule.REPETITION, Rule.BOXED), keep_share_by_calls={1: 0.25, 2: 0.5})
    assert FilterConfig.model_validate_json(config.model_dump_json()) == config


def test_a_gold_answer_that_cannot_be_verified_is_a_rule_of_its_own(make_trajectory: Any) -> None:
    undecided = Verdict(correct=False, method=UNVERIFIABLE, reason="gold answer '' is empty")
    row = make_trajectory(verdict=undecided)
    first = next(verdict for verdict in accept(row, FilterConfig()) if not verdict.kept)
    assert (first.rule, first.reason) == ("verifiable", "gold answer '' is empty")
    assert row.reward is None


def test_a_judge_s_opinion_counts_where_it_is_told_to(make_trajectory: Any) -> None:
    said = Opinion(judge_correct=True, judge_model="j", judge_reason="yes")
    row = make_trajectory(correct=False, opinion=said)
    assert all(verdict.kept for verdict in accept(row, FilterConfig()))
    strict = accept(row, FilterConfig(judge_counts=False))
    assert [verdict.rule for verdict in strict if not verdict.kept] == ["correct"]
    assert row.reward == 0
