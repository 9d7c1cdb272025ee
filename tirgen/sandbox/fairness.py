"""Who runs next: slots are given out in turn over trajectories, not over snippets.

A trajectory with a thousand snippets in the queue costs another one at most one snippet's wait per
trajectory. Within a trajectory the first to come is the first served.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextvars import ContextVar

TRAJECTORY: ContextVar[str] = ContextVar("trajectory")
"""On whose behalf snippets run; set once, it holds for every task started from there."""


def turn() -> Hashable:
    """Whose turn a snippet takes: its trajectory's, or where none is named that of its task."""
    return TRAJECTORY.get(None) or asyncio.current_task()


class FairSlots:
    """At most `count` holders at once."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._queues: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()
        self.waiting = 0

    @contextlib.asynccontextmanager
    async def hold(self, whose: Hashable) -> AsyncIterator[None]:
        """A slot for as long as this lasts, when it is the turn of `whose`."""
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
                self._release()  # it came too late: the next one's
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
            self._queues[whose] = queue  # behind everybody else
        given.set_result(None)
