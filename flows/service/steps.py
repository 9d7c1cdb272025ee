"""The live view of a training run: the steps it reports in its folder, as a progress artifact."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from flows.service.live import SECONDS_BETWEEN_UPDATES
from trainer.history import read_history
from trainer.run import HISTORY


class LiveSteps:
    """Follows the history of a run; how many steps there will be is the trainer's to know."""

    def __init__(self, work: Path) -> None:
        self._path = work / HISTORY

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

    def records(self) -> list[dict[str, Any]]:
        """Every step so far, its nested figures as text."""
        found = read_history(self._path) if self._path.exists() else []
        return [{name: _flat(value) for name, value in step.items()} for step in found]

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_UPDATES)
            await self._show(0.0)

    async def _show(self, progress: float) -> None:
        if steps := self.records():
            last = "  ".join(f"{name} {value}" for name, value in steps[-1].items())
            await aupdate_progress_artifact(self._artifact, progress=progress, description=last)


def _flat(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    return json.dumps(value) if isinstance(value, dict | list) else value
