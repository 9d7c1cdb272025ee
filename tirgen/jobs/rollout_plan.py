"""Which problems a round samples: each once, or as few as needed for a number of mixed groups.

With a number of groups, the problems come from an endless stream; every pass through them is
shuffled differently. A round asks the shortest run of problems from the start of the stream that
holds so many mixed groups. So the choice depends only on the policy's answers, never on timing: a
round that was killed and continued asks the same problems.

Which problems these are is known only when the last of them is answered. To begin another one only
then would make a round last many times its longest rollout. So as many are begun as are expected to
be needed, by how often groups turn out to be mixed; those that prove unnecessary are given up.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
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


_TELLING = 6
"""A group that is not mixed after so many samples is not expected to become so. To wait for all of
them would take as long as the longest."""

_PRIOR = 16
"""Groups that the first guess, that half of all are mixed, weighs as much as."""


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
        self._begun: dict[str, _Begun] = {}
        """In the order of the stream."""
        self._taken = self._settled = self._mixed = 0
        self._needed: list[_Begun] | None = None
        """The shortest run of problems that fills the round, once all of it is settled."""

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
        while self._needed is None and self._expects_too_few():
            problem = next(self._problems, None)
            if problem is None:
                return None
            self._taken += 1
            if problem.problem_id in self._begun:
                continue
            self._begun[problem.problem_id] = _Begun(problem, self._taken)
            if self.missing(problem):
                return problem
            self.settle(problem)
        return None

    def settle(self, problem: Problem) -> None:
        """Note that all samples of a problem from `next` are recorded."""
        one = self._begun[problem.problem_id]
        self._mixed += self._is_mixed(one)
        self._settled += 1
        one.is_settled = True
        if self._groups is not None and self._needed is None:
            self._needed = self._filling_run(self._groups)

    @property
    def is_over(self) -> bool:
        """Nothing that is still in progress is needed."""
        return self._needed is not None

    @property
    def asked(self) -> dict[str, Problem]:
        """The problems of the round, by id; before it is over, all that are begun."""
        return {one.problem.problem_id: one.problem for one in self._run}

    @property
    def drawn(self) -> int:
        """Problems of the round in the stream; one that it repeats is counted again."""
        return self._taken if self._needed is None else self._needed[-1].place

    @property
    def mixed(self) -> int:
        """Finished groups of the round with an advantage."""
        return self._mixed if self._needed is None else sum(map(self._is_mixed, self._needed))

    @property
    def begun(self) -> int:
        """Problems of the round that are begun, or settled."""
        return len(self._run)

    @property
    def settled(self) -> int:
        """Problems of the round whose samples are all made."""
        return self._settled if self._needed is None else len(self._needed)

    @property
    def full(self) -> bool:
        """The round has its number of mixed groups, or needs none."""
        return self._groups is None or self._needed is not None

    @property
    def _run(self) -> Collection[_Begun]:
        return self._begun.values() if self._needed is None else self._needed

    def _filling_run(self, groups: int) -> list[_Begun] | None:
        """The shortest run with so many mixed groups; None if not all of it is settled."""
        run: list[_Begun] = []
        for one in self._begun.values():
            if groups == 0:
                break
            if not one.is_settled:
                return None
            run.append(one)
            groups -= self._is_mixed(one)
        return None if groups else run

    def _is_mixed(self, one: _Begun) -> bool:
        """A group that is mixed stays so, whatever else is sampled."""
        if not (one.is_mixed or one.is_settled):
            members = list(self._made[one.problem.problem_id].values())
            one.is_mixed = Group(Level.TRAJECTORY, members).dropped is None
        return one.is_mixed

    def _expects_too_few(self) -> bool:
        """The mixed groups, and what may be expected of those that are not yet, are too few."""
        if self._groups is None:
            return True
        telling = min(_TELLING, self._samples)
        told = mixed_of_told = mixed = untold = 0
        for one in self._begun.values():
            is_mixed = self._is_mixed(one)
            mixed += is_mixed
            if len(self._made[one.problem.problem_id]) >= telling:
                told += 1
                mixed_of_told += is_mixed
            else:
                untold += not (is_mixed or one.is_settled)
        share = (mixed_of_told + _PRIOR / 2) / (told + _PRIOR)
        deviation = math.sqrt(untold * share * (1 - share))
        return mixed + share * untold - deviation < self._groups


@dataclass(slots=True)
class _Begun:
    """A problem of the stream that was begun."""

    problem: Problem
    place: int
    """How many problems of the stream end with it."""
    is_settled: bool = False
    is_mixed: bool = False
