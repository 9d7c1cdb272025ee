"""Who is compared with whom, and who drops out (method E5, E9, A5, A6, A17)."""

import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from storage.groups import Drop, FailedCode, member
from storage.records import (
    UNVERIFIABLE,
    Ending,
    Level,
    Outcome,
    Step,
    TokenStream,
    Trajectory,
    Verdict,
)
from storage.schema import to_batch
from tests.trainer.tiny_policy import trajectory
from trainer.advantage import CreditRow, credit, group_advantages, resampled
from trainer.rows import rows_of
from trainer.settings import Baseline, CreditConfig

PAPER = CreditConfig()
TOKENS = TokenStream(token_ids=(1, 2), loss_mask=(False, True), logprobs=(None, -1.0))


def group(*rewards: float, level: Level = Level.TRAJECTORY, name: str = "g") -> list[CreditRow]:
    return [
        CreditRow(
            trajectory_id=f"{name}{i}",
            level=level,
            group_id=name,
            reward=reward,
            calls=1,
            sampled=9,
        )
        for i, reward in enumerate(rewards)
    ]


def failed(name: str) -> CreditRow:
    row = group(0.0)[0]
    return replace(row, trajectory_id=name, failed_calls=1)


def without_code(name: str) -> CreditRow:
    return replace(group(0.0, level=Level.STEP)[0], trajectory_id=name, calls=0)


def read(*rows: Trajectory) -> list[CreditRow]:
    return list(rows_of(to_batch(rows, Trajectory)))


def dropped_row(row: Trajectory, config: CreditConfig = PAPER) -> tuple[Drop | None, float]:
    [found] = read(row)
    member = found.member(config)
    return member.dropped, member.reward


def test_rewards_1_0_0_1_give_plus_and_minus_0_866() -> None:
    """Method C5: the sample standard deviation is 0.5774."""
    assert group_advantages([1, 0, 0, 1]) == pytest.approx([0.866, -0.866, -0.866, 0.866], abs=1e-3)


def test_a_group_with_one_survivor_contributes_nothing() -> None:
    """Method C5; D13 gave it its reward as advantage."""
    found = credit([*group(1.0), failed("lost")], PAPER)
    assert found.advantages == {}
    assert found.groups[Level.TRAJECTORY] == 0
    assert found.dropped[Level.TRAJECTORY] == {Drop.FAILED_CODE: 1, Drop.ALONE: 1}


def test_a_group_that_all_solve_contributes_nothing() -> None:
    found = credit(group(1, 1, 1), PAPER)
    assert found.advantages == {}
    assert found.dropped[Level.TRAJECTORY] == {Drop.ALL_ALIKE: 3}


def test_statistics_are_those_of_the_survivors() -> None:
    lost = [failed(f"lost{i}") for i in range(6)]
    found = credit([*group(1, 0), *lost], PAPER)
    assert found.advantages == pytest.approx({"g0": 0.7071, "g1": -0.7071}, abs=1e-3)


def test_groups_of_the_two_levels_never_mix() -> None:
    """Method D12: the same name at two levels is two groups."""
    steps = [
        replace(row, trajectory_id=f"step{n}")
        for n, row in enumerate(group(1, 1, level=Level.STEP))
    ]
    found = credit([*group(1, 0), *steps], PAPER)
    assert found.groups == {Level.TRAJECTORY: 1, Level.STEP: 0}
    assert found.advantages == credit(group(1, 0), PAPER).advantages
    assert found.dropped[Level.STEP] == {Drop.ALL_ALIKE: 2}


def test_groups_are_found_by_name_whatever_their_sizes_and_their_order() -> None:
    """Method D12: there groups were so many rows that follow each other."""
    groups = [
        group(1, 0, 0, 1, name="four"),
        group(1, 0, name="two"),
        group(0, 1, 0, level=Level.STEP, name="three"),
        group(1, 0, 0, 0, 0, level=Level.STEP, name="five"),
    ]
    wanted = {
        row.trajectory_id: value
        for members in groups
        for row, value in zip(
            members, group_advantages([m.reward or 0.0 for m in members]), strict=True
        )
    }
    rows = [row for members in groups for row in members]
    for seed in range(5):
        mixed = random.Random(seed).sample(rows, len(rows))
        assert credit(mixed, PAPER).advantages == pytest.approx(wanted)


