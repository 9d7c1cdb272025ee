"""Which attempts of a generation are made, and which are still missing.

Attempts that ended in an infrastructure fault stay on record but count as not made, since they say
nothing about the policy. A resumed run makes them again, and the newer row replaces the older one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from storage.records import Program, Trajectory
from tirgen.jobs.committed_rows import CommittedRow


@dataclass(slots=True)
class _Made:
    """The attempts made of one problem."""

    attempts: set[int] = field(default_factory=set)
    baselines: set[int] = field(default_factory=set)
    lost: set[tuple[Program, int]] = field(default_factory=set)
    """Attempts of this call lost to infrastructure. They count as made until `retry_lost`."""
    accepted: bool = False


@dataclass(slots=True)
class GenerationPlan:
    """The attempts made and missing, by problem."""

    attempts: int
    """Most TIRGen attempts per problem."""
    baselines: int
    """Chain-of-thought samples of each solved problem."""
    rows: int = 0
    """Rows noted so far."""
    _problems: defaultdict[str, _Made] = field(default_factory=lambda: defaultdict(_Made))

    def load(self, committed: Iterable[CommittedRow]) -> None:
        """Take over what earlier calls committed."""
        for row in committed:
            if row.is_lost:
                self.rows += 1
            else:
                self._note(row)

    def record(self, row: Trajectory) -> None:
        """Note a row of this call; a lost attempt counts as made, so that the call ends."""
        self._note(CommittedRow.of(row))

    def _note(self, row: CommittedRow) -> None:
        self.rows += 1
        made = self._problems[row.problem.problem_id]
        if row.is_lost:
            made.lost.add((row.program, row.attempt))
        if row.program is Program.COT:
            made.baselines.add(row.attempt)
        else:
            made.attempts.add(row.attempt)
            made.accepted |= row.kept

    def retry_lost(self, problem_ids: Iterable[str]) -> int:
        """Count lost attempts as missing. Returns how many settled problems are open again."""
        reopened = 0
        for problem_id in problem_ids:
            made = self._problems[problem_id]
            before = self.is_settled(problem_id)
            for program, attempt in made.lost:
                numbers = made.baselines if program is Program.COT else made.attempts
                numbers.discard(attempt)
            made.lost.clear()
            reopened += before and not self.is_settled(problem_id)
        return reopened

    def next_attempt(self, problem_id: str) -> int | None:
        """The attempt to make now; None if one was accepted or all are made."""
        made = self._problems[problem_id]
        if made.accepted:
            return None
        return next((n for n in range(self.attempts) if n not in made.attempts), None)

    def missing_baselines(self, problem_id: str) -> list[int]:
        """The chain-of-thought samples that a solved problem still needs."""
        made = self._problems[problem_id]
        if not made.accepted:
            return []
        return [n for n in range(self.baselines) if n not in made.baselines]

    def is_settled(self, problem_id: str) -> bool:
        """Whether no row of the problem is missing."""
        return self.next_attempt(problem_id) is None and not self.missing_baselines(problem_id)
