"""Which problems a round asks: all of them once, or the shortest run of them that fills its quota.

With a quota the problems come from an endless stream, every pass through them shuffled anew. One
more is begun only when those whose groups are mixed and those still open together would leave the
quota unfilled. So none is asked in vain, and which ones are asked depends on what the policy said
alone, never on who was first: a round that was killed and continued asks the same.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice

from storage.groups import Group, Member, dropped_alone
from storage.records import Level, Problem, Trajectory
from tirgen.jobs.committed import Done


def stream(problems: Sequence[Problem], seed: int, start: int) -> Iterator[Problem]:
    """The endless shuffled stream from its `start`-th problem on."""
    for epoch in count(start // len(problems)):
        order = random.Random(f"{seed}/{epoch}").sample(problems, len(problems))
        yield from order[start % len(problems) :]
        start = 0


class Plan:
    """The problems of one round, and what became of them so far."""

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
        self._quota = groups
        self._keep_failed = keep_failed
        self._made: defaultdict[str, dict[int, Member]] = defaultdict(dict)
        self._open = 0
        self.drawn = 0
        """Problems taken from the stream, one that it repeats within the round counted again."""
        self.asked: dict[str, Problem] = {}
        self.mixed = 0

    def load(self, committed: Iterable[Done]) -> int:
        """Take over what earlier calls committed; returns how many rows are of use."""
        rows = [r for r in committed if r.level is Level.TRAJECTORY and not r.is_lost]
        for row in rows:
            self._note(row)
        return len(rows)

    def record(self, row: Trajectory) -> None:
        """Take note of a row; in the call that made it, a lost attempt counts as made too."""
        self._note(Done.of(row))

    def _note(self, row: Done) -> None:
        dropped = dropped_alone(
            row.level,
            row.reward,
            failed_code=row.failed_code,
            keep_failed=self._keep_failed,
        )
        found = Member(row.trajectory_id, row.level, row.group_id, row.reward or 0.0, dropped)
        self._made[row.problem.problem_id][row.attempt] = found

    def missing(self, problem: Problem) -> list[int]:
        """The attempts still to make."""
        made = self._made[problem.problem_id]
        return [number for number in range(self._samples) if number not in made]

    def next(self) -> Problem | None:
        """The problem to begin now, which `settle` closes; None while no further one is needed."""
        while self._quota is None or self.mixed + self._open < self._quota:
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
        """All attempts of a problem that `next` gave out are recorded."""
        self._open -= 1
        self._count(problem)

    @property
    def full(self) -> bool:
        """The quota is filled, or there is none."""
        return self._quota is None or self.mixed >= self._quota

    def _count(self, problem: Problem) -> None:
        members = list(self._made[problem.problem_id].values())
        self.mixed += Group(Level.TRAJECTORY, members).dropped is None