@pytest.mark.parametrize(("lost", "groups"), [(2, 1), (3, 0)])
def test_a_step_group_needs_half_of_its_members(lost: int, groups: int) -> None:
    """Method A17."""
    rows = group(1, 0, level=Level.STEP)
    rows += [without_code(f"lost{i}") for i in range(lost)]
    found = credit(rows, PAPER)
    assert found.groups[Level.STEP] == groups
    assert found.dropped[Level.STEP][Drop.HALF_LOST] == (0 if groups else 2)


def test_a_trajectory_whose_code_failed_drops_out_even_when_right() -> None:
    row = trajectory(0, "g", TOKENS, correct=True, outcomes=(Outcome.OK, Outcome.TIMEOUT))
    assert dropped_row(row)[0] is Drop.FAILED_CODE
    assert dropped_row(row, CreditConfig(failed_code=FailedCode.KEEP)) == (None, 1)


def test_a_step_whose_code_failed_is_what_the_others_are_compared_with() -> None:
    row = trajectory(0, "g", TOKENS, level=Level.STEP, outcomes=(Outcome.ERROR,))
    assert dropped_row(row) == (None, 0.0)


def test_a_step_without_code_has_no_reward() -> None:
    row = trajectory(0, "g", TOKENS, level=Level.STEP, outcomes=())
    assert dropped_row(row)[0] is Drop.NO_CODE


def test_a_broken_sandbox_changes_no_advantage() -> None:
    """Method D7: rows that the machinery broke are nobody's failure."""
    broken = trajectory(9, "g", TOKENS, ending=Ending.SANDBOX_ERROR, verdict=None)
    rows = [trajectory(i, "g", TOKENS, correct=i == 0) for i in range(3)]
    assert dropped_row(broken)[0] is Drop.INFRASTRUCTURE
    without = credit(read(*rows), PAPER).advantages
    assert credit(read(*rows, broken), PAPER).advantages == without


def test_a_problem_whose_gold_answer_cannot_be_verified_changes_no_advantage() -> None:
    """Neither right nor wrong: as a wrong answer it would teach against whatever it said."""
    undecided = Verdict(correct=False, method=UNVERIFIABLE, reason="unit")
    unread = [trajectory(i, "g", TOKENS, verdict=undecided) for i in (1, 2)]
    found = credit(read(trajectory(0, "g", TOKENS, correct=True), *unread), PAPER)
    assert found.advantages == {}
    assert found.dropped[Level.TRAJECTORY] == {Drop.UNVERIFIABLE: 2, Drop.ALONE: 1}


def test_a_refused_request_is_no_wrong_answer() -> None:
    refused = trajectory(0, "g", TOKENS, ending=Ending.REFUSED, verdict=None)
    assert dropped_row(refused)[0] is Drop.INFRASTRUCTURE


def test_a_row_of_which_nothing_was_sampled_drops_out() -> None:
    assert dropped_row(trajectory(0, "g", TokenStream()))[0] is Drop.NOTHING_SAMPLED


def test_a_row_without_a_group_is_refused() -> None:
    with pytest.raises(ValueError, match="no group"):
        read(trajectory(0, "g", TOKENS, group_id=None))


# Rules and baselines of other papers: a table in docs/training.md lists them.


@pytest.mark.parametrize("rewards", [[1, 0, 0, 1], [1, 0], [0, 0, 0, 0, 1], [0.25, 1, -1]])
def test_each_baseline_is_its_equation_in_exact_fractions(rewards: list[float]) -> None:
    exact = [Fraction(reward) for reward in rewards]
    mean = sum(exact) / len(exact)
    centred = [float(reward - mean) for reward in exact]
    others = [
        float(reward - sum(exact[:i] + exact[i + 1 :]) / (len(exact) - 1))
        for i, reward in enumerate(exact)
    ]
    variance = sum((reward - mean) ** 2 for reward in exact) / (len(exact) - 1)
    scaled = [value / (float(variance) ** 0.5 + 1e-6) for value in centred]
    assert group_advantages(rewards, Baseline.MEAN_ONLY) == pytest.approx(centred)
    assert group_advantages(rewards, Baseline.LEAVE_ONE_OUT) == pytest.approx(others)
    assert group_advantages(rewards, Baseline.GROUP_STD) == pytest.approx(scaled)


