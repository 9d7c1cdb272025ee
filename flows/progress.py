"""Progress of a generation on stderr: a live line on a terminal, now and then one off it."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from flows.console import say, stderr
from tirgen.budget import Account
from tirgen.generate import Progress

SECONDS_BETWEEN_LINES = 30.0


class ProgressDisplay:
    """Shows done/total, correct, failed executions, tokens a second and the time left."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._said_first = False
        self._last_line = time.monotonic()
        self._bar = Bar(
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TextColumn("ETA"),
            TimeRemainingColumn(compact=True),
            console=stderr,
        )
        self._task = self._bar.add_task(title, total=None, figures="starting")

    def __enter__(self) -> ProgressDisplay:
        if stderr.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if stderr.is_terminal:
            self._bar.stop()

    def update(self, progress: Progress) -> None:
        """The `watch` of `tirgen.generate.generate`."""
        if not self._said_first:
            self._said_first = True
            say(_first_line(progress))
        self._bar.update(
            self._task,
            total=progress.problems,
            completed=progress.settled,
            figures=figures(progress),
        )
        if not stderr.is_terminal and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            say(f"{self._title}: {progress.settled}/{progress.problems}  {figures(progress)}")


def _first_line(progress: Progress) -> str:
    if not progress.reused_rows:
        return f"{progress.problems} problems; nothing to reuse, starting fresh"
    return (
        f"{progress.problems} problems; reusing {progress.reused_rows} committed trajectories, "
        f"{progress.settled} problems need nothing more"
    )


def figures(progress: Progress) -> str:
    """Correct answers, failed executions and speed, in a line."""
    seconds = max(time.monotonic() - progress.started, 1e-3)
    return (
        f"{progress.correct} correct  {progress.failed_executions} failed executions  "
        f"{progress.tokens / seconds:,.0f} tokens/s{spending(progress.account)}"
    )


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
