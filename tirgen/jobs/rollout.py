"""The recipe of a round of rollouts: problems in, a dataset version ready to learn from out.

Every problem is sampled in a group, until each was asked once or enough groups are mixed; then the
failed steps are branched. A round that was stopped and continued ends with the same rows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from storage.datasets import Store
from storage.groups import GroupCount, count, judge
from storage.records import Level, Problem, Trajectory
from storage.runs import Run
from storage.versions import DatasetVersion
from tirgen.data.errors import BadRow
from tirgen.data.load import load_problems
from tirgen.engine.protocol import Engine
from tirgen.jobs.branch import grow
from tirgen.jobs.committed import Committed, by_id, rows_of
from tirgen.jobs.engines import open_engine
from tirgen.jobs.job import Job, identity_of, open_job
from tirgen.jobs.policy_maker import BranchMaker, RolloutMaker, Workplace
from tirgen.jobs.progress import RolloutProgress, Watch, unwatched
from tirgen.jobs.rollout_config import PolicySettings, RolloutConfig
from tirgen.jobs.rollout_plan import Plan, stream
from tirgen.jobs.workers import task_group
from tirgen.sandbox.contract import Sandbox
from tirgen.sandbox.open import open_sandbox
from tirgen.verification import Verifier

Make = Callable[[Problem, int], Coroutine[Any, Any, Trajectory | None]]
"""Makes the sample of a problem with that number, and has the plan know of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutReport:
    """What a round holds."""

    version: DatasetVersion
    reused_version: bool
    """Nothing was missing: the version had been published before."""
    progress: RolloutProgress
    levels: dict[Level, GroupCount]
    full: bool
    """The round has the mixed groups it was asked for; False when the problems ran out first."""
    next_start: int
    """`RolloutConfig.start` of the round after this one."""
    skipped: tuple[BadRow, ...]
    repeated: int
    seconds: float


async def collect(
    config: RolloutConfig, store: Store, watch: Watch[RolloutProgress] = unwatched
) -> RolloutReport:
    """Roll the policy out over the configured problems, branch its failed steps, and publish.

    Every row of the version carries the verdicts of `storage.groups`; those kept are in
    mixed groups. Raises `ProblemsError` and `EngineMisconfigured` before anything is written,
    `SandboxUnavailable` when no isolation good enough can be had, and `EngineUnavailable` when
    the engine goes down for good; then the same call continues.
    """
    started = time.monotonic()
    found = load_problems(**config.problems.model_dump())
    progress = RolloutProgress(wanted_groups=config.groups, problems=len(found.problems))
    recipe = _RoundRecipe(config, found.problems, progress)
    async with open_job(store, config, recipe, progress, watch, live=config.live_rollouts) as job:
        reused = None if recipe.first else job.committed.version(recipe.plan.asked)
        made = reused or await _round(config, recipe, job)
    summary = made.manifest["summary"]
    return RolloutReport(
        version=made,
        reused_version=reused is not None,
        progress=progress,
        levels={Level(name): GroupCount(**counts) for name, counts in summary["levels"].items()},
        full=summary["full"],
        next_start=summary["next_start"],
        skipped=found.skipped,
        repeated=found.repeated,
        seconds=time.monotonic() - started,
    )


@dataclass(slots=True)
class PolicyRecipe:
    """What every sampling of a policy shares: a plan of problems, and engine, sandbox, verifier."""

    config: PolicySettings
    problems: Sequence[Problem]
    progress: RolloutProgress
    plan: Plan = field(init=False)
    first: Problem | None = None
    """The first problem with a sample missing."""
    _opened: tuple[Engine, Sandbox, Verifier] | None = None

    def new_plan(self) -> Plan:
        """By default every problem once."""
        return Plan(self.problems, self.config.samples, None, len(self.problems))

    def load(self, committed: Committed) -> bool:
        self.plan = self.new_plan()
        self.progress.reused_rows = self.plan.load(committed.rows(by_id(self.problems)))
        self.first = self.plan.next()
        self.progress.begun, self.progress.mixed = len(self.plan.asked), self.plan.mixed
        self.progress.settled = self.progress.begun - (self.first is not None)
        return self.first is not None

    async def open(self, stack: AsyncExitStack) -> None:
        config = self.config
        engine = await stack.enter_async_context(open_engine(config.policy))
        sandbox = await stack.enter_async_context(open_sandbox(**config.sandbox.place()))
        self._opened = (engine, sandbox, await stack.enter_async_context(Verifier()))

    def workplace(self, run: Run) -> Workplace:
        """Where rows of a run are made."""
        assert self._opened is not None, "nothing was missing when the job was opened"
        return Workplace(identity_of(run, self.config, self._opened[0].server), *self._opened)


