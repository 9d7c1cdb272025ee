"""Live counts of a job: what every kind counts, and what two kinds count beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from storage.records import Ending, Level, Program, Trajectory
from tirgen.jobs.budget import Account


@dataclass(slots=True, kw_only=True)
class Progress:
    """Live counts of a job; `watch` is called after each change."""

    problems: int
    """Pieces of work that there are: problems, or recorded responses."""
    reused_rows: int = 0
    """Committed by earlier calls."""
    settled: int = 0
    """Pieces of work that need nothing more."""
    trajectories: int = 0
    """Rows made by this call, of whatever kind."""
    correct: int = 0
    failed_executions: int = 0
    infrastructure: int = 0
    """Rows lost to engine, sandbox or wall time; the same command makes them again."""
    internal_errors: int = 0
    """Rows on which tirgen itself failed."""
    tokens: int = 0
    """Completion tokens of actor and critic in this call, discarded attempts included."""
    waiting_for: str | None = None
    """Who works on the same configuration now; this call waits for it to end."""
    started: float = field(default_factory=time.monotonic)
    account: Account = field(default_factory=Account)
    """What the job has cost in all its calls, and what it may cost."""

    def count(self, row: Trajectory) -> None:
        """Take note of a row that is committed."""
        self.trajectories += 1
        self.correct += row.correct
        broken = row.ending is Ending.INTERNAL_ERROR
        self.internal_errors += broken
        self.infrastructure += row.ending.is_infrastructure and not broken
        self.failed_executions += sum(
            step.outcome is not None and step.outcome.is_code_failure for step in row.steps
        )
        self.tokens += row.cost.actor_completion_tokens + row.cost.critic_completion_tokens


@dataclass(slots=True, kw_only=True)
class GenerationProgress(Progress):
    """Of a generation, which counts baselines apart: `correct` is TIRGen's own."""

    accepted: int = 0
    """TIRGen trajectories that every filter kept."""

    def count(self, row: Trajectory) -> None:
        Progress.count(self, row)
        own = row.program is Program.TIRGEN
        self.correct -= row.correct and not own
        self.accepted += row.kept and own


@dataclass(slots=True, kw_only=True)
class RolloutProgress(Progress):
    """Of a round of rollouts, or of an evaluation."""

    wanted_groups: int | None = None
    """Mixed groups the round must hold; None where every problem is asked once."""
    begun: int = 0
    mixed: int = 0
    branches: int = 0
    """Step-level samples made by this call."""
    branches_ran: int = 0

    @property
    def rollouts(self) -> int:
        """Made by this call."""
        return self.trajectories - self.branches

    def count(self, row: Trajectory) -> None:
        Progress.count(self, row)
        step = row.level is Level.STEP
        self.branches += step
        self.branches_ran += step and row.reward == 1.0


P = TypeVar("P", bound=Progress)
Watch = Callable[[P], None]


def unwatched(progress: Progress) -> None:
    """A `Watch` for those who do not look."""
