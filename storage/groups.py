"""Which rows of a round can teach something: verdicts on rows, then on their groups.

The verdicts are stored as filter verdicts, so that `Trajectory.kept` says what an update may use
and SQL says why it may not use the rest:

    infrastructure   the machinery broke, or refused the request: no reward (method D7)
    unverifiable     trajectory level: the gold answer is nothing to judge by: likewise
    failed_code      trajectory level: some program failed, the environment may be to blame
                     (method A6); not where such rows are kept, the usual baseline
    no_code          step level: nothing was run, so there is no reward (method A17)
    half_lost        step level: fewer than half of the group are left (method A17)
    alone            nothing left to compare it with (method A5, D13)
    all_alike        all that are left of the group have the same reward

Pure: the same rows get the same verdicts in whatever order they come.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from storage.records import FilterVerdict, Level, Trajectory

RULES = {
    Level.TRAJECTORY: {
        "infrastructure": "engine or sandbox broke, or the engine refused the request",
        "unverifiable": "the gold answer cannot be verified",
        "failed_code": "a program failed",
        "alone": "no other of its group is left",
        "all_alike": "all that are left of its group have the same reward",
    },
    Level.STEP: {
        "infrastructure": "engine or sandbox broke, or the engine refused the request",
        "no_code": "no program was run",
        "half_lost": "fewer than half of its group ran a program",
        "alone": "no other of its group is left",
        "all_alike": "all that are left of its group have the same reward",
    },
}
"""By level, every rule in order with the reason that is stored where it drops a row."""


class Member(NamedTuple):
    """What its group needs to know of a row."""

    reward: float
    """Not to be read where the row is dropped."""
    dropped: str | None
    """The rule that drops the row on its own account."""


def member(row: Trajectory, keep_failed: bool = False) -> Member:
    """A row by itself; `keep_failed` keeps trajectories whose code failed."""
    if row.reward is None:
        return Member(0.0, "unverifiable" if row.is_unverifiable else "infrastructure")
    if row.level is Level.STEP:
        return Member(row.reward, None if row.calls else "no_code")
    failed = any(step.outcome is not None and step.outcome.is_code_failure for step in row.calls)
    return Member(row.reward, "failed_code" if failed and not keep_failed else None)


def group_dropped(level: Level, members: Sequence[Member]) -> str | None:
    """The rule that drops what is left of a group; None where its rewards are mixed."""
    rewards = [each.reward for each in members if each.dropped is None]
    if level is Level.STEP and 2 * len(rewards) < len(members):
        return "half_lost"
    if len(rewards) < 2:
        return "alone"
    return "all_alike" if len(set(rewards)) == 1 else None


def judge(rows: Iterable[Trajectory], keep_failed: bool = False) -> list[Trajectory]:
    """All rows with the verdicts of their level's rules; earlier verdicts are replaced."""
    members = [(row, member(row, keep_failed)) for row in rows]
    groups: defaultdict[tuple[Level, str | None], list[Member]] = defaultdict(list)
    for row, each in members:
        groups[row.level, row.group_id].append(each)
    fates = {key: group_dropped(key[0], group) for key, group in groups.items()}
    return [
        replace(row, filters=_verdicts(row.level, each.dropped or fates[row.level, row.group_id]))
        for row, each in members
    ]


def _verdicts(level: Level, dropped: str | None) -> tuple[FilterVerdict, ...]:
    """One verdict for each rule up to the one that drops the row."""
    verdicts: list[FilterVerdict] = []
    for rule, reason in RULES[level].items():
        if rule == dropped:
            return (*verdicts, FilterVerdict(rule=rule, kept=False, reason=reason))
        verdicts.append(FilterVerdict(rule=rule, kept=True))
    return tuple(verdicts)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCount:
    """What a round holds of one level."""

    groups: int
    mixed: int
    """Groups with an advantage: at least two rows left, right and wrong among them."""
    rows: int
    kept_rows: int
    dropped: dict[str, int]
    """Other rows, by the rule that drops them."""


def count(level: Level, judged: Iterable[Trajectory]) -> GroupCount:
    """The groups of one level among judged rows."""
    rows = [row for row in judged if row.level is level]
    dropped = Counter(v.rule for row in rows for v in row.filters if not v.kept)
    return GroupCount(
        groups=len({row.group_id for row in rows}),
        mixed=len({row.group_id for row in rows if row.kept}),
        rows=len(rows),
        kept_rows=sum(row.kept for row in rows),
        dropped=dict(sorted(dropped.items())),
    )
