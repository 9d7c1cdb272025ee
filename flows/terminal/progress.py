"""Progress of a job on stderr: a live line on a terminal, and a line every 30 seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from flows.terminal.console import say, stderr, warnings_shown
from storage.text import visible
from tirgen.jobs.budget import BudgetAccount
from tirgen.jobs.progress import GenerationProgress, Progress, RolloutProgress

SECONDS_BETWEEN_LINES = 30.0

T = TypeVar("T")


class ProgressLine(NamedTuple):
    """How far a job is."""

    done: int
    total: int | None
    """None while it is not known."""
    figures: str = ""
    waiting: str = ""
    """What the job waits for before it starts."""

    @property
    def share(self) -> float:
        """The part that is done, 0 to 1."""
        return min(self.done / self.total, 1.0) if self.total else 0.0

    def __str__(self) -> str:
        return self.waiting or f"{self.done}/{self.total or '?'}  {self.figures}".rstrip()


class ProgressDisplay(Generic[T]):
    """Shows the count, some figures and the time left, from the first update on."""

    def __init__(
        self,
        title: str,
        describe: Callable[[T], ProgressLine],
        opening: Callable[[T], str] | None = None,
    ) -> None:
        """`opening` gives a sentence about the first state."""
        self._title = title
        self._describe = describe
        self._opening = opening
        self._last_line = time.monotonic()
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TextColumn("ETA"),
            TimeRemainingColumn(compact=True),
            console=stderr,
        )
        self._task = self._bar.add_task(visible(title), total=None, figures="")
        self._warnings = warnings_shown()

    def __enter__(self) -> Self:
        self._warnings.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._warnings.__exit__(kind, error, traceback)
        if stderr.is_terminal:
            self._bar.stop()

    def update(self, state: T) -> None:
        """Show a state; this is the `watch` callback of a job."""
        line = self._describe(state)
        if line.waiting:
            say(f"{self._title}: {line.waiting}")
            return
        if self._opening:
            say(self._opening(state))
            self._opening = None
        figures = visible(line.figures)
        self._bar.update(self._task, total=line.total, completed=line.done, figures=figures)
        if stderr.is_terminal:
            self._bar.start()
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            say(f"{self._title}: {line}")


def generation_display(title: str) -> ProgressDisplay[GenerationProgress]:
    """Shows TIRGen over problems."""
    return ProgressDisplay(title, describe, _reused)


def job_display(title: str) -> ProgressDisplay[Progress]:
    """Shows an import, a round of rollouts, or an evaluation."""
    return ProgressDisplay(title, describe)


class CountDisplay(ProgressDisplay[tuple[int, int]]):
    """Shows work that has a count and no other figures."""

    def __init__(self, title: str) -> None:
        super().__init__(title, lambda count: ProgressLine(*count))

    def count(self, done: int, total: int) -> None:
        self.update((done, total))


def describe(progress: Progress) -> ProgressLine:
    """How far a job of `tirgen.jobs` is.

    A round of rollouts with a quota is counted in mixed groups, everything else in problems.
    """
    done, total, _ = progress.goal
    if progress.waiting_for:
        waiting = f"waiting for {progress.waiting_for}, which works on this configuration"
        return ProgressLine(done, total, waiting=waiting)
    seconds = max(time.monotonic() - progress.started, 1e-3)
    figures = [
        f"{progress.correct} correct",
        f"{progress.failed_executions} failed executions",
        f"{progress.tokens / seconds:,.0f} tokens/s",
        *_spending(progress.account),
    ]
    if isinstance(progress, RolloutProgress):
        figures.insert(0, f"{progress.rollouts} rollouts")
        if progress.branches:
            figures.insert(3, f"{progress.branches_ran}/{progress.branches} branches ran")
        if progress.wanted_groups is not None:
            figures.insert(0, f"mixed groups of {progress.begun} problems")
    return ProgressLine(done, total, "  ".join(figures))


def _reused(progress: GenerationProgress) -> str:
    if not progress.reused_rows:
        return f"{progress.problems} problems; nothing to reuse, starting fresh"
    return (
        f"{progress.problems} problems; reusing {progress.reused_rows} committed trajectories, "
        f"{progress.settled} problems are already settled"
    )


def _spending(account: BudgetAccount) -> list[str]:
    """What the run has spent; empty where neither a budget nor a price is set."""
    budget, spend = account.budget, account.spend
    parts = [
        _of(f"{spend.tokens:,}", budget.tokens, "tokens") if budget.limits else "",
        _of(f"{spend.money:.4g}", budget.money, "spent") if budget.prices else "",
        _of(f"{spend.seconds / 60:.1f}", budget.minutes, "minutes") if budget.minutes else "",
    ]
    return [part for part in parts if part]


def _of(spent: str, limit: float | None, unit: str) -> str:
    return f"{spent} {unit}" if limit is None else f"{spent} of {limit:,} {unit}"
