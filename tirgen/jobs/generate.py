"""The recipe of a generation: problems in, a verified and filtered dataset version out.

Each problem is attempted until an attempt is kept or none is left; a solved one then gets its
chain-of-thought baselines.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from storage.datasets import Store
from storage.records import Problem, Program
from storage.runs import Run
from storage.versions import DatasetVersion
from tirgen.data.contamination import load_benchmarks
from tirgen.data.errors import BadRow
from tirgen.data.load import ProblemSet, load_problems
from tirgen.engine.protocol import Engine
from tirgen.filters.curate import YieldRow, curated
from tirgen.filters.judge import AnswerJudge
from tirgen.jobs.committed import Committed, asked_for, by_id
from tirgen.jobs.engines import open_engine, open_engines
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.job import Job, identity_of, open_job
from tirgen.jobs.ledger import Ledger
from tirgen.jobs.maker import Item
from tirgen.jobs.progress import GenerationProgress, Watch, unwatched
from tirgen.jobs.shards import WHOLE, Shard
from tirgen.jobs.tirgen_maker import TirgenMaker
from tirgen.jobs.workers import for_each, task_group
from tirgen.sandbox.contract import Sandbox
from tirgen.sandbox.open import open_sandbox
from tirgen.tir.core import Role
from tirgen.verification import Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a generation did."""

    version: DatasetVersion
    reused_version: bool
    """Nothing was missing: the version had been published before."""
    progress: GenerationProgress
    skipped: tuple[BadRow, ...]
    repeated: int
    """Rows left out because the same question came before."""
    yields: list[YieldRow]
    seconds: float

    @property
    def stopped(self) -> str | None:
        """Why it ended before all problems were settled: what is finished is published."""
        return self.progress.account.stopped


async def generate(
    config: GenerateConfig, store: Store, watch: Watch[GenerationProgress] = unwatched
) -> Report:
    """Run TIRGen over the configured problems and publish the result as a dataset version.

    Raises `ProblemsError` and `EngineMisconfigured` before anything is written,
    `SandboxUnavailable` when no isolation good enough can be had, and `EngineUnavailable` when
    the engine goes down for good; then everything finished stays committed, and the same call
    continues from there.
    """
    async with generation(config, store, watch) as opened:
        await opened.settle(opened.todo)
        return opened.publish()


@asynccontextmanager
async def generation(
    config: GenerateConfig,
    store: Store,
    watch: Watch[GenerationProgress] = unwatched,
    shard: Shard = WHOLE,
) -> AsyncIterator[Generation]:
    """A generation with all it needs open, to be settled in parts and then published.

    Of a `shard` only its problems are settled, beside other shards in other processes; whoever
    holds the whole publishes. Raises what `generate` raises at its start.
    """
    started = time.monotonic()
    found = load_problems(**config.problems.model_dump())
    load_benchmarks(config.filters.against, config.filters.against_similarity)
    problems = tuple(filter(shard.has, found.problems))
    progress = GenerationProgress(problems=len(problems), started=started)
    recipe = _Recipe(config, problems, progress)
    async with open_job(
        store,
        config,
        recipe,
        progress,
        watch,
        live=config.live_trajectories,
        budget=config.budget,
        shard=shard,
    ) as job:
        yield Generation(config, found, recipe.ledger, recipe.todo, job, recipe.maker(job.run))


@dataclass(slots=True)
class _Recipe:
    """Which problems are not settled, and what makes their attempts."""

    config: GenerateConfig
    problems: Sequence[Problem]
    progress: GenerationProgress
    ledger: Ledger = field(init=False)
    todo: Sequence[Problem] = ()
    _opened: _Opened | None = None

    def load(self, committed: Committed) -> bool:
        self.ledger = Ledger(self.config.attempts, self.config.cot_samples)
        self.ledger.load(committed.rows(by_id(self.problems)))
        self.todo = [p for p in self.problems if not self.ledger.is_settled(p.problem_id)]
        self.progress.reused_rows = self.ledger.rows
        self.progress.settled = len(self.problems) - len(self.todo)
        return bool(self.todo)

    async def open(self, stack: AsyncExitStack) -> None:
        config = self.config
        engines = await stack.enter_async_context(open_engines(config.actor, config.critic))
        sandbox = await stack.enter_async_context(open_sandbox(**config.sandbox.place()))
        verifier = await stack.enter_async_context(Verifier())
        judge = None
        if config.judge:
            engine = await stack.enter_async_context(open_engine(config.judge))
            judge = AnswerJudge(engine, config.judge_tokens, config.seed)
        self._opened = _Opened(engines, sandbox, verifier, judge)

    def maker(self, run: Run) -> TirgenMaker | None:
        """What makes rows of a run; None where nothing was missing."""
        if self._opened is None:
            return None
        engines, sandbox, verifier, judge = self._opened
        identity = identity_of(run, self.config, engines[0].server)
        roles = dict(zip((Role.ACTOR, Role.CRITIC), engines, strict=True))
        return TirgenMaker(self.config, identity, roles, sandbox, verifier, judge)


