"""The live view of a run: a progress artifact, and now and then a line in its log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from flows.training.steps import Steps
from tirgen.jobs.progress import Progress

SECONDS_BETWEEN_UPDATES = 5.0
SECONDS_BETWEEN_LINES = 30.0

T = TypeVar("T")


class Live(Generic[T]):
    """Shows the latest state of some work from a task of its own, so that work never waits for a
    page."""

    def __init__(self, key: str, describe: Callable[[T], tuple[float, str]]) -> None:
        """`describe` gives the share that is done, 0 to 1, and a line."""
        self._key = key
        self._describe = describe
        self._latest: T | None = None

    def update(self, state: T) -> None:
        """The `watch` of the work."""
        self._latest = state

    async def __aenter__(self) -> Live[T]:
        self._logger = get_run_logger()
        self._artifact: UUID = await acreate_progress_artifact(
            progress=0.0, key=self._key, description="starting"
        )
        self._task = asyncio.create_task(self._work(), name=f"live {self._key}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        if kind is None:
            await self._show()

    async def _work(self) -> None:
        last_line = time.monotonic()
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_UPDATES)
            line = await self._show()
            if line and time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                self._logger.log(logging.INFO, line)

    async def _show(self) -> str:
        if self._latest is None:
            return ""
        done, line = self._describe(self._latest)
        progress = min(100 * done, 100.0)
        await aupdate_progress_artifact(self._artifact, progress=progress, description=line)
        return line


def live_progress() -> Live[Progress]:
    """Of trajectories being made."""
    return Live("progress", _counts)


def live_steps() -> Live[Steps]:
    """Of a training job."""
    return Live("training", _steps)


def _counts(progress: Progress) -> tuple[float, str]:
    if progress.waiting_for:
        return 0.0, f"waiting: {progress.waiting_for} works on this configuration"
    seconds = max(time.monotonic() - progress.started, 1e-3)
    line = (
        f"{progress.settled}/{progress.problems} problems  {progress.correct} correct  "
        f"{progress.failed_executions} failed executions  {progress.tokens / seconds:,.0f} tokens/s"
    )
    return progress.settled / max(progress.problems, 1), line


def _steps(steps: Steps) -> tuple[float, str]:
    numbers = {n: v for n, v in steps.last.items() if isinstance(v, int | float)}
    line = "  ".join(f"{name} {value:.6g}" for name, value in numbers.items())
    return steps.done / max(steps.total, 1), f"step {steps.done} of {steps.total}  {line}"