@dataclass(slots=True)
class _RoundRecipe(PolicyRecipe):
    config: RolloutConfig

    def new_plan(self) -> Plan:
        config, problems = self.config, self.problems
        most, keeps = config.most_problems or len(problems), config.keeps_failed
        if config.groups is None:
            return Plan(problems, config.samples, None, len(problems), keeps)
        endless = stream(problems, config.seed, config.start)
        return Plan(endless, config.samples, config.groups, most, keeps)

    def load(self, committed: Committed) -> bool:
        """Which steps are branched is known once the rollouts are there: some may be missing."""
        misses = PolicyRecipe.load(self, committed)
        return misses or bool(self.config.branches and committed.version(self.plan.asked) is None)


async def ask(
    job: Job[RolloutProgress], plan: Plan, first: Problem | None, make: Make, live: int
) -> None:
    """Ask problem after problem, from `first` on, for as long as the plan wants more.

    At most `live` problems are begun at once, and the slowest sample keeps no other waiting.
    """

    async def group_of(problem: Problem) -> None:
        async with asyncio.TaskGroup() as samples:
            for number in plan.missing(problem):
                samples.create_task(make(problem, number))
        plan.settle(problem)
        job.progress.settled += 1
        _note(job, plan)

    problem, running = first, set[asyncio.Task[None]]()
    async with task_group() as group:
        while problem is not None or running:
            while problem is not None and len(running) < live:
                running.add(group.create_task(group_of(problem)))
                problem = plan.next()
            _, running = await asyncio.wait(running, return_when="FIRST_COMPLETED")
            problem = problem or plan.next()
    _note(job, plan)


def _note(job: Job[RolloutProgress], plan: Plan) -> None:
    job.progress.begun, job.progress.mixed = len(plan.asked), plan.mixed
    job.watch(job.progress)


async def _round(
    config: RolloutConfig, recipe: _RoundRecipe, job: Job[RolloutProgress]
) -> DatasetVersion:
    plan = recipe.plan
    branched: set[str] = set()
    if job.committer is not None:
        workplace = recipe.workplace(job.run)
        maker = RolloutMaker(config, workplace)

        async def make(problem: Problem, number: int) -> Trajectory | None:
            return await job.row(maker, maker.sample_of(problem, number), plan.record)

        await ask(job, plan, recipe.first, make, config.live_rollouts)
        if config.branches:
            most = len(plan.asked) if config.groups is None else plan.mixed
            branch_maker = BranchMaker(config, workplace, config.branches)
            branched = await grow(job, branch_maker, plan.asked, config, most)
    return _publish(config, job, plan, branched)


def _publish(
    config: RolloutConfig, job: Job[RolloutProgress], plan: Plan, branched: set[str]
) -> DatasetVersion:
    """All rows the round asked for, each with its verdicts."""
    found = (
        row
        for row in rows_of(job.run, plan.asked)
        if row.level is Level.TRAJECTORY or row.group_id in branched
    )
    rows = judge(found, config.keeps_failed)
    summary = {
        "problems": len(plan.asked),
        "trajectories": len(rows),
        "levels": {level.value: asdict(count(level, rows)) for level in Level},
        "full": plan.full,
        "next_start": config.start + plan.drawn,
    }
    return job.publish(rows, summary)
