"""The recipe of a generation: problems in, a verified and filtered dataset version out.

Each problem is attempted until an attempt is kept or none is left. A solved problem then gets its
chain-of-thought baselines.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from storage.datasets import Store
from storage.records import Problem, Program
from storage.versions import DatasetVersion
from tirgen.data.contamination import load_benchmarks
from tirgen.data.errors import BadRow
from tirgen.data.load import ProblemSet, load_problems
from tirgen.filters.apply import Filtering, YieldRow
from tirgen.filters.judge import AnswerJudge
from tirgen.jobs.committed_rows import CommittedRows, asked_for, by_id
from tirgen.jobs.engines import open_engine, open_engines
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.generate_maker import TirgenMaker
from tirgen.jobs.generate_plan import GenerationPlan
from tirgen.jobs.idle import Pools
from tirgen.jobs.job import Job, open_job
from tirgen.jobs.maker import Item, RunIdentity
from tirgen.jobs.progress import GenerationProgress, Watch, unwatched
from tirgen.jobs.shards import WHOLE, Shard
from tirgen.jobs.spreading import ALL, Ahead, JobReport, SpreadableJob, Wave
from tirgen.jobs.workers import enter_both, for_each, task_group
from tirgen.sandbox.open import open_sandbox
from tirgen.tir.core import Role
from tirgen.verification import Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationReport(JobReport[GenerationProgress]):
    """What a generation did."""

    skipped: tuple[BadRow, ...]
    repeated: int
    """Rows left out because the same question came before."""
    yields: list[YieldRow]

    @property
    def stopped(self) -> str | None:
        """Why it ended before all problems were settled; finished rows are published."""
        return self.progress.account.stopped


async def generate(
    config: GenerateConfig, store: Store, watch: Watch[GenerationProgress] = unwatched
) -> GenerationReport:
    """Run TIRGen over the configured problems and publish the result as a dataset version.

    Raises `ProblemsError` and `EngineMisconfigured` before anything is written,
    `SandboxUnavailable` when no isolation is strong enough, and `EngineUnavailable` when the engine
    goes down for good. Finished rows then stay committed, and the same call continues.
    """
    async with generation(config, store, watch) as opened:
        await opened.settle(opened.todo)
        return opened.publish()


class SpreadGeneration(SpreadableJob[GenerationProgress, GenerationReport]):
    """A generation as several processes work on it."""

    config: GenerateConfig
    kind = GenerateConfig

    @property
    def problem_rows(self) -> int:
        return self.config.attempts

    def counts(self, problems: int) -> GenerationProgress:
        return GenerationProgress(problems=problems)

    def ahead(self) -> Ahead:
        problems = load_problems(**self.config.problems.model_dump()).problems
        plan = GenerationPlan(self.config.attempts, self.config.cot_samples)
        plan.load(CommittedRows(self.run).rows(by_id(problems)))
        left = [problem for problem in problems if not plan.is_settled(problem.problem_id)]
        return Ahead(ALL, problems, left, plan.rows)

    async def settle(
        self, shard: Shard, watch: Watch[GenerationProgress] = unwatched, wave: Wave = ALL
    ) -> GenerationProgress:
        async with generation(self.config, self.store, watch, shard) as opened:
            await opened.settle(opened.todo)
            return opened.progress

    async def finish(self, watch: Watch[GenerationProgress] = unwatched) -> GenerationReport:
        return await generate(self.config, self.store, watch)


@asynccontextmanager
async def generation(
    config: GenerateConfig,
    store: Store,
    watch: Watch[GenerationProgress] = unwatched,
    shard: Shard = WHOLE,
) -> AsyncIterator[Generation]:
    """Open a generation, to be settled in parts and then published.

    With a `shard`, only its problems are settled; other processes may settle other shards at the
    same time. The holder of the whole job publishes. Raises what `generate` raises at its start.
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
        live=config.live,
        budget=config.budget,
        shard=shard,
    ) as job:
        yield Generation(config, found, job, recipe)


