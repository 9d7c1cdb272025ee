"""What a run has done so far: which attempts are committed and which problems are settled.

Attempts that ended in an infrastructure fault stay on record but count as not made: they say
nothing about the policy, so a resumed run makes them again and the newer row takes their place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from storage.records import Program, Trajectory
from tirgen.jobs.committed import Done


@dataclass(slots=True)
class _Done:
    """One problem's committed attempts."""

    attempts: set[int] = field(default_factory=set)
    baselines: set[int] = field(default_factory=set)
    lost: set[tuple[Program, int]] = field(default_factory=set)
    """Attempts of the call under way that infrastructure ate: counted as made, until forgiven."""
    accepted: bool = False


@dataclass(slots=True)
class Ledger:
    """Committed attempts by problem."""

    attempts: int
    """How many TIRGen attempts a problem may take."""
    baselines: int
    """How many chain-of-thought samples a solved problem gets."""
    rows: int = 0
    _problems: defaultdict[str, _Done] = field(default_factory=lambda: defaultdict(_Done))

    def load(self, committed: Iterable[Done]) -> None:
        """Take over what earlier calls committed."""
        for row in committed:
            if row.is_lost:
                self.rows += 1
            else:
                self._note(row)

    def record(self, trajectory: Trajectory) -> None:
        """Take note of a row; in the call that made it, a lost attempt counts as made too."""
        self._note(Done.of(trajectory))

    def _note(self, row: Done) -> None:
        self.rows += 1
        done = self._problems[row.problem.problem_id]
        if row.is_lost:
            done.lost.add((row.program, row.attempt))
        if row.program is Program.COT:
            done.baselines.add(row.attempt)
        else:
            done.attempts.add(row.attempt)
            done.accepted |= row.kept

    def forgive_lost(self, problem_ids: Iterable[str]) -> int:
        """Have lost attempts made again; returns how many settled problems that unsettles."""
        unsettled = 0
        for problem_id in problem_ids:
            done = self._problems[problem_id]
            before = self.is_settled(problem_id)
            for program, attempt in done.lost:
                made = done.baselines if program is Program.COT else done.attempts
                made.discard(attempt)
            done.lost.clear()
            unsettled += before and not self.is_settled(problem_id)
        return unsettled

    def next_attempt(self, problem_id: str) -> int | None:
        """The attempt to make now; None when one was accepted or all were made."""
        done = self._problems[problem_id]
        if done.accepted:
            return None
        return next((n for n in range(self.attempts) if n not in done.attempts), None)

    def missing_baselines(self, problem_id: str) -> list[int]:
        """The chain-of-thought samples still owed to a problem that was solved."""
        done = self._problems[problem_id]
        if not done.accepted:
            return []
        return [n for n in range(self.baselines) if n not in done.baselines]

    def is_settled(self, problem_id: str) -> bool:
        return self.next_attempt(problem_id) is None and not self.missing_baselines(problem_id)
