"""The global concurrency limits: they guard whole jobs, never single calls.

Prefect's limit is exact but slow (64 half-second calls at limit 8 took 21.7 s, a semaphore 4.0),
so what is bounded inside a job is bounded by the job.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from prefect.concurrency.asyncio import concurrency

ENGINE = "engine"
"""Runs that may keep an engine busy at once."""
GPU = "gpu"
"""Training jobs at once."""

LIMITS = {ENGINE: 2, GPU: 1}

LEASE_SECONDS = 120.0
"""How long a slot stays taken after its holder was killed: until the holder counts as crashed (four
heartbeats), for its resumed run waits for a slot too. A run that lives renews it."""


def slot(limit: str) -> AbstractAsyncContextManager[None]:
    """One slot of a limit, for the time of an `async with`."""
    return concurrency(limit, occupy=1, lease_duration=LEASE_SECONDS)
