"""A job whose shards are made in other processes: what they make, how far all are, its end.

The processes are placed and watched by Prefect (`flows/service/spread.py`), by Ray
(`flows/on_ray.py`), or by people who start one for each shard; here is what all of them need.

A round with a quota of mixed groups is the shortest run of a fixed order that fills the quota, and
which run that is follows from the rows alone. So it is made in waves: as many groups of that order
are begun as are expected to be needed, by what is committed; shards make them, each its own; then
the rows decide whether another wave is needed. Groups that prove unnecessary stay out of the
version. It has the rows that one process makes, whatever the shards and the waves were.
"""

from __future__ import annotations

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

from storage.calls import Call, calls
from storage.datasets import Store
from storage.records import Level, Problem
from storage.runs import Run
from storage.versions import DatasetVersion
from tirgen.jobs.idle import usage_of
from tirgen.jobs.progress import P, Progress, Watch, unwatched
from tirgen.jobs.shards import Shard, others_at_work
from tirgen.settings import JobSettings

SHARD_ROWS = 800
"""Rows in a shard, by default: enough that the start of a process is little beside its work."""
POLL_SECONDS = 3.0
"""How often progress is read from the store."""
TIMES = 2
"""A wave is made again once, for rows that were lost to infrastructure."""


class Wave(NamedTuple):
    """What all shards of a job make at the same time."""

    level: Level = Level.TRAJECTORY
    drawn: int | None = None
    """How many of the things asked, in their fixed order; None for all, where there is no quota."""

    @property
    def name(self) -> str:
        return f"{self.level.value}-{self.drawn or 'all'}"


ALL = Wave()


class Ahead(NamedTuple):
    """What the shards of a job can make now, by what is committed."""

    wave: Wave
    problems: Sequence[Problem]
    """All that are asked so far."""
    left: Sequence[Problem]
    """Those of which rows of this wave are missing; none where the wave needs no shards."""
    reused_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport(Generic[P]):
    """What a job did, of every kind."""

    version: DatasetVersion
    reused_version: bool
    """Nothing was missing: the version was published before."""
    progress: P
    seconds: float


R = TypeVar("R", bound=JobReport[Any])


@dataclass(frozen=True)
class SpreadableJob(ABC, Generic[P, R]):
    """A job that several processes can work on, each on the problems of a shard."""

    config: JobSettings
    store: Store

    kind: ClassVar[type[JobSettings]]
    """Of `config`."""

    @classmethod
    def of(cls, document: dict[str, Any], store: Store) -> Self:
        """From the JSON values of its configuration."""
        return cls(cls.kind.model_validate(document), store)

    @property
    def run(self) -> Run | None:
        """None before its first call."""
        return self.store.find_run(self.config.dataset, self.config.fingerprint())

    @property
    @abstractmethod
    def problem_rows(self) -> int:
        """Rows of one problem, at most."""

    @abstractmethod
    def ahead(self) -> Ahead:
        """What shards can make now. Raises `ProblemsError`."""

    @abstractmethod
    def counts(self, problems: int) -> P:
        """Of nothing made yet."""

    @abstractmethod
    async def settle(self, shard: Shard, watch: Watch[P] = unwatched, wave: Wave = ALL) -> P:
        """Make the rows of one shard of a wave that are still missing; publishes nothing.

        Raises what `finish` raises.
        """

    @abstractmethod
    async def finish(self, watch: Watch[P] = unwatched) -> R:
        """Make what is missing in this process, and publish it. Raises what the job raises."""


class Place(Protocol):
    """Where a job is worked on; `here`, or a cluster."""

    async def __call__(self, job: SpreadableJob[P, R], watch: Watch[P]) -> R:
        """Make what is missing, and publish it."""
        ...


async def here(job: SpreadableJob[P, R], watch: Watch[P]) -> R:
    """Make everything in this process."""
    return await job.finish(watch)


