"""Which rows of a round can teach a policy: the rule for rollouts, the trainer and SQL.

First each row is judged alone, then what is left of its group. A row that drops out names the rule:

    infrastructure   the machinery broke, or the engine refused the request: no reward (method D7)
    unverifiable     trajectory level: the gold answer cannot be verified: no reward
    failed_code      trajectory level: a program failed, perhaps because of the environment
                     (method A6); not applied where such rows are kept, as most trainers do
    no_code          step level: no program was run, so there is no reward (method A17)
    half_lost        step level: fewer than half of the group are left (method A17)
    alone            no other row of the group is left to compare it with (method A5, D13)
    all_alike        all rows left of the group have the same reward

The verdicts are stored as filter verdicts, so `Trajectory.kept` says whether an update may use the
row. Pure: the same rows get the same verdicts in any order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from storage.records import FilterVerdict, Level, Trajectory


class FailedCode(StrEnum):
    """What an update learns from trajectories whose code failed."""

    DROP = "drop"
    """Nothing: the environment may be the reason (method A6)."""
    KEEP = "keep"
    """The same as from others, by whether the answer is right: the usual baseline."""
    RESAMPLE_ON_CORRECT = "resample_on_correct"
    """Half of every group is kept, of the right ones those with the fewest failures (GRPO-RoC):
    double `samples`."""


class Drop(StrEnum):
    """Why a row teaches nothing; the value is the name of the stored rule."""

    INFRASTRUCTURE = "infrastructure"
    UNVERIFIABLE = "unverifiable"
    NOTHING_SAMPLED = "nothing_sampled"
    """The row has no token of the policy. This and the next four are rules of the trainer alone
    (`trainer.advantage`), so they are never stored."""
    TOO_SHORT = "too_short"
    RESAMPLED = "resampled"
    OVERLONG = "overlong"
    VOID_TURN = "void_turn"
    FAILED_CODE = "failed_code"
    NO_CODE = "no_code"
    HALF_LOST = "half_lost"
    ALONE = "alone"
    ALL_ALIKE = "all_alike"


_BROKE = "engine or sandbox broke, or the engine refused the request"
_ALONE = "no other of its group is left"
_ALL_ALIKE = "all that are left of its group have the same reward"
RULES: dict[Level, dict[Drop, str]] = {
    Level.TRAJECTORY: {
        Drop.INFRASTRUCTURE: _BROKE,
        Drop.UNVERIFIABLE: "the gold answer cannot be verified",
        Drop.FAILED_CODE: "a program failed",
        Drop.ALONE: _ALONE,
        Drop.ALL_ALIKE: _ALL_ALIKE,
    },
    Level.STEP: {
        Drop.INFRASTRUCTURE: _BROKE,
        Drop.NO_CODE: "no program was run",
        Drop.HALF_LOST: "fewer than half of its group ran a program",
        Drop.ALONE: _ALONE,
        Drop.ALL_ALIKE: _ALL_ALIKE,
    },
}
"""By level, every rule in order with the reason that is stored where it drops a row."""


class Member(NamedTuple):
    """One row as its group sees it."""

    trajectory_id: str
    level: Level
    group_id: str | None
    reward: float
    """0 where the row is dropped for having none."""
    dropped: Drop | None
    """Why the row drops out before it is compared with others."""


def member(row: Trajectory, keep_failed: bool = False) -> Member:
    """A row judged alone; `keep_failed` keeps trajectories whose code failed."""
    dropped = dropped_alone(
        row.level,
        row.reward,
        unverifiable=row.is_unverifiable,
        ran_code=bool(row.calls),
        failed_code=any(call.outcome and call.outcome.is_code_failure for call in row.calls),
        keep_failed=keep_failed,
    )
    return Member(row.trajectory_id, row.level, row.group_id, row.reward or 0.0, dropped)


def dropped_alone(
    level: Level,
    reward: float | None,
    *,
    failed_code: bool,
    keep_failed: bool,
    unverifiable: bool = False,
    ran_code: bool = True,
) -> Drop | None:
    """The rule that drops a row with these properties, whatever its group holds."""
    if reward is None:
        return Drop.UNVERIFIABLE if unverifiable else Drop.INFRASTRUCTURE
    if level is Level.STEP:
        return None if ran_code else Drop.NO_CODE
    return Drop.FAILED_CODE if failed_code and not keep_failed else None


@dataclass(frozen=True, slots=True)
class Group:
    """The rows that are compared with one another."""

    level: Level
    members: Sequence[Member]

    @property
    def left(self) -> list[Member]:
        """The members that are not dropped alone."""
        return [each for each in self.members if each.dropped is None]

    @property
    def dropped(self) -> Drop | None:
        """The rule that drops all members left; None where their rewards differ."""
        left = self.left
        if self.level is Level.STEP and 2 * len(left) < len(self.members):
            return Drop.HALF_LOST
        if len(left) < 2:
            return Drop.ALONE
        return Drop.ALL_ALIKE if len({each.reward for each in left}) == 1 else None


def groups(members: Iterable[Member]) -> list[Group]:
    """The groups of these rows. Groups of the two levels never mix (method D12)."""
    found: defaultdict[tuple[Level, str | None], list[Member]] = defaultdict(list)
    for each in members:
        found[each.level, each.group_id].append(each)
    return [Group(level, held) for (level, _), held in found.items()]


def judge(rows: Iterable[Trajectory], keep_failed: bool = False) -> list[Trajectory]:
    """All rows with the verdicts of their level's rules; earlier verdicts are replaced.

    A group is of one problem, so the rows of each problem can be judged by themselves.
    """
    members = [(row, member(row, keep_failed)) for row in rows]
    dropped = {
        (group.level, group.members[0].group_id): group.dropped
        for group in groups(each for _, each in members)
    }
    return [
        replace(row, filters=_verdicts(row.level, each.dropped or dropped[row.level, row.group_id]))
        for row, each in members
    ]


def _verdicts(level: Level, dropped: Drop | None) -> tuple[FilterVerdict, ...]:
    """One verdict for each rule up to the one that drops the row."""
    verdicts: list[FilterVerdict] = []
    for rule, reason in RULES[level].items():
        if rule is dropped:
            return (*verdicts, FilterVerdict(rule=rule.value, kept=False, reason=reason))
        verdicts.append(FilterVerdict(rule=rule.value, kept=True))
    return tuple(verdicts)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCount:
    """What a round holds of one level."""

    groups: int
    mixed: int
    """Groups with an advantage: at least two rows are left, and their rewards differ."""
    rows: int
    kept_rows: int
    dropped: dict[str, int]
    """Dropped rows, by the rule that drops them."""

    def __add__(self, other: GroupCount) -> GroupCount:
        """The count of the rows of both, which have no group in common."""
        return GroupCount(
            groups=self.groups + other.groups,
            mixed=self.mixed + other.mixed,
            rows=self.rows + other.rows,
            kept_rows=self.kept_rows + other.kept_rows,
            dropped=dict(sorted((Counter(self.dropped) + Counter(other.dropped)).items())),
        )


def count(level: Level, judged: Iterable[Trajectory]) -> GroupCount:
    """Count the groups of one level among judged rows."""
    rows = [row for row in judged if row.level is level]
    dropped = Counter(v.rule for row in rows for v in row.filters if not v.kept)
    return GroupCount(
        groups=len({row.group_id for row in rows}),
        mixed=len({row.group_id for row in rows if row.kept}),
        rows=len(rows),
        kept_rows=sum(row.kept for row in rows),
        dropped=dict(sorted(dropped.items())),
    )
