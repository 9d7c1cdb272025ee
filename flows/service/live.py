"""The live view of a run: a progress artifact, and now and then a line in its log."""

from __future__ import annotations

import asyncio
import logging
import time
from types import TracebackType
from typing import Protocol
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

SECONDS_BETWEEN_UPDATES = 5.0
SECONDS_BETWEEN_LINES = 30.0


class Counts(Protocol):
    """What generations and rounds of rollouts both count."""

    problems: int
    settled: int
    correct: int
    failed_executions: int
    tokens: int
    started: float


class LiveProgress:
    """Shows the latest counts from a task of its own, so that work never waits for a page."""

    def __init__(self) -> None:
        self._latest: Counts | None = None

    def update(self, progress: Counts) -> None:
        """The `watch` of a generation or a round."""
        self._latest = progress

    async def __aenter__(self) -> LiveProgress:
        self._logger = get_run_logger()
        self._artifact: UUID = await acreate_progress_artifact(
            progress=0.0, key="progress", description="starting"
        )
        self._task = asyncio.create_task(self._work(), name="live progress")
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
            await self._show()
            if time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                self._logger.log(logging.INFO, self._line())

    async def _show(self) -> None:
        if self._latest is None:
            return
        done = min(100 * self._latest.settled / max(self._latest.problems, 1), 100.0)
        await aupdate_progress_artifact(self._artifact, progress=done, description=self._line())

    def _line(self) -> str:
        progress = self._latest
        if progress is None:
            return "starting"
        seconds = max(time.monotonic() - progress.started, 1e-3)
        return (
            f"{progress.settled}/{progress.problems} problems  {progress.correct} correct  "
            f"{progress.failed_executions} failed executions  "
            f"{progress.tokens / seconds:,.0f} tokens/s"
        )
