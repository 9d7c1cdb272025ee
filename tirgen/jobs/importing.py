"""The recipe of an import: a file of other people's trajectories in, a dataset version out.

Every response is run and judged once, in any order, and kept or not by the filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from itertools import islice

from storage.datasets import Store
from storage.records import Program, trajectory_id
from storage.runs import Run
from storage.versions import DatasetVersion
from tirgen.data.errors import BadRow, ProblemsError, describe
from tirgen.data.responses import Intake, Response
from tirgen.filters.curate import YieldRow, curated
from tirgen.jobs.committed import Committed
from tirgen.jobs.import_config import ImportConfig
from tirgen.jobs.job import Job, identity_of, open_job
from tirgen.jobs.progress import Progress, Watch, unwatched
from tirgen.jobs.replay_maker import RecordedItem, ReplayMaker
from tirgen.jobs.workers import for_each
from tirgen.sandbox.open import AnySandbox, open_sandbox
from tirgen.verification import Verifier

AT_ONCE = 32
"""Responses worked on at once; the sandbox bounds its own programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did."""

    version: DatasetVersion
    made: int
    """Responses run and judged by this call."""
    reused: int
    """Responses that earlier calls had committed."""
    skipped: tuple[BadRow, ...]
    yields: list[YieldRow]


async def import_trajectories(
    config: ImportConfig,
    store: Store,
    limit: int | None = None,
    watch: Watch[Progress] = unwatched,
) -> ImportReport:
    """Run and judge every response of the file and publish them all, kept or not.

    `limit` takes only the first so many. Raises `ProblemsError` where nothing can be read,
    `SandboxUnavailable`, and `VerifierUnavailable`.
    """
    intake = Intake(config.path, config.format, config.gold)
    responses = list(islice(intake.responses(), limit))
    if not responses:
        why = describe(tuple(intake.bad)) if intake.bad else "it is empty"
        raise ProblemsError(f"{config.path} holds no response: {why}", tuple(intake.bad))
    progress = Progress(problems=len(responses))
    recipe = _Recipe(config, responses, progress)
    async with open_job(store, config, recipe, progress, watch, live=AT_ONCE) as job:
        await _work(recipe, job)
        reused = None if recipe.todo else job.committed.version()
        version = reused or _publish(config, job)
    return ImportReport(
        version=version,
        made=len(recipe.todo),
        reused=progress.reused_rows,
        skipped=tuple(intake.bad),
        yields=[YieldRow(**row) for row in version.manifest["summary"]["yield"]],
    )


@dataclass(slots=True)
class _Recipe:
    """Which responses are not committed, and what runs them."""

    config: ImportConfig
    responses: Sequence[Response]
    progress: Progress
    todo: Sequence[Response] = ()
    _opened: tuple[AnySandbox, Verifier] | None = None

    def load(self, committed: Committed) -> bool:
        """A response whose gold answer has changed is judged anew."""
        name, config_hash = self.config.dataset, self.config.fingerprint()
        done = {row.trajectory_id: row.problem for row in committed.rows() if not row.is_lost}
        self.todo = [
            response
            for response in self.responses
            if done.get(trajectory_id(name, config_hash, _item(response).key)) != response.problem
        ]
        self.progress.reused_rows = len(self.responses) - len(self.todo)
        self.progress.settled = self.progress.reused_rows
        return bool(self.todo)

    async def open(self, stack: AsyncExitStack) -> None:
        sandbox = await stack.enter_async_context(open_sandbox(**self.config.sandbox.place()))
        verifier = await stack.enter_async_context(Verifier(require_box=False))
        self._opened = (sandbox, verifier)

    def maker(self, run: Run) -> ReplayMaker:
        assert self._opened is not None, "nothing was missing when the job was opened"
        engine = f"imported {self.config.format}: {self.config.path.name}"
        return ReplayMaker(self.config, identity_of(run, self.config, engine), *self._opened)


async def _work(recipe: _Recipe, job: Job[Progress]) -> None:
    if not recipe.todo:
        return
    maker = recipe.maker(job.run)

    async def make(response: Response) -> None:
        await job.row(maker, _item(response))
        job.progress.settled += 1
        job.watch(job.progress)

    await for_each(recipe.todo, make, AT_ONCE)


def _item(response: Response) -> RecordedItem:
    return RecordedItem(
        problem=response.problem,
        program=Program.IMPORTED,
        attempt=response.attempt,
        response=response,
    )


def _publish(config: ImportConfig, job: Job[Progress]) -> DatasetVersion:
    curation = curated(job.run.reader(), config.filters, config.seed)
    summary = {
        "problems": curation.problems,
        "trajectories": curation.count,
        "yield": [asdict(row) for row in curation.yields],
    }
    return job.publish(curation.rows(), summary)
