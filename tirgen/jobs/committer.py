"""Commits finished trajectories in small groups while the run goes on.

A caller's `add` returns once its row is durable, so whatever follows from a row (the next
attempt, a progress figure) can rely on it. Rows that finish together share one commit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType

from storage.records import Trajectory


class Committer:
    """Groups rows into commits; use as an async context manager, which ends with the last one."""

    def __init__(self, append: Callable[[Sequence[Trajectory]], None], seconds: float = 0.25):
        self._append = append
        self._seconds = seconds
        self._waiting: list[tuple[Trajectory, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Committer:
        self._task = asyncio.create_task(self._work(), name="committer")
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

    async def add(self, trajectory: Trajectory) -> None:
        """Return when the row is committed.

        Raises what the store raised (`OSError` for a full disk) for every row of the commit; a row
        that the store cannot hold (ValueError) does not take those beside it along. RuntimeError
        once the committer is closed.
        """
        if self._closing.is_set():
            raise RuntimeError("the committer is closed: the run is over")
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((trajectory, done))
        self._wake.set()
        await done

    async def _work(self) -> None:
        while self._waiting or not self._closing.is_set():
            await self._wake.wait()
            await self._gather()
            self._wake.clear()
            group, self._waiting = self._waiting, []
            if group:
                await self._commit(group)
            if self._closing.is_set():
                self._wake.set()

    async def _gather(self) -> None:
        """Let more rows finish, unless the run is over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), self._seconds)

    async def _commit(self, group: list[tuple[Trajectory, asyncio.Future[None]]]) -> None:
        rows = [trajectory for trajectory, _ in group]
        commit = asyncio.ensure_future(asyncio.to_thread(self._append, rows))
        await asyncio.wait({commit})
        error = commit.exception()
        if error is not None and not isinstance(error, OSError) and len(group) > 1:
            for one in group:
                await self._commit([one])
            return
        for _, done in group:
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
