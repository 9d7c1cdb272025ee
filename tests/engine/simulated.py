"""An event loop whose clock jumps to the next event, and servers that live on it.

Minutes of a server under load pass in milliseconds, and the same way each time.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tirgen.engine.gate import Gate
from tirgen.engine.live_trajectory import LiveTrajectory
from tirgen.engine.pool import Pool, Replica
from tirgen.engine.retry import RetryPolicy, Transient, Trouble

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Instead of waiting, moves the clock."""

    moved = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.moved += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.moved


def simulate(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the jumping clock."""
    random.seed(7)
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


def now() -> float:
    return asyncio.get_running_loop().time()


class Server:
    """Works on `slots` requests at once, each for `seconds`; the others wait inside of it."""

    def __init__(self, name: str = "a", slots: int = 32, seconds: float = 0.1) -> None:
        self.name = name
        self.seconds: Callable[[], float] = lambda: seconds
        self.per_minute: int | None = None
        """Rate limit over the last minute."""
        self.retry_after: Callable[[], float | None] = lambda: None
        self.trouble: Trouble | None = None
        """How every request fails now."""
        self.slots = asyncio.Semaphore(slots)
        self.started: deque[float] = deque()
        self.answered = self.refused = self.asked = 0
        self.busy_seconds = 0.0
        self._gone = asyncio.Event()

    def kill(self) -> None:
        """Break every connection, and refuse new ones."""
        self.trouble = Trouble.UNREACHABLE
        self._gone.set()

    def start_again(self) -> None:
        self.trouble = None
        self._gone = asyncio.Event()

    async def ask(self) -> str:
        self.asked += 1
        if self.trouble:
            raise Transient("It fails.", trouble=self.trouble)
        if self.per_minute is not None:
            while self.started and self.started[0] <= now() - 60:
                self.started.popleft()
            if len(self.started) >= self.per_minute:
                self.refused += 1
                raise Transient("Too many.", self.retry_after(), Trouble.LIMITED)
            self.started.append(now())
        gone = asyncio.ensure_future(self._gone.wait())
        work = asyncio.ensure_future(self._work())
        try:
            await asyncio.wait({gone, work}, return_when="FIRST_COMPLETED")
            if not work.done():
                raise Transient("The connection broke.", trouble=Trouble.UNREACHABLE)
        finally:
            gone.cancel()
            work.cancel()
        self.answered += 1
        return self.name

    async def _work(self) -> None:
        async with self.slots:
            began = now()
            await asyncio.sleep(self.seconds())
            self.busy_seconds += now() - began


def pool_of(
    *servers: Server, concurrency: int = 32, policy: RetryPolicy | None = None
) -> Pool[Server]:
    replicas = [Replica(server, Gate(concurrency), server.name) for server in servers]
    return Pool(replicas, policy or RetryPolicy())


async def trajectory(pool: Pool[Server], calls: int = 8) -> list[str]:
    """Requests one after the other; which server answered each."""
    trajectory = LiveTrajectory()
    with trajectory.work():
        return [(await pool.run(Server.ask)).result for _ in range(calls)]


async def many(pool: Pool[Server], trajectories: int, live: int, calls: int = 8) -> list[list[str]]:
    """So many trajectories, at most `live` at once."""
    slots = asyncio.Semaphore(live)

    async def one() -> list[str]:
        async with slots:
            return await trajectory(pool, calls)

    return await asyncio.gather(*(one() for _ in range(trajectories)))
