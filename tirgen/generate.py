"""One function runs a generation: problems in, a verified and filtered dataset version out.

`generate` is what the command line and the Prefect flow both call. It can be stopped anywhere,
by `kill -9` too, and called again: what was committed is never asked for again.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import NamedTuple

from storage.datasets import Store
from storage.records import Problem, Program, Trajectory
from storage.runs import Run
from storage.versions import DatasetVersion
from tirgen.budget import Account, BudgetSettings, Spend, spent_before
from tirgen.committed import rows_of, version_of
from tirgen.committer import Committer
from tirgen.config import GenerateConfig
from tirgen.engine.config import open_engine, open_engines
from tirgen.filters.contamination import load_benchmarks
from tirgen.filters.curate import YieldRow, curate, yield_table
from tirgen.ledger import Ledger
from tirgen.maker import Identity, TrajectoryMaker
from tirgen.opinion import AnswerJudge
from tirgen.outage import OutageWatch
from tirgen.problems.errors import BadRow
from tirgen.problems.load import ProblemSet, load_problems
from tirgen.sandbox.opening import open_sandbox
from tirgen.tasks import for_each
from tirgen.tir.core import Role
from tirgen.verification import Verifier


@dataclass(slots=True)
class Progress:
    """Live counts of a run; `watch` is called after each change."""

    problems: int
    reused_rows: int = 0
    settled: int = 0
    """Problems that need nothing more."""
    accepted: int = 0
    trajectories: int = 0
    """Made by this call, baselines included."""
    correct: int = 0
    failed_executions: int = 0
    infrastructure: int = 0
    tokens: int = 0
    """Completion tokens of actor and critic in this call."""
    started: float = field(default_factory=time.monotonic)
    account: Account = field(default_factory=lambda: Account(BudgetSettings(), Spend()))
    """What the run has cost in all its calls, and what it may cost."""

    def count(self, trajectory: Trajectory) -> None:
        self.trajectories += 1
        self.correct += trajectory.correct and trajectory.program is Program.TIRGEN
        self.accepted += trajectory.kept and trajectory.program is Program.TIRGEN
        self.infrastructure += trajectory.ending.is_infrastructure
        self.failed_executions += sum(
            step.outcome is not None and step.outcome.is_code_failure for step in trajectory.steps
        )
        cost = trajectory.cost
        self.tokens += cost.actor_completion_tokens + cost.critic_completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a generation did."""

    version: DatasetVersion
    reused_version: bool
    """Nothing was missing: the version had been published before."""
    progress: Progress
    skipped: tuple[BadRow, ...]
    repeated: int
    """Rows left out because the same question came before."""
    yields: list[YieldRow]
    seconds: float

    @property
    def stopped(self) -> str | None:
        """Why it ended before all problems were settled: what is finished is published."""
        return self.progress.account.stopped


Watch = Callable[[Progress], None]


