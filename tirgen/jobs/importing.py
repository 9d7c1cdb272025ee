"""The recipe of an import: a file of other people's trajectories in, a dataset version out.

Every response is run and judged once, in any order, and kept or dropped by the filters.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

from storage.datasets import Store
from storage.records import Program, Provenance, Trajectory
from storage.versions import DatasetVersion
from tirgen.data.errors import BadRow, ProblemsError, describe
from tirgen.data.replay import replay
from tirgen.data.responses import Response, ResponseReader
from tirgen.filters.apply import Filtering, YieldRow
from tirgen.filters.rules import accept
from tirgen.jobs.committed_rows import CommittedRows
from tirgen.jobs.idle import Pools
from tirgen.jobs.import_config import ImportConfig
from tirgen.jobs.job import Job, open_job
from tirgen.jobs.maker import Item, Judgement, Maker, RowInProgress, RunIdentity
from tirgen.jobs.progress import Progress, Watch, unwatched
from tirgen.jobs.workers import for_each
from tirgen.sandbox.open import AnySandbox, open_sandbox
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.driver import Driver, Runner, UsageCounter
from tirgen.tir.markup import parse_trajectory
from tirgen.tir.transcript import Transcript
from tirgen.verification import Verifier, extract_answer

AT_ONCE = 32
"""Responses worked on at the same time; the sandbox limits its own programs."""


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
    """Run and judge every response of the file, and publish them all, kept or not.

    `limit` takes only that many responses from the start. Raises `ProblemsError` where nothing can
    be read, `SandboxUnavailable`, and `VerifierUnavailable`.
    """
    reader = ResponseReader(
        path=config.path,
        format=config.format,
        gold=config.gold,
        dataset=config.dataset,
        config_hash=config.fingerprint(),
    )
    found = sum(1 for _ in islice(reader.responses(), limit))
    if not found:
        why = describe(tuple(reader.bad)) if reader.bad else "it is empty"
        raise ProblemsError(f"{config.path} holds no response: {why}", tuple(reader.bad))
    progress = Progress(problems=found)
    again = replace(reader, bad=[])
    recipe = _Recipe(config, lambda: islice(again.responses(), limit), progress)
    async with open_job(store, config, recipe, progress, watch, live=AT_ONCE) as job:
        await _run_all(recipe, job)
        version = job.published() or _publish(config, job)
    return ImportReport(
        version=version,
        made=recipe.missing,
        reused=progress.reused_rows,
        skipped=tuple(reader.bad),
        yields=[YieldRow(**row) for row in version.manifest["summary"]["yield"]],
    )


@dataclass(slots=True)
class _Recipe:
    """Which responses are not committed, and what runs them."""

    config: ImportConfig
    read: Callable[[], Iterator[Response]]
    """Reads the responses, which are never held; each use reads the file again."""
    progress: Progress
    missing: int = 0
    maker: ReplayMaker = field(init=False)
    _done: dict[str, int] = field(default_factory=dict)
    """By trajectory that is committed, the hash of its problem."""

    def load(self, committed: CommittedRows) -> bool:
        """A response whose gold answer has changed is judged again."""
        sound = (row for row in committed.rows() if not row.is_lost)
        self._done = {row.trajectory_id: hash(row.problem) for row in sound}
        self.missing = sum(1 for _ in self.todo())
        self.progress.reused_rows = self.progress.problems - self.missing
        self.progress.settled = self.progress.reused_rows
        return bool(self.missing)

    def todo(self) -> Iterator[Response]:
        """The responses that are not committed."""
        return (one for one in self.read() if self._done.get(one.identity) != hash(one.problem))

    async def open(self, stack: AsyncExitStack, identity: RunIdentity) -> Pools:
        config = self.config
        sandbox = await stack.enter_async_context(open_sandbox(**config.sandbox.place()))
        verifier = await stack.enter_async_context(
            Verifier(exact_digits=config.exact_digits, require_box=False)
        )
        engine = f"imported {config.format}: {config.path.name}"
        self.maker = ReplayMaker(config, replace(identity, engine=engine), sandbox, verifier)
        return {}


async def _run_all(recipe: _Recipe, job: Job[Progress]) -> None:
    async def make(response: Response) -> None:
        item = ResponseItem(
            problem=response.problem,
            program=Program.IMPORTED,
            attempt=response.attempt,
            response=response,
        )
        await job.make_row(recipe.maker, item)
        job.progress.settled += 1
        job.watch(job.progress)

    await for_each(recipe.todo(), make, AT_ONCE)


def _publish(config: ImportConfig, job: Job[Progress]) -> DatasetVersion:
    filtering = Filtering(job.run.reader(in_order=True), config.filters, config.seed)

    def summary() -> dict[str, Any]:
        return {
            "problems": filtering.problems,
            "trajectories": filtering.count,
            "yield": [asdict(row) for row in filtering.yields],
        }

    return job.publish(filtering.rows(), summary, in_order=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseItem(Item):
    """One response of the file."""

    response: Response


class ReplayMaker(Maker[ResponseItem]):
    """Runs the programs of recorded responses and judges their answers."""

    def __init__(
        self, config: ImportConfig, identity: RunIdentity, sandbox: AnySandbox, verifier: Verifier
    ) -> None:
        super().__init__(config.dataset, identity)
        self._config = config
        self._sandbox = sandbox
        self._verifier = verifier

    def begin(self, item: ResponseItem) -> RowInProgress:
        return self._sample(item, self._sandbox)

    @asynccontextmanager
    async def prepared(self, item: ResponseItem) -> AsyncIterator[RowInProgress]:
        """In its own session, where the programs of a response share an interpreter."""
        if not self._config.in_sessions:
            yield self.begin(item)
            return
        session = await self._sandbox.session(self._config.sandbox.memory_mb)
        try:
            yield self._sample(item, session)
        finally:
            await session.close()

    async def judge(
        self, item: ResponseItem, builder: TrajectoryBuilder, usage: UsageCounter
    ) -> Judgement:
        """Answers without a box count too: other people's prompts do not ask for one."""
        text, gold = item.response.foreign.response, item.problem.answer
        answer = extract_answer(text, require_box=False)
        if not gold:
            builder.error = builder.error or "no gold answer to judge by"
        if builder.ending.is_infrastructure or not gold:
            return Judgement(None, answer)
        return Judgement(await self._verifier.verify(gold, text), answer)

    async def finish(self, row: Trajectory) -> Trajectory:
        """Add the filters' verdicts; publication computes them again."""
        return replace(row, filters=accept(row, self._config.filters))

    def provenance(self, item: ResponseItem) -> Provenance:
        config = self._config
        state = "session" if config.in_sessions else "stateless"
        return Provenance(
            run_id=self.identity.run_id,
            config_hash=self.identity.config_hash,
            actor_model=item.response.foreign.model or config.path.stem,
            critic_model=None,
            engine=self.identity.engine,
            exact_tokens=False,
            sampling="{}",
            actor_prompt_hash="",
            critic_prompt_hash=None,
            seed=config.seed,
            code_version=self.identity.code_version,
            sandbox=f"{self._sandbox.mode} {state}",
        )

    def _sample(self, item: ResponseItem, runner: Runner) -> RowInProgress:
        builder = TrajectoryBuilder(Transcript((), None))
        program = replay(builder, parse_trajectory(item.response.foreign.response))
        return RowInProgress(
            builder, program, Driver({}, runner, self._config.sandbox.limits(), None)
        )
