"""How the work of a job is divided into shards, and how a process claims one.

A shard is a share of the problems, chosen by a hash of their ids: it is the same for any order and
number of problems, on any machine. Its name, ``3-of-16``, is the name of its lease. The process
that works on a whole job holds the lease ``whole``; no shard is claimed meanwhile, and it waits for
those that are held. Shards of two divisions overlap: those of the second wait for the first.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.leases import LEASES, Claim, Holder, Lease, holders
from storage.records import Problem

POLL_SECONDS = 0.5

Waiting = Callable[[Holder], None]
"""Called with the holder that is waited for, once for each."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `of` shares of a job; `number` counts from 1. The default is the whole job."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From ``3/16``. Raises ValueError."""
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal()):
            raise ValueError(f"{text!r} is no shard; write it like 3/16, the third of 16")
        return cls(int(number), int(of))

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
async def shard_lease(run: Path, shard: Shard, waiting: Waiting) -> AsyncIterator[Lease]:
    """Wait for the lease of a shard and hold it; `run` is the run's folder."""
    if shard == WHOLE:
        async with named_lease(run, shard.name, waiting) as lease:
            for name in holders(run / LEASES):
                if name != shard.name:
                    async with named_lease(run, name, waiting):
                        pass
            yield lease
        return
    lease = await _claimed(run, shard, waiting)
    try:
        yield lease
    finally:
        lease.release()


async def _claimed(run: Path, shard: Shard, waiting: Waiting) -> Lease:
    """The lease of a share. It is taken under the lease ``whole``, so that no process takes the
    whole job, or a share that overlaps, at the same moment."""
    claims: dict[str, Claim] = {}
    reported: str | None = None
    while True:
        async with named_lease(run, WHOLE.name, waiting):
            overlapping = [n for n in holders(run / LEASES) if _overlaps(n, shard)]
            for name in (*overlapping, shard.name):
                claim = claims.setdefault(name, Claim(run / LEASES, name))
                granted = claim.attempt()
                if not isinstance(granted, Lease):
                    break
                if name == shard.name:
                    return granted
                granted.release()  # its holder has ended
            else:
                raise AssertionError("the last name is that of the shard")
        if granted.token != reported:
            reported = granted.token
            waiting(granted)
        await asyncio.sleep(POLL_SECONDS)


def _overlaps(name: str, shard: Shard) -> bool:
    """The lease is that of a share of another division."""
    return name != WHOLE.name and not name.endswith(f"-of-{shard.of}")


def others_at_work(run: Path, shard: Shard) -> bool:
    """Whether other shares of the run are held now, by processes that may have ended since."""
    names = holders(run / LEASES).keys() - {shard.name, WHOLE.name}
    return bool(names)


@asynccontextmanager
async def named_lease(folder: Path, name: str, waiting: Waiting) -> AsyncIterator[Lease]:
    """Wait for the lease of this name below `folder` and hold it."""
    claim = Claim(folder / LEASES, name)
    reported: str | None = None
    while True:
        # Not in a thread: a task that is cancelled there would leave its lease behind.
        granted = claim.attempt()
        if isinstance(granted, Lease):
            break
        if granted.token != reported:
            reported = granted.token
            waiting(granted)
        await asyncio.sleep(POLL_SECONDS)
    try:
        yield granted
    finally:
        granted.release()
