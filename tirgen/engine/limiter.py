"""Bounds the requests to one engine, in number and in time, and tries failed ones again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tirgen.engine.errors import EngineUnavailable
from tirgen.engine.retry import RetryPolicy, Transient, Trouble

T = TypeVar("T")


class Limiter:
    """At most `concurrency` requests at once, each tried as `RetryPolicy` says."""

    def __init__(self, concurrency: int, policy: RetryPolicy) -> None:
        self._policy = policy
        self._slots = asyncio.Semaphore(concurrency)

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> tuple[T, float]:
        """Await `attempt()` until it does not raise `Transient`; its result and the seconds taken.

        Those are of all tries and the waits between them, not of the wait for a free slot. The slot
        is kept while waiting to try again: a server that asks for patience gets less at once.
        Raises `EngineUnavailable` when tries or time run out.
        """
        async with self._slots:
            started = time.monotonic()
            result = await self._tried(attempt, started)
            return result, time.monotonic() - started

    async def _tried(self, attempt: Callable[[], Awaitable[T]], started: float) -> T:
        tries = failed = 0
        while True:
            try:
                return await self._timed(attempt)
            except Transient as failure:
                tries += 1
                failed += failure.trouble is Trouble.FAILED
                waited = time.monotonic() - started
                delay = self._policy.delay(tries, failure.retry_after)
                late = waited + delay > self._policy.seconds(failure)
                if failed >= self._policy.max_tries or late:
                    raise EngineUnavailable(
                        f"Gave up after {tries} tries and {waited:.0f} s: {failure} Check that the "
                        "engine is up and not overloaded, then run the same command again."
                    ) from failure
            await asyncio.sleep(delay)

    async def _timed(self, attempt: Callable[[], Awaitable[T]]) -> T:
        limit = asyncio.timeout(self._policy.try_seconds)
        try:
            async with limit:
                return await attempt()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Transient(f"No answer within {self._policy.try_seconds:g} s.") from error
