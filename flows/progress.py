"""Progress on stderr: a live line on a terminal, now and then one off it."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from flows.console import say, stderr
from flows.training.steps import Steps
from storage.text import visible
from tirgen.jobs.budget import Account
from tirgen.jobs.progress import GenerationProgress, Progress, RolloutProgress

SECONDS_BETWEEN_LINES = 30.0

T = TypeVar("T")


class Line(NamedTuple):
    """Where some work is."""

    done: int
    total: int | None
    """None while it is not known."""
    figures: str = ""


class ProgressDisplay(Generic[T]):
    """Shows done of total, figures, and the time left, from the first update on."""

    def __init__(
        self, title: str, describe: Callable[[T], Line], opening: Callable[[T], str] | None = None
    ) -> None:
        """`opening` is what to say of the first state."""
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if stderr.is_terminal:
            self._bar.stop()

    def update(self, state: T) -> None:
        """The `watch` of the work."""
        if isinstance(state, Progress) and state.waiting_for:
            say(f"{self._title}: {state.waiting_for} works on this configuration; waiting for it")
            return
        if self._opening:
            say(self._opening(state))
            self._opening = None
        done, total, figures = self._describe(state)
        self._bar.update(self._task, total=total, completed=done, figures=visible(figures))
        if stderr.is_terminal:
            self._bar.start()
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            say(f"{self._title}: {done}/{total or '?'}  {figures}".rstrip())


def generation_display(title: str) -> ProgressDisplay[GenerationProgress]:
    """Of TIRGen over problems."""
    return ProgressDisplay(title, _generation, _reused)


def import_display(title: str) -> ProgressDisplay[Progress]:
    """Of recorded responses run and judged again."""
    return ProgressDisplay(title, lambda progress: Line(progress.settled, progress.problems))


def rollout_display(title: str) -> ProgressDisplay[RolloutProgress]:
    """Of a round of rollouts, or of an evaluation."""
    return ProgressDisplay(title, _rollouts)


def steps_display(title: str) -> ProgressDisplay[Steps]:
    """Of a training job."""
    return ProgressDisplay(title, _steps)


class CountDisplay(ProgressDisplay[tuple[int, int]]):
    """Of work that only counts."""

    def __init__(self, title: str) -> None:
        super().__init__(title, lambda count: Line(*count))

    def count(self, done: int, total: int) -> None:
        self.update((done, total))


def _generation(progress: GenerationProgress) -> Line:
    figures = (
        f"{_figures(progress.correct, progress.failed_executions)}  "
        f"{_speed(progress.tokens, progress.started)}{spending(progress.account)}"
    )
    return Line(progress.settled, progress.problems, figures)


def _reused(progress: GenerationProgress) -> str:
    if not progress.reused_rows:
        return f"{progress.problems} problems; nothing to reuse, starting fresh"
    return (
        f"{progress.problems} problems; reusing {progress.reused_rows} committed trajectories, "
        f"{progress.settled} problems need nothing more"
    )


def _rollouts(progress: RolloutProgress) -> Line:
    """Counted in mixed groups where the round has a quota of them, in problems else."""
    quota = progress.wanted_groups
    branches = f"  {progress.branches_ran}/{progress.branches} branches ran"
    figures = (
        f"{progress.rollouts} rollouts  "
        f"{_figures(progress.correct, progress.failed_executions)}"
        f"{branches if progress.branches else ''}  {_speed(progress.tokens, progress.started)}"
    )
    if quota is None:
        return Line(progress.settled, progress.problems, figures)
    return Line(progress.mixed, quota, f"mixed groups of {progress.begun} problems  {figures}")


def _steps(steps: Steps) -> Line:
    loss = f"loss {steps.last['loss']:.4g}" if "loss" in steps.last else ""
    return Line(steps.done, steps.total or None, loss)


def _figures(correct: int, failed: int) -> str:
    return f"{correct} correct  {failed} failed executions"


def _speed(tokens: int, started: float) -> str:
    return f"{tokens / max(time.monotonic() - started, 1e-3):,.0f} tokens/s"


def spending(account: Account) -> str:
    """What the run has spent, of how much; nothing where neither budget nor price is set."""
    budget, spend = account.budget, account.spend
    parts = [
        _of(f"{spend.tokens:,}", budget.tokens, "tokens") if budget.limits else "",
        _of(f"{spend.money:.4g}", budget.money, "spent") if budget.prices else "",
        _of(f"{spend.seconds / 60:.1f}", budget.minutes, "minutes") if budget.minutes else "",
    ]
    return "".join(f"  {part}" for part in parts if part)


def _of(spent: str, limit: float | None, unit: str) -> str:
    return f"{spent} {unit}" if limit is None else f"{spent} of {limit:,} {unit}"
