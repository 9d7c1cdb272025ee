"""The plan of a round's trajectories: problems in file order, or a stream of them with a quota.

With a number of groups, the problems come from an endless stream; every pass through them is
shuffled differently (`tirgen.jobs.group_plan` says how many are asked).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from storage.groups import Member, dropped_alone
from storage.records import Level, Problem, Trajectory
from tirgen.jobs.committed_rows import CommittedRow
from tirgen.jobs.group_plan import GroupPlan


def stream(problems: Sequence[Problem], seed: int, start: int) -> Iterator[Problem]:
    """The endless shuffled stream, from place `start` on."""
    for epoch in count(start // len(problems)):
        order = random.Random(f"{seed}/{epoch}").sample(problems, len(problems))
        yield from order[start % len(problems) :]
        start = 0


class RolloutPlan(GroupPlan[Problem]):
    """The problems of one round, with the samples made of each."""

    def __init__(
        self,
        problems: Iterable[Problem],
        samples: int,
        groups: int | None,
        most: int,
        keep_failed: bool = False,
    ) -> None:
        super().__init__(
            Level.TRAJECTORY,
            problems,
            lambda problem: problem.problem_id,
            samples=samples,
            groups=groups,
            most=most,
        )
        self._keep_failed = keep_failed

    def load(self, committed: Iterable[CommittedRow]) -> int:
        """Take over what earlier calls committed; returns how many rows are of use."""
        rows = [r for r in committed if r.level is Level.TRAJECTORY and not r.is_lost]
        for row in rows:
            self._note(row)
        return len(rows)

    def record(self, row: Trajectory) -> None:
        """Note a row of this call; a lost sample counts as made, so that the call ends."""
        self._note(CommittedRow.of(row))

    def _note(self, row: CommittedRow) -> None:
        dropped = dropped_alone(
            row.level,
            row.reward,
            failed_code=row.failed_code,
            keep_failed=self._keep_failed,
        )
        found = Member(row.trajectory_id, row.level, row.group_id, row.reward or 0.0, dropped)
        self.note(row.problem.problem_id, row.attempt, found)

    @property
    def asked(self) -> dict[str, Problem]:
        """The problems of the round, by id; before it is over, all that are begun."""
        return {problem.problem_id: problem for problem in self.items}
