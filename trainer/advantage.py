"""Group-relative advantages: who is compared with whom, and who drops out (method E5, E9).

    A_i = (R_i - mean(R)) / (std(R) + 1e-6)

over the surviving members of one group, with the sample standard deviation (method A5). Groups of
the two levels never mix (method D12). Without torch, so that a flow can ask the same of a round
that is not full yet.

Not covered: that step queries are no more than trajectory queries (method A18); the branches are
down-sampled where they are generated.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, stdev
from typing import NamedTuple

from storage.records import Level, Trajectory

EPSILON = 1e-6


class Drop(StrEnum):
    """Why a row teaches nothing."""

    INFRASTRUCTURE = "infrastructure"
    """The machinery broke, or refused the request; the row has no reward."""
    UNVERIFIABLE = "unverifiable"
    """The gold answer is nothing to judge by; the row has no reward."""
    NOTHING_SAMPLED = "nothing_sampled"
    """No token of it came from the policy."""
    FAILED_CODE = "failed_code"
    """A trajectory whose code failed: the environment may be to blame (method E5, A6)."""
    NO_CODE = "no_code"
    """A regenerated step without code: its reward is undefined (method A17)."""
    HALF_LOST = "half_lost"
    """More than half of its step group dropped out (method A17)."""
    ALONE = "alone"
    """Nothing left to compare it with (method A5, D13)."""
    ALL_ALIKE = "all_alike"
    """Every survivor of its group has the same reward."""


class Scored(NamedTuple):
    """What the group maths needs of a row."""

    trajectory_id: str
    level: Level
    group_id: str
    reward: float
    drop: Drop | None
    """Why the row drops out on its own account; its reward is then not read."""


@dataclass(frozen=True, slots=True)
class Credit:
    """What a round's rows teach."""

    advantages: dict[str, float]
    """By trajectory id; rows that dropped out are absent."""
    groups: dict[Level, int]
    """Groups with an advantage, which is what a quota counts."""
    dropped: dict[Level, Counter[Drop]]
    """Rows that teach nothing, by reason."""


def scored(row: Trajectory, keep_failed: bool = False) -> Scored:
    """The row's part in its group; `keep_failed` keeps trajectories whose code failed.

    Raises ValueError for a row without a group.
    """
    if row.group_id is None:
        raise ValueError(
            f"{row.trajectory_id} of {row.dataset!r} has no group to be compared in; "
            "train on a version whose rows are rollouts"
        )
    return Scored(
        row.trajectory_id, row.level, row.group_id, row.reward or 0.0, _own_drop(row, keep_failed)
    )


def _own_drop(row: Trajectory, keep_failed: bool) -> Drop | None:
    if row.reward is None:
        return Drop.UNVERIFIABLE if row.is_unverifiable else Drop.INFRASTRUCTURE
    if not any(row.tokens.loss_mask):
        return Drop.NOTHING_SAMPLED
    if row.level is Level.STEP:
        return None if row.calls else Drop.NO_CODE
    failed = any(call.outcome and call.outcome.is_code_failure for call in row.calls)
    return Drop.FAILED_CODE if failed and not keep_failed else None


def credit(rows: Iterable[Scored]) -> Credit:
    """Advantages of all rows that some other row of their group contrasts with."""
    members: defaultdict[tuple[Level, str], list[Scored]] = defaultdict(list)
    for row in rows:
        members[row.level, row.group_id].append(row)
    found = Credit({}, {level: 0 for level in Level}, {level: Counter() for level in Level})
    for (level, _), group in members.items():
        survivors = [row for row in group if row.drop is None]
        found.dropped[level].update(row.drop for row in group if row.drop is not None)
        if reason := _group_drop(level, group, survivors):
            found.dropped[level][reason] += len(survivors)
            continue
        found.groups[level] += 1
        rewards = group_advantages([row.reward for row in survivors])
        found.advantages.update(zip((row.trajectory_id for row in survivors), rewards, strict=True))
    return found


def _group_drop(level: Level, group: list[Scored], survivors: list[Scored]) -> Drop | None:
    if level is Level.STEP and 2 * len(survivors) < len(group):
        return Drop.HALF_LOST
    if len(survivors) < 2:
        return Drop.ALONE
    if len({row.reward for row in survivors}) == 1:
        return Drop.ALL_ALIKE
    return None


def group_advantages(rewards: Sequence[float]) -> list[float]:
    """A_i of one group; at least two rewards."""
    mean, deviation = fmean(rewards), stdev(rewards)
    return [(reward - mean) / (deviation + EPSILON) for reward in rewards]