async def generate(
    config: GenerateConfig, store: Store, watch: Watch = lambda progress: None
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
    config: GenerateConfig, store: Store, watch: Watch = lambda progress: None
) -> AsyncIterator[Generation]:
    """A generation with all it needs open, to be settled in parts and then published.

    Nothing is opened where nothing is left to do. Raises what `generate` raises at its start.
    """
    started = time.monotonic()
    found = load_problems(**config.problems.model_dump())
    load_benchmarks(config.filters.against, config.filters.against_similarity)
    run = store.find_run(config.dataset, config.hash)
    ledger = Ledger(attempts=config.attempts, baselines=config.cot_samples)
    asked = {problem.problem_id: problem for problem in found.problems}
    ledger.load(rows_of(run, asked))
    todo = [p for p in found.problems if not ledger.is_settled(p.problem_id)]
    account = Account(config.budget, spent_before(run, config.budget), run)
    progress = Progress(
        problems=len(found.problems), reused_rows=ledger.rows, started=started, account=account
    )
    progress.settled = progress.problems - len(todo)
    watch(progress)
    async with AsyncExitStack() as stack:
        shop = None
        if todo or run is None:
            opened = await _open(config, store, stack)
            live = config.live_trajectories
            shop = _Shop(opened, ledger, progress, watch, live, asyncio.Semaphore(live))
            run = account.run = opened.run
            stack.callback(account.note_time)
        assert run is not None
        yield Generation(config, run, found, todo, progress, shop)


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation under way; what each part commits is durable, whatever becomes of the rest."""

    config: GenerateConfig
    run: Run
    problems: ProblemSet
    todo: Sequence[Problem]
    """The problems that were not settled when the generation was opened, in their order."""
    progress: Progress
    _shop: _Shop | None

    async def settle(self, problems: Sequence[Problem]) -> None:
        """Make every attempt that some of `todo` still lack; parts may be settled at once.

        Raises `EngineUnavailable` when the engine goes down for good; settling the same problems
        again makes only what is missing, what was lost to infrastructure included.
        """
        if problems and self._shop:
            await self._shop.work(problems)

    def publish(self) -> Report:
        """The dataset version of all that is committed; the one there is if nothing was missing."""
        reused = self._published()
        published = reused or self._publish()
        return Report(
            version=published,
            reused_version=reused is not None,
            progress=self.progress,
            skipped=self.problems.skipped,
            repeated=self.problems.repeated,
            yields=[YieldRow(**row) for row in published.manifest["summary"]["yield"]],
            seconds=time.monotonic() - self.progress.started,
        )

    def _published(self) -> DatasetVersion | None:
        """The newest version, if it has every row there is for the problems asked for."""
        found = None if self.progress.trajectories else version_of(self.run, self._asked)
        if found is None:
            return None
        same_problems = found.manifest["summary"].get("problems_hash") == self._problems_hash()
        return found if same_problems else None

    def _publish(self) -> DatasetVersion:
        """A new version of all rows there are for the problems asked for, as they read now."""
        answers = rows_of(self.run, self._asked)
        rows = curate(answers, self.config.filters, self.config.seed)
        summary = {
            "problems": len(self.problems.problems),
            "problems_hash": self._problems_hash(),
            "trajectories": len(rows),
            "yield": [asdict(row) for row in yield_table(rows)],
            "stopped": self.progress.account.stopped,
        }
        return self.run.publish(rows, summary)

    @property
    def _asked(self) -> dict[str, Problem]:
        return {problem.problem_id: problem for problem in self.problems.problems}

    def _problems_hash(self) -> str:
        """Names the problems asked for, whatever their order."""
        digest = hashlib.sha256()
        for problem in sorted(self.problems.problems, key=lambda problem: problem.problem_id):
            digest.update(repr(problem).encode())
        return digest.hexdigest()[:16]


class _Opened(NamedTuple):
    run: Run
    maker: TrajectoryMaker
    committer: Committer


async def _open(config: GenerateConfig, store: Store, stack: AsyncExitStack) -> _Opened:
    """Open engines, sandbox and verifier, and only then the run: a bad start writes nothing."""
    engines = await stack.enter_async_context(open_engines(config.actor, config.critic))
    sandbox = await stack.enter_async_context(open_sandbox(**config.sandbox.place()))
    verifier = await stack.enter_async_context(Verifier())
    judge = None
    if config.judge:
        engine = await stack.enter_async_context(open_engine(config.judge))
        judge = AnswerJudge(engine, config.judge_tokens, config.seed)
    run = store.open_run(config.dataset, config.model_dump(mode="json"), config.hash)
    committer = await stack.enter_async_context(Committer(run.append))
    roles = dict(zip((Role.ACTOR, Role.CRITIC), engines, strict=True))
    identity = Identity(run.run_id, config.hash, version("tirgen"), engines[0].server)
    maker = TrajectoryMaker(config, identity, roles, sandbox, verifier, judge)
    return _Opened(run, maker, committer)


@dataclass(slots=True)
class _Shop:
    """Works problems off, each until it is settled, and keeps the counts."""

    opened: _Opened
    ledger: Ledger
    progress: Progress
    watch: Watch
    live: int
    slots: asyncio.Semaphore
    """Of `live` problems worked on at once, over all parts together; first come, first served."""
    outage: OutageWatch = field(default_factory=OutageWatch)

    async def work(self, todo: Sequence[Problem]) -> None:
        self.progress.settled -= self.ledger.forgive_lost(p.problem_id for p in todo)

        async def settle(problem: Problem) -> None:
            async with self.slots:
                await self._settle(problem)

        await for_each(todo, settle, min(self.live, len(todo)))

    async def _settle(self, problem: Problem) -> None:
        name = problem.problem_id
        if self.ledger.is_settled(name):
            return
        while (attempt := self.ledger.next_attempt(name)) is not None:
            if not await self._attempt(problem, Program.TIRGEN, attempt):
                return
        async with asyncio.TaskGroup() as baselines:
            for number in self.ledger.missing_baselines(name):
                baselines.create_task(self._attempt(problem, Program.COT, number))
        self.progress.settled += self.ledger.is_settled(name)
        self.watch(self.progress)

    async def _attempt(self, problem: Problem, program: Program, attempt: int) -> bool:
        """Make and commit one attempt; False if the budget has no room for it."""
        account = self.progress.account
        if not await account.admit(program):
            return False
        trajectory = await self.opened.maker.make(problem, program, attempt)
        await self.opened.committer.add(trajectory)
        self.ledger.record(trajectory)
        self.progress.count(trajectory)
        await account.charge(trajectory)
        self.watch(self.progress)
        self.outage.look_at(trajectory)
        return True
