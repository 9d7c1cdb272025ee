"""Runs every job: one process at a time, resumable rows, group commits, limits, publication.

A job is one configuration at work on a store. The keys of its rows are known beforehand, and a row
that is committed is not made again. A recipe says what is missing and how it is made; this module
does the rest: it lets one process at a time work on the job, bounds the rows in progress, commits
them in groups, counts them, books their cost, and ends the job in an outage. A job can be stopped
at any time, by `kill -9` too. Started again, it makes what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa

from storage.calls import SECONDS_BETWEEN_NOTES, CallNote, calls
from storage.datasets import Store
from storage.idle import IdleLog
from storage.journal import Journal
from storage.leases import Holder, Lease
from storage.records import Ending, Problem, Trajectory
from storage.runs import Run, run_id
from storage.versions import DatasetVersion
from tirgen.engine.errors import EngineUnavailable
from tirgen.engine.live_trajectory import Activity, LiveTrajectory
from tirgen.jobs.budget import BudgetAccount, BudgetSettings, Others
from tirgen.jobs.commit_queue import CommitQueue
from tirgen.jobs.committed_rows import CODE_VERSION, CommittedRows
from tirgen.jobs.idle import IdleLedger, Pools
from tirgen.jobs.maker import Item, Maker, RunIdentity
from tirgen.jobs.progress import P, Watch
from tirgen.jobs.shards import WHOLE, Shard, shard_lease
from tirgen.settings import JobSettings

LOGGER = logging.getLogger(__name__)

ItemT = TypeVar("ItemT", bound=Item)

UNSTORABLE = (ValueError, TypeError, OverflowError, pa.ArrowException)
"""What the store raises for a row that no file can hold."""
OUTAGE_ROWS = 20
"""After this many lost rows in a row something is down, and more attempts would be wasted."""
INTERNAL_ERRORS = 20
"""Rows of one call on which tirgen itself may fail; in a long call one row in fifty more."""


class TooManyInternalErrors(Exception):
    """Tirgen itself fails too often to go on; the message has the last error and its place."""


@dataclass(slots=True)
class OutageWatch:
    """Counts the rows lost to infrastructure since the last row that was not."""

    _lost: int = 0

    def check(self, row: Trajectory) -> None:
        """Take note of a committed row; after an outage was raised, counting starts at zero.

        Raises `EngineUnavailable` at the last of `OUTAGE_ROWS` lost rows.
        """
        if row.ending is Ending.INTERNAL_ERROR:
            return
        self._lost = self._lost + 1 if row.ending.is_infrastructure else 0
        if self._lost < OUTAGE_ROWS:
            return
        self._lost = 0
        raise EngineUnavailable(
            f"{OUTAGE_ROWS} trajectories in a row were lost to infrastructure ({row.error}); "
            "finished rows are committed: repair it and run the same command to continue"
        )


@dataclass(slots=True)
class InternalErrorLimit:
    """Counts the rows of a call on which tirgen itself failed."""

    _rows: int = 0
    _broken: int = 0

    def check(self, row: Trajectory) -> None:
        """Take note of a row. Raises `TooManyInternalErrors`."""
        self._rows += 1
        if row.ending is not Ending.INTERNAL_ERROR:
            return
        self._broken += 1
        if self._broken > INTERNAL_ERRORS + self._rows // 50:
            raise TooManyInternalErrors(
                f"{self._broken} of {self._rows} trajectories ended in an internal error of "
                f"tirgen, the last one, {row.trajectory_id}, in: {row.error}"
            )


class Recipe(Protocol):
    """What one kind of job adds to the engine."""

    def load(self, committed: CommittedRows) -> bool:
        """Take over what is committed. Returns whether rows are missing."""
        ...

    async def open(self, stack: AsyncExitStack, identity: RunIdentity) -> Pools:
        """Open engine, sandbox and verifier on the stack, for the makers of the run's rows.

        Returns the servers of each role. Called only if rows are missing. Raises where the job
        cannot begin.
        """
        ...


@dataclass(slots=True)
class Job(Generic[P]):
    """A job that this process holds."""

    run: Run
    committed: CommittedRows
    """As it was when the lease was granted."""
    progress: P
    watch: Watch[P]
    """Called with `progress` after each change."""
    _lease: Lease
    _note: CallNote
    _journal: Journal
    _slots: asyncio.Semaphore
    """Bounds the rows that are made at the same time."""
    working: Counter[Activity] = field(default_factory=Counter)
    """What the rows in progress wait for, those aside that ask an engine."""
    _commits: CommitQueue | None = None
    """None where no row was missing when the job was opened."""
    _outage: OutageWatch = field(default_factory=OutageWatch)
    _internal: InternalErrorLimit = field(default_factory=InternalErrorLimit)

    @property
    def has_work(self) -> bool:
        """Rows were missing when the job was opened."""
        return self._commits is not None

    async def make_row(
        self,
        maker: Maker[ItemT],
        item: ItemT,
        record: Callable[[Trajectory], None] = lambda row: None,
    ) -> Trajectory | None:
        """Wait for a free slot, make a row, commit it, and pass it to `record`.

        None where the budget does not cover it. Raises `EngineUnavailable` in an outage,
        `TooManyInternalErrors`, `LeaseLost` when another process has taken the job over, and what
        `Maker.make` raises.
        """
        account = self.progress.account
        trajectory = LiveTrajectory(self.working)
        async with self._slots:
            if not await account.admit(item.program):
                return None
            self.progress.live += 1
            try:
                with trajectory.work():
                    row = await maker.make(item, self._journal)
            except BaseException:
                await account.release(item.program)
                raise
            finally:
                self.progress.live -= 1
        with trajectory.work(), trajectory.at(Activity.STORE):
            row = await self._commit(maker, item, row)
        record(row)
        self.progress.count(row)
        await account.charge(row)
        self.watch(self.progress)
        self._note.update(self.progress.document)
        self._outage.check(row)
        self._internal.check(row)
        return row

    async def _commit(self, maker: Maker[ItemT], item: ItemT, row: Trajectory) -> Trajectory:
        """The row as committed; one that the store cannot hold becomes an internal error."""
        assert self._commits is not None, "nothing was missing when the job was opened"
        try:
            await self._commits.commit(row)
        except UNSTORABLE as error:
            row = maker.broken(item, row.cost, error)
            await self._commits.commit(row)
        self._journal.drop(row.trajectory_id)
        return row

    def append(self, rows: Sequence[Trajectory]) -> None:
        """Commit rows. Raises `LeaseLost`, and what `Run.append` raises."""
        self._lease.check()
        self.run.append(rows)

    def noted_at_end(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put on record that this call has ended, and by which error."""
        with contextlib.suppress(OSError):  # the commit itself reports a full disk
            self._note.write(self.progress.document(), ended=True, error=error)

    def published(
        self,
        problems: Mapping[str, Problem] | None = None,
        answers: Callable[[Mapping[str, Any]], bool] = lambda summary: True,
    ) -> DatasetVersion | None:
        """The version that this call would publish again, if it made no row.

        `problems` are those asked for, by id (default: all). `answers` is given the version's
        summary and says whether it answers the same question.
        """
        version = None if self.progress.trajectories else self.committed.version(problems)
        return version if version and answers(version.manifest["summary"]) else None

    def publish(
        self,
        rows: Iterable[Trajectory],
        summary: dict[str, Any] | Callable[[], dict[str, Any]],
        *,
        in_order: bool = False,
    ) -> DatasetVersion:
        """Publish `rows` as the dataset's next version, as `Run.publish` does.

        Raises `LeaseLost`.
        """
        self._lease.check()
        version = self.run.publish(rows, summary, in_order=in_order)
        if not self.progress.account.stopped:  # else a higher budget goes on with what is begun
            self._journal.clear()
        return version


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
    """Claim a job, load what is committed, and open what makes the missing rows.

    Waits while another process works on the same configuration (`Progress.waiting_for`). What a new
    job needs is opened before its run is created, so that a bad start writes nothing. `live` bounds
    the rows that are made at the same time.
    """

    def waiting(holder: Holder) -> None:
        progress.waiting_for = str(holder)
        watch(progress)

    fingerprint, began = config.fingerprint(), time.monotonic()
    identity = RunIdentity(run_id(config.dataset, fingerprint), fingerprint, CODE_VERSION)
    async with AsyncExitStack() as stack:
        run = store.find_run(config.dataset, fingerprint)
        pools: Pools = {}
        if is_new := run is None:
            pools = await recipe.open(stack, identity)
            run = store.open_run(config.dataset, config.model_dump(mode="json"), fingerprint)
        assert run is not None
        lease = await stack.enter_async_context(shard_lease(run.folder, shard, waiting))
        committed = CommittedRows(run)
        has_work = recipe.load(committed)
        if progress.waiting_for:
            progress.waiting_for, began = None, time.monotonic()
        note = CallNote(run.folder, began)
        settings = BudgetSettings() if budget is None else budget
        progress.account = BudgetAccount(settings, committed.spend(settings, began))
        if shard != WHOLE:
            folder = run.folder
            progress.account.others = Others(
                lambda: (call for call in calls(folder) if not note.is_of(call))
            )
        progress.done_before = progress.goal.done
        watch(progress)
        if has_work and not is_new:
            pools = await recipe.open(stack, identity)
        journal = Journal(run.folder)
        job = Job(run, committed, progress, watch, lease, note, journal, asyncio.Semaphore(live))
        if has_work:
            for made in committed.made(journal.unfinished()):  # killed just after their commit
                journal.drop(made)
            note.write(progress.document())
            stack.push(job.noted_at_end)
            job._commits = await stack.enter_async_context(CommitQueue(job.append))
            await stack.enter_async_context(_looking(job, note, pools))
        yield job


@asynccontextmanager
async def _looking(job: Job[P], note: CallNote, pools: Pools) -> AsyncIterator[None]:
    """Look at the engines and at other calls, for as long as this one works."""
    log = IdleLog(job.run.folder, note.name)
    ledger = IdleLedger(pools, job.working, job._slots.locked, log)
    job.progress.idle = ledger.usage

    async def look() -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_NOTES)
            note.update(job.progress.document)
            await job.progress.account.look()

    tasks = [
        asyncio.create_task(look(), name="looks at other calls"),
        asyncio.create_task(ledger.run(), name="idle ledger"),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(OSError):  # the commit itself reports a full disk
            ledger.close()
        for error in ended:
            if isinstance(error, Exception):
                LOGGER.warning("the figures of this call are not complete: %s", error)
