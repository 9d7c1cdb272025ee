"""The engine of every job: its lease, its rows, their commits, its limits, and its publication.

A job is one configuration at work on a store. Its rows have keys that are known beforehand, and
what is committed is not made again. A recipe says what is missing and what makes it; this module
does the rest: one holder at a time, a bounded number of rows under way, each made, committed in
groups with others that finish, counted, paid for, and watched for an outage. A job can be stopped
anywhere, by `kill -9` too, and run again; it then makes what is missing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa

from storage.datasets import Store
from storage.leases import Holder, Lease
from storage.records import Trajectory
from storage.runs import Run
from storage.versions import DatasetVersion
from tirgen.jobs.budget import Account, BudgetSettings
from tirgen.jobs.committed import CODE_VERSION, Committed
from tirgen.jobs.committer import Committer
from tirgen.jobs.limits import InternalErrorLimit, OutageWatch
from tirgen.jobs.maker import Identity, Item, Maker
from tirgen.jobs.progress import P, Watch
from tirgen.jobs.shards import WHOLE, Shard, claimed
from tirgen.settings import JobSettings

ItemT = TypeVar("ItemT", bound=Item)

UNSTORABLE = (ValueError, TypeError, OverflowError, pa.ArrowException)
"""What the store raises for a row that no file can hold."""


class Recipe(Protocol):
    """What one kind of job adds to the engine."""

    def load(self, committed: Committed) -> bool:
        """Take over what is committed; whether anything is left to be made."""
        ...

    async def open(self, stack: AsyncExitStack) -> None:
        """Open engine, sandbox and verifier on the stack. Raises where the job cannot begin."""
        ...


@dataclass(slots=True)
class Job(Generic[P]):
    """A job that is held by this process."""

    run: Run
    committed: Committed
    """As it was when the lease was granted."""
    progress: P
    watch: Watch[P]
    lease: Lease
    slots: asyncio.Semaphore
    """Of so many rows made at once; first come, first served."""
    committer: Committer | None = None
    """None where nothing was missing when the job was opened."""
    _outage: OutageWatch = field(default_factory=OutageWatch)
    _internal: InternalErrorLimit = field(default_factory=InternalErrorLimit)

    async def row(
        self,
        maker: Maker[ItemT],
        item: ItemT,
        record: Callable[[Trajectory], None] = lambda row: None,
    ) -> Trajectory | None:
        """Make a row when there is room for it; durable on return, and before `record` gets it.

        None where the budget does not cover it. Raises `EngineUnavailable` when something is down,
        `TooManyInternalErrors`, `LeaseLost` when another process has taken the job over, and what
        `Maker.make` raises.
        """
        account = self.progress.account
        async with self.slots:
            if not await account.admit(item.program):
                return None
            row = await maker.make(item)
        row = await self._commit(maker, item, row)
        record(row)
        self.progress.count(row)
        await account.charge(row)
        self.watch(self.progress)
        self._outage.look_at(row)
        self._internal.look_at(row)
        return row

    async def _commit(self, maker: Maker[ItemT], item: ItemT, row: Trajectory) -> Trajectory:
        """The row as it is committed: one that the store cannot hold is an error of ours too."""
        assert self.committer is not None, "nothing was missing when the job was opened"
        try:
            await self.committer.add(row)
        except UNSTORABLE as error:
            row = maker.broken(item, row.cost, error)
            await self.committer.add(row)
        return row

    def append(self, rows: Sequence[Trajectory]) -> None:
        """Commit rows. Raises `LeaseLost`, and what `Run.append` raises."""
        self.lease.check()
        self.run.append(rows)

    def publish(self, rows: Iterable[Trajectory], summary: dict[str, Any]) -> DatasetVersion:
        """Publish `rows` as the dataset's next version. Raises `LeaseLost`."""
        self.lease.check()
        return self.run.publish(rows, summary)


def identity_of(run: Run, config: JobSettings, engine: str) -> Identity:
    """What the rows of a run share."""
    return Identity(run.run_id, config.fingerprint(), CODE_VERSION, engine)


@asynccontextmanager
async def open_job(
    store: Store,
    config: JobSettings,
    recipe: Recipe,
    progress: P,
    watch: Watch[P],
    *,
    live: int,
    budget: BudgetSettings | None = None,
    shard: Shard = WHOLE,
) -> AsyncIterator[Job[P]]:
    """Claim a job, take over what is committed, and open what makes the rest, if there is any.

    Waits for whoever works on the same configuration (`Progress.waiting_for` says who). A job that
    never began is opened before its run is, so that a bad start writes nothing. `live` bounds the
    rows that are made at once.
    """

    def waiting(holder: Holder) -> None:
        progress.waiting_for = str(holder)
        watch(progress)

    fingerprint, began = config.fingerprint(), time.monotonic()
    async with AsyncExitStack() as stack:
        run = store.find_run(config.dataset, fingerprint)
        if begins := run is None:
            await recipe.open(stack)
            run = store.open_run(config.dataset, config.model_dump(mode="json"), fingerprint)
        assert run is not None
        lease = await stack.enter_async_context(claimed(run.folder, shard, waiting))
        committed = Committed(run)
        misses = recipe.load(committed)
        if progress.waiting_for:
            progress.waiting_for, began = None, time.monotonic()
        if budget is not None:
            progress.account = Account(budget, committed.spend(budget, began), run)
        watch(progress)
        if misses and not begins:
            await recipe.open(stack)
        job = Job(run, committed, progress, watch, lease, asyncio.Semaphore(live))
        if misses:
            job.committer = await stack.enter_async_context(Committer(job.append))
            stack.callback(progress.account.note_time)
        yield job
