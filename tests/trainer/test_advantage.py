"""Who is compared with whom, and who drops out (method E5, E9, A5, A6, A17)."""

import random

import pytest

from storage.groups import Drop, Member
from storage.records import UNVERIFIABLE, Ending, Level, Outcome, TokenStream, Verdict
from tests.trainer.tiny_policy import trajectory
from trainer.advantage import credit, group_advantages, trained_member

TOKENS = TokenStream(token_ids=(1, 2), loss_mask=(False, True), logprobs=(None, -1.0))


def group(*rewards: float, level: Level = Level.TRAJECTORY, name: str = "g") -> list[Member]:
    return [Member(f"{name}{i}", level, name, reward, None) for i, reward in enumerate(rewards)]


def dropped(name: str, drop: Drop, level: Level = Level.STEP) -> Member:
    return Member(name, level, "g", 0.0, drop)


def test_rewards_1_0_0_1_give_plus_and_minus_0_866() -> None:
    """Method C5: the sample standard deviation is 0.5774."""
    assert group_advantages([1, 0, 0, 1]) == pytest.approx([0.866, -0.866, -0.866, 0.866], abs=1e-3)


def test_a_group_with_one_survivor_contributes_nothing() -> None:
    """Method C5; D13 gave it its reward as advantage."""
    lost = dropped("lost", Drop.FAILED_CODE, Level.TRAJECTORY)
    found = credit([*group(1.0), lost])
    assert found.advantages == {}
    assert found.groups[Level.TRAJECTORY] == 0
    assert found.dropped[Level.TRAJECTORY] == {Drop.FAILED_CODE: 1, Drop.ALONE: 1}


def test_a_group_that_all_solve_contributes_nothing() -> None:
    found = credit(group(1, 1, 1))
    assert found.advantages == {}
    assert found.dropped[Level.TRAJECTORY] == {Drop.ALL_ALIKE: 3}


def test_statistics_are_those_of_the_survivors() -> None:
    lost = [dropped(f"lost{i}", Drop.FAILED_CODE, Level.TRAJECTORY) for i in range(6)]
    found = credit([*group(1, 0), *lost])
    assert found.advantages == pytest.approx({"g0": 0.7071, "g1": -0.7071}, abs=1e-3)


def test_groups_of_the_two_levels_never_mix() -> None:
    """Method D12: the same name at two levels is two groups."""
    steps = [Member(f"step{n}", Level.STEP, "g", 1.0, None) for n in range(2)]
    found = credit([*group(1, 0), *steps])
    assert found.groups == {Level.TRAJECTORY: 1, Level.STEP: 0}
    assert found.advantages == credit(group(1, 0)).advantages
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
        for row, value in zip(members, group_advantages([m.reward for m in members]), strict=True)
    }
    rows = [row for members in groups for row in members]
    for seed in range(5):
        mixed = random.Random(seed).sample(rows, len(rows))
        assert credit(mixed).advantages == pytest.approx(wanted)


@pytest.mark.parametrize(("lost", "groups"), [(2, 1), (3, 0)])
def test_a_step_group_needs_half_of_its_members(lost: int, groups: int) -> None:
    """Method A17."""
    rows = group(1, 0, level=Level.STEP)
    rows += [dropped(f"lost{i}", Drop.NO_CODE) for i in range(lost)]
    found = credit(rows)
    assert found.groups[Level.STEP] == groups
    assert found.dropped[Level.STEP][Drop.HALF_LOST] == (0 if groups else 2)


def test_a_trajectory_whose_code_failed_drops_out_even_when_right() -> None:
    row = trajectory(0, "g", TOKENS, correct=True, outcomes=(Outcome.OK, Outcome.TIMEOUT))
    assert trained_member(row).dropped is Drop.FAILED_CODE
    assert (
        trained_member(row, keep_failed=True).dropped,
        trained_member(row, keep_failed=True).reward,
    ) == (None, 1)


def test_a_step_whose_code_failed_is_what_the_others_are_compared_with() -> None:
    row = trajectory(0, "g", TOKENS, level=Level.STEP, outcomes=(Outcome.ERROR,))
    assert (trained_member(row).dropped, trained_member(row).reward) == (None, 0.0)


def test_a_step_without_code_has_no_reward() -> None:
    row = trajectory(0, "g", TOKENS, level=Level.STEP, outcomes=())
    assert trained_member(row).dropped is Drop.NO_CODE


def test_a_broken_sandbox_changes_no_advantage() -> None:
    """Method D7: rows that the machinery broke are nobody's failure."""
    broken = trajectory(9, "g", TOKENS, ending=Ending.SANDBOX_ERROR, verdict=None)
    rows = [trajectory(i, "g", TOKENS, correct=i == 0) for i in range(3)]
    assert trained_member(broken).dropped is Drop.INFRASTRUCTURE
    without = credit(map(trained_member, rows)).advantages
    assert credit(map(trained_member, [*rows, broken])).advantages == without


def test_a_problem_whose_gold_answer_cannot_be_verified_changes_no_advantage() -> None:
    """Neither right nor wrong: as a wrong answer it would teach against whatever it said."""
    undecided = Verdict(correct=False, method=UNVERIFIABLE, reason="unit")
    unread = [trajectory(i, "g", TOKENS, verdict=undecided) for i in (1, 2)]
    found = credit(map(trained_member, [trajectory(0, "g", TOKENS, correct=True), *unread]))
    assert found.advantages == {}
    assert found.dropped[Level.TRAJECTORY] == {Drop.UNVERIFIABLE: 2, Drop.ALONE: 1}


def test_a_refused_request_is_no_wrong_answer() -> None:
    refused = trajectory(0, "g", TOKENS, ending=Ending.REFUSED, verdict=None)
    assert trained_member(refused).dropped is Drop.INFRASTRUCTURE


def test_a_row_of_which_nothing_was_sampled_drops_out() -> None:
    assert trained_member(trajectory(0, "g", TokenStream())).dropped is Drop.NOTHING_SAMPLED


def test_a_row_without_a_group_is_refused() -> None:
    with pytest.raises(ValueError, match="no group"):
        trained_member(trajectory(0, "g", TOKENS, group_id=None))
