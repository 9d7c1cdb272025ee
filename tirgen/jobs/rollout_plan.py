"""Which problems a round samples: each once, or as few as needed for a number of mixed groups.

With a number of groups, the problems come from an endless stream; every pass through them is
shuffled differently. Another problem is begun only if the mixed groups and the groups in progress
together are fewer than needed. So no problem is sampled without need, and the choice depends only
on the policy's answers, never on timing: a round that was killed and continued samples the same
problems.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice

from storage.groups import Group, Member, dropped_alone
from storage.records import Level, Problem, Trajectory
from tirgen.jobs.committed_rows import CommittedRow


def stream(problems: Sequence[Problem], seed: int, start: int) -> Iterator[Problem]:
    """The endless shuffled stream, from place `start` on."""
    for epoch in count(start // len(problems)):
        order = random.Random(f"{seed}/{epoch}").sample(problems, len(problems))
        yield from order[start % len(problems) :]
        start = 0


class RolloutPlan:
    """The problems of one round, with the samples made of each."""

    def __init__(
        self,
        problems: Iterable[Problem],
        samples: int,
        groups: int | None,
        most: int,
        keep_failed: bool = False,
    ) -> None:
        self._problems = islice(problems, most)
        self._samples = samples
        self._groups = groups
        self._keep_failed = keep_failed
        self._made: defaultdict[str, dict[int, Member]] = defaultdict(dict)
        self._open = 0
        self.drawn = 0
        """Problems taken from the stream; one that it repeats is counted again."""
        self.asked: dict[str, Problem] = {}
        """The problems of the round, by id."""
        self.mixed = 0
        """Finished groups with an advantage."""

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
        self._made[row.problem.problem_id][row.attempt] = found

    def missing(self, problem: Problem) -> list[int]:
        """The numbers of the samples still to make."""
        made = self._made[problem.problem_id]
        return [number for number in range(self._samples) if number not in made]

    def next(self) -> Problem | None:
        """The problem to begin now, to be passed to `settle`; None while no more is needed."""
        while self._groups is None or self.mixed + self._open < self._groups:
            problem = next(self._problems, None)
            if problem is None:
                return None
            self.drawn += 1
            if problem.problem_id in self.asked:
                continue
            self.asked[problem.problem_id] = problem
            if self.missing(problem):
                self._open += 1
                return problem
            self._count(problem)
        return None

    def settle(self, problem: Problem) -> None:
        """Note that all samples of a problem from `next` are recorded."""
        self._open -= 1
        self._count(problem)

    @property
    def full(self) -> bool:
        """The round has its number of mixed groups, or needs none."""
        return self._groups is None or self.mixed >= self._groups

    def _count(self, problem: Problem) -> None:
        members = list(self._made[problem.problem_id].values())
        self.mixed += Group(Level.TRAJECTORY, members).dropped is None