class _Opened(NamedTuple):
    engines: tuple[Engine, ...]
    sandbox: Sandbox
    verifier: Verifier
    judge: AnswerJudge | None


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation under way; what each part commits is durable, whatever becomes of the rest."""

    config: GenerateConfig
    found: ProblemSet
    """Every problem that was asked for, those of other shards too."""
    ledger: Ledger
    todo: Sequence[Problem]
    """The problems that were not settled when the generation was opened, in their order."""
    job: Job[GenerationProgress]
    _maker: TirgenMaker | None

    @property
    def progress(self) -> GenerationProgress:
        return self.job.progress

    async def settle(self, problems: Sequence[Problem]) -> None:
        """Make every attempt that some of `todo` still lack; parts may be settled at once.

        Raises `EngineUnavailable` when the engine goes down for good; settling the same problems
        again makes only what is missing, what was lost to infrastructure included.
        """
        self.progress.settled -= self.ledger.forgive_lost(p.problem_id for p in problems)
        live = min(self.config.live_trajectories, len(problems))
        await for_each(problems, self._settle, live)

    async def _settle(self, problem: Problem) -> None:
        name = problem.problem_id
        if self.ledger.is_settled(name):
            return
        while (attempt := self.ledger.next_attempt(name)) is not None:
            if not await self._make(problem, Program.TIRGEN, attempt):
                return
        async with task_group() as baselines:
            for number in self.ledger.missing_baselines(name):
                baselines.create_task(self._make(problem, Program.COT, number))
        self.progress.settled += self.ledger.is_settled(name)
        self.job.watch(self.progress)

    async def _make(self, problem: Problem, program: Program, attempt: int) -> bool:
        """Make and commit one attempt; False if the budget has no room for it."""
        assert self._maker is not None, "nothing was missing when the job was opened"
        item = Item(problem=problem, program=program, attempt=attempt)
        row = await self.job.row(self._maker, item, self.ledger.record)
        return row is not None

    def publish(self) -> Report:
        """The dataset version of all that is committed; the one there is if nothing was missing."""
        reused = self._published()
        published = reused or self._publish()
        return Report(
            version=published,
            reused_version=reused is not None,
            progress=self.progress,
            skipped=self.found.skipped,
            repeated=self.found.repeated,
            yields=[YieldRow(**row) for row in published.manifest["summary"]["yield"]],
            seconds=time.monotonic() - self.progress.started,
        )

    def _published(self) -> DatasetVersion | None:
        """The newest version, if it has every row there is for the problems asked for."""
        asked = by_id(self.found.problems)
        version = None if self.progress.trajectories else self.job.committed.version(asked)
        if version is None:
            return None
        same_problems = version.manifest["summary"].get("problems_hash") == self._problems_hash()
        return version if same_problems else None

    def _publish(self) -> DatasetVersion:
        """A new version of all rows there are for the problems asked for, as they read now."""
        read, asked = self.job.run.reader(), by_id(self.found.problems)
        curation = curated(lambda: asked_for(read(), asked), self.config.filters, self.config.seed)
        summary = {
            "problems": len(self.found.problems),
            "problems_hash": self._problems_hash(),
            "trajectories": curation.count,
            "yield": [asdict(row) for row in curation.yields],
            "stopped": self.progress.account.stopped,
        }
        return self.job.publish(curation.rows(), summary)

    def _problems_hash(self) -> str:
        """Names the problems asked for, whatever their order."""
        digest = hashlib.sha256()
        for problem in sorted(self.found.problems, key=lambda problem: problem.problem_id):
            digest.update(repr(problem).encode())
        return digest.hexdigest()[:16]