def test_without_the_deviation_a_group_that_nearly_all_solve_does_not_weigh_more() -> None:
    """Dr. GRPO: of 16 rollouts one is wrong. Divided by the deviation, that one weighs 3.75."""
    rewards = [1.0] * 15 + [0.0]
    assert group_advantages(rewards)[-1] == pytest.approx(-3.75, abs=1e-2)
    assert group_advantages(rewards, Baseline.MEAN_ONLY)[-1] == pytest.approx(-15 / 16)


RESAMPLE = CreditConfig(failed_code=FailedCode.RESAMPLE_ON_CORRECT)


def test_of_the_right_rows_those_with_the_fewest_failures_are_kept() -> None:
    """GRPO-RoC: half of the right ones and half of the wrong ones of a group of 2 G."""
    right = [replace(row, calls=4, failed_calls=n) for n, row in enumerate(group(1, 1, 1, 1))]
    wrong = [replace(row, failed_calls=1) for row in group(0, 0, 0, 0, 0, 0, name="w")]
    rows = right + [replace(row, group_id="g") for row in wrong]
    found = credit(rows, RESAMPLE)
    kept = Counter(name[0] for name in found.advantages)
    assert kept == {"g": 2, "w": 3}
    assert {"g0", "g1"} <= set(found.advantages)
    assert found.dropped[Level.TRAJECTORY] == {Drop.RESAMPLED: 5}
    # As in any group of the same rewards.
    assert sorted(found.advantages.values()) == pytest.approx(
        sorted(group_advantages([1, 1, 0, 0, 0]))
    )


def test_wrong_rows_are_drawn_evenly_and_by_the_seed_alone() -> None:
    rows = [replace(row, failed_calls=n % 2) for n, row in enumerate(group(*[0] * 10))]
    drawn: Counter[str] = Counter()
    for seed in range(400):
        kept = {row.trajectory_id for row in resampled(rows, seed)}
        assert kept == {row.trajectory_id for row in resampled(rows[::-1], seed)}
        drawn.update(kept)
    assert len(drawn) == 10
    assert all(160 < count < 240 for count in drawn.values())  # 200 +- 4 deviations


def test_a_lone_right_row_stays_however_much_of_it_failed() -> None:
    rows = [replace(group(1)[0], failed_calls=1), *group(0, 0, 0, name="w")]
    rows = [replace(row, group_id="g") for row in rows]
    assert "g0" in credit(rows, RESAMPLE).advantages


def test_a_masked_row_counts_in_its_group_and_teaches_nothing() -> None:
    """DAPO masks what was cut off, SimpleTIR void turns; TRL's masks leave the mean alone too."""
    rows = group(1, 0, 0, 1)
    rows[1] = replace(rows[1], cut_off=True)
    rows[2] = replace(rows[2], void=True)
    everything = credit(rows, PAPER).advantages
    for config, without in (
        (CreditConfig(mask_overlong=True), {"g1"}),
        (CreditConfig(mask_void_turns=True), {"g2"}),
        (CreditConfig(mask_overlong=True, mask_void_turns=True), {"g1", "g2"}),
    ):
        wanted = {name: value for name, value in everything.items() if name not in without}
        assert credit(rows, config).advantages == wanted
    both = credit(rows, CreditConfig(mask_overlong=True, mask_void_turns=True))
    assert both.dropped[Level.TRAJECTORY] == {Drop.OVERLONG: 1, Drop.VOID_TURN: 1}


