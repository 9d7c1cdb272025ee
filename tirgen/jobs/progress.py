"""Live counts of a job: those of every kind of job, and those of two kinds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, TypeVar

from storage.records import Ending, Level, Program, Trajectory
from tirgen.jobs.budget import BudgetAccount
from tirgen.jobs.idle import SlotUsage


class Goal(NamedTuple):
    """What a job counts to know how far it is."""

    done: int
    total: int
    unit: str
    """E.g. ``problems``."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """Live counts of a job; its `watch` is called after each change."""

    ADDED_UP: ClassVar[tuple[str, ...]] = (
        "trajectories", "correct", "failed_executions", "infrastructure", "internal_errors",
        "tokens",
    )  # fmt: skip
    """The counts that are those of one call."""

    problems: int
    """Work items: problems, or recorded responses."""
    reused_rows: int = 0
    """Rows committed by earlier calls."""
    settled: int = 0
    """Work items that need no more rows."""
    trajectories: int = 0
    """Rows made by this call, of every kind."""
    correct: int = 0
    failed_executions: int = 0
    infrastructure: int = 0
    """Rows lost to engine, sandbox or wall time; the same command makes them again."""
    internal_errors: int = 0
    """Rows on which tirgen itself failed."""
    tokens: int = 0
    """Completion tokens of actor and critic in this call, discarded attempts included."""
    live: int = 0
    """Rows in progress."""
    done_before: int = 0
    """`goal.done` when this call began."""
    waiting_for: str | None = None
    """The process that works on the same configuration now; this call waits for it."""
    started: float = field(default_factory=time.monotonic)
    account: BudgetAccount = field(default_factory=BudgetAccount)
    """The cost of all calls of the job, and its budget."""

    idle: Mapping[str, SlotUsage] = field(default_factory=dict)
    """How the slots of each engine were used in this call."""

    @property
    def goal(self) -> Goal:
        return Goal(self.settled, self.problems, "problems")

    def _cost(self) -> dict[str, Any]:
        return {"stopped": self.account.stopped, "spent": self.account.document()}

    def document(self) -> dict[str, Any]:
        """The counts as JSON values, with those of `goal`."""
        counts = {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name not in ("waiting_for", "started", "account", "idle")
        }
        return {**counts, **self.goal._asdict(), **self._cost()}

    def add_up(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Replace the counts of one call by those of several, given what each has noted."""
        noted = list(documents)
        for name in self.ADDED_UP:
            setattr(self, name, sum(int(one.get(name, 0)) for one in noted))

    def count(self, row: Trajectory) -> None:
        """Count a committed row."""
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
    """Live counts of a generation; `correct` leaves baselines out."""

    ADDED_UP = (*Progress.ADDED_UP, "accepted")

    accepted: int = 0
    """TIRGen trajectories that every filter kept."""

    def count(self, row: Trajectory) -> None:
        Progress.count(self, row)
        own = row.program is Program.TIRGEN
        self.correct -= row.correct and not own
        self.accepted += row.kept and own


@dataclass(slots=True, kw_only=True)
class RolloutProgress(Progress):
    """Live counts of a round of rollouts, or of an evaluation."""

    ADDED_UP = (*Progress.ADDED_UP, "given_up", "branches", "branches_ran")

    wanted_groups: int | None = None
    """Mixed groups that the round must hold; None where every problem is sampled once."""
    begun: int = 0
    """Problems sampled or in progress."""
    mixed: int = 0
    """Finished groups with an advantage."""
    given_up: int = 0
    """Groups that were begun in case they were needed, and were not."""
    branches: int = 0
    """Step-level samples made by this call."""
    branches_ran: int = 0
    """Those of them whose program ran."""

    @property
    def goal(self) -> Goal:
        if self.wanted_groups is None:
            return Goal(self.settled, self.problems, "problems")
        return Goal(self.mixed, self.wanted_groups, "mixed groups")

    @property
    def rollouts(self) -> int:
        """Whole rollouts made by this call."""
        return self.trajectories - self.branches

    def count(self, row: Trajectory) -> None:
        Progress.count(self, row)
        step = row.level is Level.STEP
        self.branches += step
        self.branches_ran += step and row.reward == 1.0


P = TypeVar("P", bound=Progress)
Watch = Callable[[P], None]


def unwatched(progress: Progress) -> None:
    """A `Watch` that does nothing."""
