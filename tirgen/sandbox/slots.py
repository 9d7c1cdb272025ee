"""Who runs next: slots are given out in turn over trajectories, not over snippets.

A trajectory with a thousand snippets in the queue delays another one by at most one snippet per
trajectory. Within a trajectory, first come is first served.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextvars import ContextVar

TRAJECTORY: ContextVar[str] = ContextVar("trajectory")
"""The trajectory that snippets run for; once set, it holds for every task started from there."""


def turn() -> Hashable:
    """Whose turn a snippet takes: its trajectory's, or its task's where no trajectory is named."""
    return TRAJECTORY.get(None) or asyncio.current_task()


class FairSlots:
    """At most `count` holders at once."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._queues: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()
        self.waiting = 0

    @contextlib.asynccontextmanager
    async def hold(self, whose: Hashable) -> AsyncIterator[None]:
        """A slot for the block, when it is the turn of `whose`."""
        await self._acquire(whose)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, whose: Hashable) -> None:
        if self._free and not self.waiting:
            self._free -= 1
            return
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(whose, deque()).append(given)
        self.waiting += 1
        try:
            await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled():
                self._release()  # it was given too late: pass it on
            else:
                self._forget(whose, given)
            raise

    def _forget(self, whose: Hashable, given: asyncio.Future[None]) -> None:
        queue = self._queues[whose]
        queue.remove(given)
        self.waiting -= 1
        if not queue:
            del self._queues[whose]

    def _release(self) -> None:
        if not self._queues:
            self._free += 1
            return
        whose, queue = self._queues.popitem(last=False)
        given = queue.popleft()
        self.waiting -= 1
        if queue:
            self._queues[whose] = queue  # behind all the others
        given.set_result(None)
