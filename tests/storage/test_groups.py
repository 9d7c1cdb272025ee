from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from storage.groups import RULES, Drop, Group, count, judge, member
from storage.records import (
    UNVERIFIABLE,
    Ending,
    Level,
    Outcome,
    Program,
    Step,
    TokenStream,
    Trajectory,
    Verdict,
)
from tests.rows import row

STREAM = TokenStream(token_ids=(1, 2), loss_mask=(False, True), logprobs=(None, -1.0))


def sample(
    number: int = 0,
    right: bool = True,
    outcomes: tuple[Outcome, ...] = (Outcome.OK,),
    level: Level = Level.TRAJECTORY,
    ending: Ending = Ending.FINISHED,
    group: str = "p1",
    method: str = "m",
) -> Trajectory:
    made = row("p1", number, program=Program.ROLLOUT, ending=ending)
    return replace(
        made,
        trajectory_id=f"{level}-{group}-{number}",
        steps=tuple(Step(thought="", action="x", outcome=outcome) for outcome in outcomes),
        verdict=None if level is Level.STEP else Verdict(correct=right, method=method, reason="r"),
        level=level,
        group_id=group,
        tokens=STREAM,
    )


def rules(*rows: Trajectory) -> list[str | None]:
    return [next((v.rule for v in r.filters if not v.kept), None) for r in judge(rows)]


def test_a_mixed_group_is_kept() -> None:
    assert rules(sample(0), sample(1, right=False)) == [None, None]


def test_a_trajectory_with_failed_code_is_left_out_of_its_group() -> None:
    failed = sample(2, outcomes=(Outcome.OK, Outcome.ERROR))
    assert rules(sample(0), sample(1, right=False), failed) == [None, None, "failed_code"]
    assert rules(sample(0), sample(1), replace(failed)) == ["all_alike", "all_alike", "failed_code"]


def test_a_single_survivor_teaches_nothing() -> None:
    """Method D13: there it kept an advantage equal to its reward."""
    assert rules(sample(0), sample(1, outcomes=(Outcome.TIMEOUT,))) == ["alone", "failed_code"]


def test_infrastructure_is_neither_right_nor_wrong() -> None:
    """Method D7, C7: what the machinery lost changes no other row's verdict."""
    lost = sample(2, ending=Ending.SANDBOX_ERROR)
    with_it = rules(sample(0), sample(1, right=False), lost)
    assert with_it == [None, None, "infrastructure"]


def test_a_step_is_rewarded_for_code_that_ran_only() -> None:
    steps = [
        sample(0, level=Level.STEP),
        sample(1, level=Level.STEP, outcomes=(Outcome.NO_OUTPUT,)),
        sample(2, level=Level.STEP, outcomes=()),
    ]
    assert [each.reward for each in steps][:2] == [1.0, 0.0]
    assert rules(*steps) == [None, None, "no_code"]


def test_a_step_group_that_lost_more_than_half_is_dropped() -> None:
    """Method A17."""
    some = [sample(n, level=Level.STEP, outcomes=()) for n in range(2, 4)]
    mixed = [
        sample(0, level=Level.STEP),
        sample(1, level=Level.STEP, outcomes=(Outcome.ERROR,)),
    ]
    assert rules(*mixed, *some)[:2] == [None, None]
    assert rules(*mixed, *some, sample(9, level=Level.STEP, outcomes=()))[:2] == ["half_lost"] * 2


def test_groups_of_the_two_levels_never_mix() -> None:
    """Method D12."""
    assert rules(sample(0), sample(1, level=Level.STEP, outcomes=(Outcome.ERROR,))) == [
        "alone",
        "alone",
    ]


def test_counts_are_of_groups_and_of_rows() -> None:
    judged = judge(
        [
            sample(0),
            sample(1, right=False),
            sample(0, group="p2"),
            sample(1, group="p2"),
            sample(0, level=Level.STEP),
        ]
    )
    found = count(Level.TRAJECTORY, judged)
    assert (found.groups, found.mixed, found.rows, found.kept_rows) == (2, 1, 4, 2)
    assert found.dropped == {"all_alike": 2}
    assert count(Level.STEP, judged).dropped == {"alone": 1}


members = st.builds(
    sample,
    number=st.integers(0, 10**6),
    right=st.booleans(),
    outcomes=st.lists(st.sampled_from([Outcome.OK, Outcome.ERROR]), max_size=2).map(tuple),
    level=st.sampled_from(Level),
    ending=st.sampled_from(
        [Ending.FINISHED, Ending.ENGINE_ERROR, Ending.TOKEN_LIMIT, Ending.REFUSED]
    ),
    group=st.sampled_from(["p1", "p2"]),
    method=st.sampled_from(["m", UNVERIFIABLE]),
)


@given(st.lists(members, max_size=12, unique_by=lambda r: r.trajectory_id), st.booleans())
def test_kept_rows_are_those_that_the_method_compares(
    rows: list[Trajectory], keep_failed: bool
) -> None:
    """Method A5, A6 and A17, written out once more without the rules' names."""

    def has_reward(r: Trajectory) -> bool:
        machinery = r.ending in (Ending.ENGINE_ERROR, Ending.REFUSED)
        if r.level is Level.STEP:
            return not machinery and len(r.steps) > 0
        failed = any(step.outcome is Outcome.ERROR for step in r.steps)
        assert r.verdict
        return not machinery and r.verdict.method != UNVERIFIABLE and (keep_failed or not failed)

    wanted = set()
    for level in Level:
        for name in ("p1", "p2"):
            group = [r for r in rows if r.level is level and r.group_id == name]
            left = [r for r in group if has_reward(r)]
            lost_half = level is Level.STEP and len(left) < len(group) / 2
            if not lost_half and len({r.reward for r in left}) == 2:
                wanted |= {r.trajectory_id for r in left}
    judged = judge(rows, keep_failed)
    assert {r.trajectory_id for r in judged if r.kept} == wanted
    for level in Level:
        found = count(level, judged)
        dropped = [r for r in judged if r.level is level and not r.kept]
        assert found.mixed == len({r.group_id for r in judged if r.level is level and r.kept})
        assert sum(found.dropped.values()) == len(dropped)


def test_every_rule_says_why() -> None:
    for level, reasons in RULES.items():
        for rule, reason in reasons.items():
            assert rule
            assert reason, level
    assert Group(Level.STEP, []).dropped is Drop.ALONE
    assert member(sample()).dropped is None


def test_a_gold_answer_that_cannot_be_verified_is_no_reward() -> None:
    unread = sample(2, right=False, method=UNVERIFIABLE)
    assert unread.reward is None
    assert rules(sample(0), sample(1, right=False), unread) == [None, None, "unverifiable"]
    assert rules(sample(0), unread) == ["alone", "unverifiable"]
