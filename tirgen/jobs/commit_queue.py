"""Commits finished rows in small groups while a job goes on.

Rows that finish at about the same time share one commit. `CommitQueue.commit` returns when its row
is durable, so the next attempt of the problem and the progress figures can rely on it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType

from storage.records import Trajectory


class CommitQueue:
    """Groups rows into commits. An async context manager; its exit waits for the last commit."""

    def __init__(self, append: Callable[[Sequence[Trajectory]], None], seconds: float = 0.25):
        self._append = append
        self._seconds = seconds
        self._waiting: list[tuple[Trajectory, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()

    async def __aenter__(self) -> CommitQueue:
        self._task = asyncio.create_task(self._work(), name="commit queue")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._wake.set()
        await self._task

    async def commit(self, row: Trajectory) -> None:
        """Return when the row is committed.

        Raises what the store raised: an `OSError` (a full disk) for every row of the group, an
        error about the row's content (ValueError) only for that row. RuntimeError once the queue
        is closed.
        """
        if self._closing.is_set():
            raise RuntimeError("the commit queue is closed: the run is over")
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((row, done))
        self._wake.set()
        await done

    async def _work(self) -> None:
        while self._waiting or not self._closing.is_set():
            await self._wake.wait()
            await self._let_more_finish()
            self._wake.clear()
            group, self._waiting = self._waiting, []
            if group:
                await self._commit_group(group)
            if self._closing.is_set():
                self._wake.set()

    async def _let_more_finish(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), self._seconds)

    async def _commit_group(self, group: list[tuple[Trajectory, asyncio.Future[None]]]) -> None:
        rows = [row for row, _ in group]
        commit = asyncio.ensure_future(asyncio.to_thread(self._append, rows))
        await asyncio.wait({commit})
        error = commit.exception()
        if error is not None and not isinstance(error, OSError) and len(group) > 1:
            for one in group:
                await self._commit_group([one])
            return
        for _, done in group:
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
