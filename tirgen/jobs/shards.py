"""How the work of a job is divided into shards, and how one is claimed.

A shard is a share of the problems, drawn by a hash of their ids: the same whatever the order of the
problems, however many of them a call asks for, and on whatever machine. Its name, ``3-of-16``, is
the name of its lease. Whoever works on a whole job, or hands its shards out, holds the lease
``whole``; a shard is worked on by whoever holds the shard's own.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.leases import Claim, Holder, Lease, holders
from storage.records import Problem

LEASES = "leases"
"""Folder of a run with its leases."""
POLL_SECONDS = 0.5

Waiting = Callable[[Holder], None]
"""Called with whoever is waited for, once for each."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `of` shares of a job, `number` counted from 1; by default all of it."""

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ValueError(f"there is no shard {self.number} of {self.of}")

    @property
    def name(self) -> str:
        return "whole" if self.of == 1 else f"{self.number}-of-{self.of}"

    def has(self, problem: Problem) -> bool:
        """Whether the problem is in this share."""
        digest = hashlib.sha256(problem.problem_id.encode(errors="replace")).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number - 1


WHOLE = Shard()


@asynccontextmanager
async def claimed(run: Path, shard: Shard, waiting: Waiting) -> AsyncIterator[Lease]:
    """Hold the lease of a shard of the run in this folder, once its holder has let it go.

    The whole is held once no shard of it is worked on any more.
    """
    lease = await _claim(run / LEASES, shard.name, waiting)
    try:
        if shard == WHOLE:
            for name in holders(run / LEASES):
                if name != shard.name:
                    (await _claim(run / LEASES, name, waiting)).release()
        yield lease
    finally:
        lease.release()


async def _claim(folder: Path, name: str, waiting: Waiting) -> Lease:
    claim = Claim(folder, name)
    told: str | None = None
    while True:
        granted = claim.attempt()  # in a thread, a cancelled task would leave its lease behind
        if isinstance(granted, Lease):
            return granted
        if granted.token != told:
            told = granted.token
            waiting(granted)
        await asyncio.sleep(POLL_SECONDS)