@dataclass(slots=True)
class _Recipe:
    """Which problems are not settled, and what makes their rows."""

    config: GenerateConfig
    problems: Sequence[Problem]
    progress: GenerationProgress
    plan: GenerationPlan = field(init=False)
    todo: Sequence[Problem] = ()
    maker: TirgenMaker = field(init=False)

    def load(self, committed: CommittedRows) -> bool:
        self.plan = GenerationPlan(self.config.attempts, self.config.cot_samples)
        self.plan.load(committed.rows(by_id(self.problems)))
        self.todo = [p for p in self.problems if not self.plan.is_settled(p.problem_id)]
        self.progress.reused_rows = self.plan.rows
        self.progress.settled = len(self.problems) - len(self.todo)
        return bool(self.todo)

    async def open(self, stack: AsyncExitStack, identity: RunIdentity) -> Pools:
        config = self.config
        engines, sandbox = await enter_both(
            stack,
            open_engines(config.actor, config.critic),
            open_sandbox(**config.sandbox.place()),
        )
        verifier = await stack.enter_async_context(Verifier(exact_digits=config.exact_digits))
        judge = None
        if config.judge:
            engine = await stack.enter_async_context(open_engine(config.judge))
            judge = AnswerJudge(engine, config.judge_tokens, config.seed)
        roles = dict(zip((Role.ACTOR, Role.CRITIC), engines, strict=True))
        identity = replace(identity, engine=engines[0].server)
        self.maker = TirgenMaker(config, identity, roles, sandbox, verifier, judge)
        return {role.value: engine.pool for role, engine in zip(Role, engines, strict=True)}


@dataclass(frozen=True, slots=True)
class Generation:
    """An open generation. The committed rows of one part stay if another part fails."""

    config: GenerateConfig
    found: ProblemSet
    """All problems that were asked for, those of other shards too."""
    job: Job[GenerationProgress]
    _recipe: _Recipe

    @property
    def todo(self) -> Sequence[Problem]:
        """The problems that were not settled when the generation was opened, in their order."""
        return self._recipe.todo

    @property
    def progress(self) -> GenerationProgress:
        return self.job.progress

    async def settle(self, problems: Sequence[Problem]) -> None:
        """Make every missing row of some of `todo`; several calls may run at the same time.

        Raises `EngineUnavailable` when the engine goes down for good. Settling the same problems
        again makes only what is missing, rows lost to infrastructure included.
        """
        self.progress.settled -= self._recipe.plan.retry_lost(p.problem_id for p in problems)
        live = min(self.config.live, len(problems))
        await for_each(problems, self._settle, live)

    async def _settle(self, problem: Problem) -> None:
        plan, name = self._recipe.plan, problem.problem_id
        if plan.is_settled(name):
            return
        while (attempt := plan.next_attempt(name)) is not None:
            if not await self._make(problem, Program.TIRGEN, attempt):
                return
        async with task_group() as baselines:
            for number in plan.missing_baselines(name):
                baselines.create_task(self._make(problem, Program.COT, number))
        self.progress.settled += plan.is_settled(name)
        self.job.watch(self.progress)

    async def _make(self, problem: Problem, program: Program, attempt: int) -> bool:
        """Make and commit one row; False if the budget does not cover it."""
        item = Item(problem=problem, program=program, attempt=attempt)
        row = await self.job.make_row(self._recipe.maker, item, self._recipe.plan.record)
        return row is not None

    def publish(self) -> GenerationReport:
        """Publish all committed rows as a version, or reuse the one that holds them all."""
        problems_hash = self._problems_hash()
        reused = self.job.published(
            by_id(self.found.problems),
            lambda summary: summary.get("problems_hash") == problems_hash,
        )
        version = reused or self._publish(problems_hash)
        return GenerationReport(
            version=version,
            reused_version=reused is not None,
            progress=self.progress,
            skipped=self.found.skipped,
            repeated=self.found.repeated,
            yields=[YieldRow(**row) for row in version.manifest["summary"]["yield"]],
            seconds=time.monotonic() - self.progress.started,
        )

    def _publish(self, problems_hash: str) -> DatasetVersion:
        read = self.job.run.reader(in_order=True)
        asked, config = by_id(self.found.problems), self.config
        filtering = Filtering(lambda: asked_for(read(), asked), config.filters, config.seed)

        def summary() -> dict[str, Any]:
            return {
                "problems": len(self.found.problems),
                "problems_hash": problems_hash,
                "trajectories": filtering.count,
                "yield": [asdict(row) for row in filtering.yields],
                "stopped": self.progress.account.stopped,
            }

        return self.job.publish(filtering.rows(), summary, in_order=True)

    def _problems_hash(self) -> str:
        """Identifies the set of problems asked for, in any order."""
        digest = hashlib.sha256()
        for problem in sorted(self.found.problems, key=lambda problem: problem.problem_id):
            digest.update(repr(problem).encode())
        return digest.hexdigest()[:16]