def test_the_official_codes_rules_drop_short_replies_and_thin_groups() -> None:
    rows = [replace(row, reply_tokens=n) for row, n in zip(group(1, 0, 0, 1), (200, 150, 151, 9),
            strict=True)]  # fmt: skip
    found = credit(rows, CreditConfig(least_reply_tokens=151))
    assert set(found.advantages) == {"g0", "g2"}
    assert found.dropped[Level.TRAJECTORY] == {Drop.TOO_SHORT: 2}
    half = CreditConfig(least_reply_tokens=151, least_group_share=0.5)
    assert credit(rows, half).advantages == found.advantages
    more = CreditConfig(least_reply_tokens=151, least_group_share=0.51)
    assert credit(rows, more).dropped[Level.TRAJECTORY] == {Drop.TOO_SHORT: 2, Drop.HALF_LOST: 2}
    assert credit(group(1, 0, level=Level.STEP), more).groups[Level.STEP] == 1


WORDS = Step(thought="It is plain.")
CALL = Step(thought="So", action="print(1)", observation="1", outcome=Outcome.OK)


@pytest.mark.parametrize(
    ("fields", "void", "cut_off"),
    [
        ({"steps": (CALL, WORDS), "final_answer": None}, True, False),
        ({"steps": (WORDS,), "final_answer": None, "ending": Ending.OFF_FORMAT}, True, False),
        ({"steps": (CALL, WORDS), "final_answer": "42"}, False, False),
        ({"steps": (CALL,), "final_answer": None, "ending": Ending.EXECUTION_FAILED}, False, False),
        ({"steps": (WORDS,), "final_answer": None, "ending": Ending.TOKEN_LIMIT}, False, True),
    ],
)
def test_a_void_turn_has_neither_a_program_nor_an_answer(
    fields: dict[str, Any], void: bool, cut_off: bool
) -> None:
    [row] = read(trajectory(0, "g", TOKENS, **fields))
    assert (row.void, row.cut_off) == (void, cut_off)


@pytest.mark.parametrize(
    ("tokens", "penalty"), [(10, 0), (80, 0), (85, 0.25), (90, 0.5), (100, 1), (140, 1)]
)
def test_a_reply_near_its_limit_loses_reward_as_in_dapo(tokens: int, penalty: float) -> None:
    """Equation 13 with a limit of 100 tokens and a buffer of 20."""
    long, short = group(1, 0)
    long = replace(long, reply_tokens=tokens)
    config = CreditConfig(overlong_buffer=20, baseline=Baseline.MEAN_ONLY)
    found = credit([long, short], config, limit=100)
    if penalty == 1:
        assert found.advantages == {"g0": 0, "g1": 0}
    assert found.advantages["g0"] == pytest.approx((1 - penalty) / 2)


def test_length_alone_makes_no_group_mixed() -> None:
    """DAPO's filter looks at the answers; a group that all solve stays out."""
    rows = [replace(row, reply_tokens=50 * n) for n, row in enumerate(group(1, 1, 1))]
    found = credit(rows, CreditConfig(overlong_buffer=20), limit=100)
    assert found.dropped[Level.TRAJECTORY] == {Drop.ALL_ALIKE: 3}


def test_the_penalty_needs_the_limit_of_the_rollouts() -> None:
    with pytest.raises(ValueError, match=r"loop\.tokens"):
        credit(group(1, 0), CreditConfig(overlong_buffer=20))


def test_rows_are_judged_by_columns_as_the_records_judge_themselves() -> None:
    """Every ending, outcome and verdict, at both levels."""
    verdicts = (
        Verdict(correct=True, method="rule", reason="unit"),
        Verdict(correct=False, method=UNVERIFIABLE, reason="unit"),
        None,
    )
    rows = [
        trajectory(0, "g", TOKENS, ending=ending, verdict=verdict, level=level, outcomes=outcomes)
        for ending in Ending
        for verdict in verdicts
        for level in Level
        for outcomes in ((), *((Outcome.OK, outcome) for outcome in Outcome))
    ]
    for row, found in zip(rows, read(*rows), strict=True):
        wanted = member(row)
        assert found.reward == row.reward
        assert found.member(PAPER)[2:] == wanted[2:]
