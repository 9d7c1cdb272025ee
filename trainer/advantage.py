"""Group-relative advantages of a round's rows (method E5, E9).

    A_i = (R_i - mean(R)) / (std(R) + 1e-6)

over the rows left of one group, with the sample standard deviation (method A5). Which rows are left
is decided by `storage.groups`.

Not covered: that step queries are no more than trajectory queries (method A18); the branches are
down-sampled where they are generated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from storage.groups import Drop, Member, groups, member
from storage.records import Level, Trajectory

EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Credit:
    """What a round's rows teach."""

    advantages: dict[str, float]
    """By trajectory id; rows that dropped out are absent."""
    groups: dict[Level, int]
    """Groups with an advantage, which is what a quota counts."""
    dropped: dict[Level, Counter[Drop]]
    """Rows that teach nothing, by reason."""


def trained_member(row: Trajectory, keep_failed: bool = False) -> Member:
    """The row as its group sees it; a row without a token of the policy drops out too.

    `keep_failed` keeps trajectories whose code failed. Raises ValueError for a row without a group.
    """
    if row.group_id is None:
        raise ValueError(
            f"{row.trajectory_id} of {row.dataset!r} has no group to be compared in; "
            "train on a version whose rows are rollouts"
        )
    found = member(row, keep_failed)
    if row.reward is not None and not any(row.tokens.loss_mask):
        return found._replace(dropped=Drop.NOTHING_SAMPLED)
    return found


def credit(members: Iterable[Member]) -> Credit:
    """Advantages of all rows left in a group whose rewards differ."""
    found = Credit({}, {level: 0 for level in Level}, {level: Counter() for level in Level})
    for group in groups(members):
        left, dropped = group.left, found.dropped[group.level]
        dropped.update(each.dropped for each in group.members if each.dropped is not None)
        if reason := group.dropped:
            dropped[reason] += len(left)
            continue
        found.groups[group.level] += 1
        advantages = group_advantages([each.reward for each in left])
        ids = (each.trajectory_id for each in left)
        found.advantages.update(zip(ids, advantages, strict=True))
    return found


def group_advantages(rewards: Sequence[float]) -> list[float]:
    """A_i of one group; at least two rewards."""
    mean, deviation = fmean(rewards), stdev(rewards)
    return [(reward - mean) / (deviation + EPSILON) for reward in rewards]
