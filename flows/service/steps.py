"""The live view of a training run: the steps it reports in its folder, as a progress artifact."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from flows.service.live import SECONDS_BETWEEN_UPDATES
from trainer.history import read_history
from trainer.run import HISTORY


class LiveSteps:
    """Follows the newest history below a policy's work folder while a run writes it.

    How many steps there will be is the trainer's to know.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = time.time()

    async def __aenter__(self) -> LiveSteps:
        self._artifact: UUID = await acreate_progress_artifact(
            progress=0.0, key="training", description="loading"
        )
        self._task = asyncio.create_task(self._work(), name="live steps")
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
            await self._show(100.0)

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_UPDATES)
            await self._show(0.0)

    async def _show(self, progress: float) -> None:
        written = [path for path in self._folder.glob(f"*/{HISTORY}") if self._is_new(path)]
        if written and (steps := step_rows(max(written, key=_changed))):
            last = "  ".join(f"{name} {value}" for name, value in steps[-1].items())
            await aupdate_progress_artifact(self._artifact, progress=progress, description=last)

    def _is_new(self, path: Path) -> bool:
        return _changed(path) >= self._started


def step_rows(path: Path) -> list[dict[str, Any]]:
    """Every step of a history, its nested figures as text."""
    return [{name: _flat(value) for name, value in step.items()} for step in read_history(path)]


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def _flat(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    return json.dumps(value) if isinstance(value, dict | list) else value
