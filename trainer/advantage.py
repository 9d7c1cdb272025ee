"""Group-relative advantages of a round's rows (method E5, E9), and which rows teach.

Over the n rows left of one group, with rewards R:

    group_std       A_i = (R_i - mean(R)) / (std(R) + 1e-6)    the paper, GRPO (arXiv 2402.03300)
    mean_only       A_i = R_i - mean(R)                        Dr. GRPO (arXiv 2503.20783)
    leave_one_out   A_i = R_i - mean of the others' rewards    RLOO (arXiv 2402.14740)

with the sample standard deviation (method A5). Which rows are left is decided by `storage.groups`.
Rules of other papers and of the official code may change that:

    resample_on_correct   half of each group is left: of the right rows those with the smallest
                          share of failed programs (1/2 without programs), of the wrong ones any
                          (GRPO-RoC, arXiv 2508.20722)
    short replies, and groups of which too little is left, drop out (the official code of THOR)
    masked rows           count in their group, and teach nothing: void turns (SimpleTIR, arXiv
                          2509.02479), and what a limit cut off (DAPO, arXiv 2503.14476)
    overlong penalty      R_i - min(1, max(0, (|y_i| - (L - B)) / B)), a reply of |y_i| tokens under
                          the limit L with the buffer B (DAPO, equation 13)

Whether a group is mixed is decided before the penalty.

Not covered: that step queries are no more than trajectory queries (method A18); the branches are
down-sampled where they are generated.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from storage.groups import Drop, FailedCode, Group, Member, dropped_alone, groups
from storage.records import Level
from trainer.settings import Baseline, CreditConfig

EPSILON = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditRow:
    """What decides the credit of one row of a round."""

    trajectory_id: str
    level: Level
    group_id: str
    reward: float | None
    """None where the row cannot be scored."""
    unverifiable: bool = False
    calls: int = 0
    failed_calls: int = 0
    sampled: int
    """Tokens that the policy sampled."""
    reply_tokens: int = 0
    """Tokens behind the prompt, outputs included."""
    cut_off: bool = False
    """A limit ended the reply."""
    void: bool = False
    """The reply ended by itself, with neither a program nor an answer."""

    def member(self, config: CreditConfig) -> Member:
        """The row as its group sees it; a row without a token of the policy drops out too."""
        keep_failed = config.failed_code in (FailedCode.KEEP, FailedCode.RESAMPLE_ON_CORRECT)
        dropped = dropped_alone(
            self.level,
            self.reward,
            unverifiable=self.unverifiable,
            ran_code=self.calls > 0,
            failed_code=self.failed_calls > 0,
            keep_failed=keep_failed,
        )
        if self.reward is not None and not self.sampled:
            dropped = Drop.NOTHING_SAMPLED
        short = self.level is Level.TRAJECTORY and self.reply_tokens < config.least_reply_tokens
        if dropped is None and short:
            dropped = Drop.TOO_SHORT
        reward = self.reward or 0.0
        return Member(self.trajectory_id, self.level, self.group_id, reward, dropped)

    @property
    def failures(self) -> float:
        """The share of failed programs; without programs 1/2, as in GRPO-RoC."""
        return self.failed_calls / self.calls if self.calls else 0.5

    def masked(self, config: CreditConfig) -> Drop | None:
        """The rule by which the row teaches nothing though it counts in its group."""
        if self.level is Level.STEP:
            return None
        if config.mask_overlong and self.cut_off:
            return Drop.OVERLONG
        return Drop.VOID_TURN if config.mask_void_turns and self.void else None


@dataclass(frozen=True, slots=True)
class Credit:
    """What a round's rows teach."""

    advantages: dict[str, float]
    """By trajectory id; rows that dropped out are absent."""
    groups: dict[Level, int]
    """Groups with an advantage, which is what a quota counts."""
    dropped: dict[Level, Counter[Drop]]
    """Rows that teach nothing, by reason."""


def credit(
    rows: Iterable[CreditRow], config: CreditConfig, seed: int = 0, limit: int | None = None
) -> Credit:
    """Advantages of all rows left in a group whose rewards differ.

    `limit` is L, the most tokens of a reply. Raises ValueError if the penalty needs it and it is
    None.
    """
    if config.overlong_buffer and limit is None:
        raise ValueError("overlong_buffer needs rollouts whose configuration has loop.tokens")
    known = {row.trajectory_id: row for row in rows}
    found = Credit({}, {level: 0 for level in Level}, {level: Counter() for level in Level})
    for group in groups(row.member(config) for row in known.values()):
        dropped = found.dropped[group.level]
        dropped.update(each.dropped for each in group.members if each.dropped is not None)
        if reason := group.dropped or _half_lost(group, config):
            dropped[reason] += len(group.left)
            continue
        found.groups[group.level] += 1
        left = [known[each.trajectory_id] for each in group.left]
        if config.failed_code is FailedCode.RESAMPLE_ON_CORRECT and group.level is Level.TRAJECTORY:
            kept = resampled(left, seed)
            dropped[Drop.RESAMPLED] += len(left) - len(kept)
            left = kept
        rewards = [(row.reward or 0.0) - overlong_penalty(row, config, limit) for row in left]
        for row, advantage in zip(left, group_advantages(rewards, config.baseline), strict=True):
            if masked := row.masked(config):
                dropped[masked] += 1
            else:
                found.advantages[row.trajectory_id] = advantage
    return found


def _half_lost(group: Group, config: CreditConfig) -> Drop | None:
    enough = len(group.left) >= config.least_group_share * len(group.members)
    return None if enough or group.level is Level.STEP else Drop.HALF_LOST


def group_advantages(
    rewards: Sequence[float], baseline: Baseline = Baseline.GROUP_STD
) -> list[float]:
    """A_i of one group; at least two rewards."""
    mean, count = fmean(rewards), len(rewards)
    if baseline is Baseline.LEAVE_ONE_OUT:
        total = sum(rewards)
        return [reward - (total - reward) / (count - 1) for reward in rewards]
    scale = stdev(rewards) + EPSILON if baseline is Baseline.GROUP_STD else 1.0
    return [(reward - mean) / scale for reward in rewards]


def resampled(group: Sequence[CreditRow], seed: int) -> list[CreditRow]:
    """Half of the right and half of the wrong rows of a group, at least one of each.

    Equal rows are chosen by the seed, whatever their order. The paper draws right rows inversely to
    their failures; as in its code, those with the fewest are taken.
    """
    ordered = sorted(group, key=lambda row: row.trajectory_id)
    random.Random(f"{seed}/{ordered[0].group_id}").shuffle(ordered)
    right = sorted((row for row in ordered if row.reward), key=lambda row: row.failures)
    wrong = [row for row in ordered if not row.reward]
    return [row for part in (right, wrong) for row in part[: -(-len(part) // 2)]]


def overlong_penalty(row: CreditRow, config: CreditConfig, limit: int | None) -> float:
    """What the reward of a trajectory loses for its length: 0 to 1."""
    buffer = config.overlong_buffer
    if not buffer or limit is None or row.level is Level.STEP:
        return 0.0
    return min(1.0, max(0.0, (row.reply_tokens - (limit - buffer)) / buffer))