async def one_shard(
    job: SpreadableJob[P, R], shard: Shard, watch: Watch[P] = unwatched
) -> R | None:
    """Make the rows of one shard; if it was the last, publish what all of them made.

    Other processes make the other shards, on any machine that has the store. None where some of
    their problems are still to be made. Raises what `SpreadableJob.finish` raises.
    """
    made = await job.settle(shard, watch)
    run = job.run
    stopped = made.account.stopped and not (run and others_at_work(run.folder, shard))
    if job.ahead().left and not stopped:
        return None
    report = await job.finish()
    return replace(report, progress=made)


Make = Callable[[Wave, Sequence[Shard]], Awaitable[None]]
"""Has each shard of a wave made in some other process."""


async def spread(
    job: SpreadableJob[P, R], watch: Watch[P], make: Make, shard_problems: int | None = None
) -> R:
    """Have all shards made elsewhere, and publish one version; the counts are those of all calls.

    `shard_problems`: about how many problems are in a shard; by default as many as make
    `SHARD_ROWS` rows. What the shards have left is made here. Raises what `make` and
    `SpreadableJob.finish` raise; the same call then continues.
    """
    ahead = await asyncio.to_thread(job.ahead)
    size = shard_problems or max(1, SHARD_ROWS // job.problem_rows)
    spreading = _Spreading(job, ahead)
    waves: list[Wave] = []
    while ahead.left and waves.count(ahead.wave) < TIMES and not spreading.stopped:
        waves.append(ahead.wave)
        async with spreading.shown(watch, ahead):
            await make(ahead.wave, shards_of(ahead, size))
        ahead = await asyncio.to_thread(job.ahead)
    report = await job.finish(watch)
    spreading.add_up(report.progress)
    watch(report.progress)
    return replace(report, seconds=time.monotonic() - spreading.started)


def shards_of(ahead: Ahead, shard_problems: int) -> list[Shard]:
    """Those that have problems with rows missing."""
    of = max(1, math.ceil(len(ahead.problems) / shard_problems))
    shards = (Shard(number, of) for number in range(1, of + 1))
    return [shard for shard in shards if any(map(shard.has, ahead.left))]


class _Spreading(Generic[P, R]):
    """The calls that work on a job since it was spread, and their counts."""

    def __init__(self, job: SpreadableJob[P, R], ahead: Ahead) -> None:
        self.started = time.monotonic()
        self._job = job
        self._reused_rows = ahead.reused_rows
        run = job.run
        self._before = frozenset(call.key for call in calls(run.folder)) if run else frozenset()

    def _calls(self) -> list[Call]:
        run = self._job.run
        found = calls(run.folder) if run else []
        return [call for call in found if call.key not in self._before]

    @property
    def stopped(self) -> bool:
        """A call has used up the budget."""
        return any(call.progress.get("stopped") for call in self._calls())

    @asynccontextmanager
    async def shown(self, watch: Watch[P], ahead: Ahead) -> AsyncIterator[None]:
        """Call `watch` with the progress of a wave every few seconds."""
        earlier = frozenset(call.key for call in self._calls())

        async def look() -> None:
            while True:
                watch(await asyncio.to_thread(self._progress, ahead, earlier))
                await asyncio.sleep(POLL_SECONDS)

        task = asyncio.create_task(look(), name="progress of all shards")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _progress(self, ahead: Ahead, earlier: frozenset[tuple[str, int, str]]) -> P:
        """`earlier`: the calls of earlier waves."""
        total = self._job.counts(len(ahead.problems))
        total.settled = total.done_before = len(ahead.problems) - len(ahead.left)
        total.started = self.started
        found = self._calls()
        for call in found:
            if call.key not in earlier:
                done = int(call.progress.get("done", 0))
                total.settled += done - int(call.progress.get("done_before", 0))
        self._add_up(total, found)
        return total

    def add_up(self, total: Progress) -> None:
        """Make the counts those of all calls together."""
        self._add_up(total, self._calls())

    def _add_up(self, total: Progress, found: Sequence[Call]) -> None:
        total.reused_rows = self._reused_rows
        total.started = self.started
        total.add_up(call.progress for call in found)
        if run := self._job.run:
            total.idle = usage_of(run.folder, [call.name for call in found])
