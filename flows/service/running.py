"""What every flow run does: take a slot, show live progress, and log a hint when it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from types import TracebackType
from typing import Generic, TypeVar
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.concurrency.asyncio import concurrency

from flows.terminal.console import warnings_shown
from flows.terminal.failures import classify
from flows.terminal.progress import SECONDS_BETWEEN_LINES, ProgressLine, describe
from flows.training.jobs import Steps
from tirgen.jobs.progress import Progress

ENGINE, GPU = "engine", "gpu"
LIMITS = {ENGINE: 2, GPU: 1}
"""Prefect's global concurrency limits: runs that sample an engine, and training jobs, at once.

They bound whole jobs, never single calls: the limit is exact but slow (64 half-second calls at
limit 8 took 21.7 s; a semaphore took 4.0 s). A job bounds its own calls.
"""
LEASE_SECONDS = 120.0
"""How long a slot stays taken after its holder was killed. This equals the time until the holder
counts as crashed (four heartbeats), because its resumed run needs a slot too. A live run renews it.
"""
SECONDS_BETWEEN_UPDATES = 5.0

T = TypeVar("T")


def slot(limit: str) -> AbstractAsyncContextManager[None]:
    """One slot of a limit, for the duration of an `async with`."""
    return concurrency(limit, occupy=1, lease_duration=LEASE_SECONDS)


@contextmanager
def hinted() -> Iterator[None]:
    """Log what went wrong and what helps, then let the failure through.

    Logs nothing when the run is cancelled or suspended, which Prefect does by other exceptions.
    """
    try:
        yield
    except Exception as error:
        failure = classify(error)
        get_run_logger().error("%s: %s\nnext: %s", failure.kind, failure.message, failure.hint)
        raise


class Live(Generic[T]):
    """A progress artifact and now and then a line in the log of the run.

    A task of its own writes them, so that the job never waits for the server.
    """

    def __init__(self, key: str, describe: Callable[[T], ProgressLine]) -> None:
        self._key = key
        self._describe = describe
        self._latest: T | None = None

    def update(self, state: T) -> None:
        """Take the latest state; this is the `watch` callback of a job."""
        self._latest = state

    async def __aenter__(self) -> Live[T]:
        self._logger = get_run_logger()
        self._warnings = warnings_shown(self._logger.warning)
        self._warnings.__enter__()
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
        self._warnings.__exit__(kind, error, traceback)
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
                self._logger.info(line)

    async def _show(self) -> str:
        if self._latest is None:
            return ""
        line = self._describe(self._latest)
        await aupdate_progress_artifact(
            self._artifact, progress=100 * line.share, description=str(line)
        )
        return str(line)


def live_progress() -> Live[Progress]:
    """Shows a job of `tirgen.jobs`."""
    return Live("progress", describe)


def live_steps() -> Live[Steps]:
    """Shows a training job."""
    return Live("training", Steps.line)
