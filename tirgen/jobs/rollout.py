"""The recipe of a round of rollouts: problems in, a dataset version ready to learn from out.

Every problem is sampled in a group, until each was sampled once or enough groups are mixed. Then
the failed steps are branched. A round that was stopped and continued ends with the same rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, islice
from typing import Any

from storage.datasets import Store
from storage.groups import GroupCount, count, judge
from storage.records import Level, Problem, Trajectory
from storage.versions import DatasetVersion
from tirgen.data.errors import BadRow
from tirgen.data.load import load_problems
from tirgen.jobs.branch import BranchMaker, StepPlan, make_branches, read_steps
from tirgen.jobs.committed_rows import CommittedRows, asked_for, by_id
from tirgen.jobs.engines import open_engine
from tirgen.jobs.group_plan import sample_groups
from tirgen.jobs.idle import Pools
from tirgen.jobs.job import Job, open_job
from tirgen.jobs.maker import RunIdentity
from tirgen.jobs.progress import RolloutProgress, Watch, unwatched
from tirgen.jobs.rollout_config import PolicySettings, RolloutConfig
from tirgen.jobs.rollout_maker import JobContext, RolloutMaker
from tirgen.jobs.rollout_plan import RolloutPlan, stream
from tirgen.jobs.shards import Shard
from tirgen.jobs.spreading import ALL, Ahead, JobReport, R, SpreadableJob, Wave
from tirgen.jobs.workers import enter_both
from tirgen.sandbox.open import open_sandbox
from tirgen.verification import Verifier

Make = Callable[[Problem, int], Coroutine[Any, Any, Trajectory | None]]
"""Makes the sample of a problem with this number, and records it in the plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutReport(JobReport[RolloutProgress]):
    """What a round holds."""

    levels: dict[Level, GroupCount]
    full: bool
    """The round has all mixed groups it needs, of both levels; False when the problems or the
    failed steps ran out first."""
    next_start: int
    """`RolloutConfig.start` of the next round."""
    skipped: tuple[BadRow, ...]
    repeated: int
    """Rows left out because the same question came before."""


async def collect_rollouts(
    config: RolloutConfig, store: Store, watch: Watch[RolloutProgress] = unwatched
) -> RolloutReport:
    """Roll the policy out over the configured problems, branch its failed steps, and publish.

    Every row of the version has the verdicts of `storage.groups`; kept rows are in mixed groups.
    Raises `ProblemsError` and `EngineMisconfigured` before anything is written,
    `SandboxUnavailable` when no isolation is strong enough, and `EngineUnavailable` when the engine
    goes down for good. The same call then continues.
    """
    started = time.monotonic()
    found = load_problems(**config.problems.model_dump())
    progress = RolloutProgress(wanted_groups=config.groups, problems=len(found.problems))
    recipe = _RoundRecipe(config, found.problems, progress)
    async with open_job(store, config, recipe, progress, watch, live=config.live) as job:
        steps = await _make_round(config, recipe, job) if job.has_work else None
        reused = job.published(recipe.plan.asked)
        version = reused or _publish(config, job, recipe.plan, steps)
    summary = version.manifest["summary"]
    return RolloutReport(
        version=version,
        reused_version=reused is not None,
        progress=progress,
        levels={Level(name): GroupCount(**counts) for name, counts in summary["levels"].items()},
        full=summary["full"],
        next_start=summary["next_start"],
        skipped=found.skipped,
        repeated=found.repeated,
        seconds=time.monotonic() - started,
    )


class SpreadSampling(SpreadableJob[RolloutProgress, R]):
    """What rollouts and evaluations share as work of several processes."""

    config: PolicySettings

    @property
    def problem_rows(self) -> int:
        return self.config.samples

    def counts(self, problems: int) -> RolloutProgress:
        return RolloutProgress(problems=problems)


class SpreadRollouts(SpreadSampling[RolloutReport]):
    """A round of rollouts as several processes work on it: first on whole rollouts, then on
    branches, each in as many waves as its quota needs."""

    config: RolloutConfig
    kind = RolloutConfig

    def ahead(self) -> Ahead:
        config, run = self.config, self.run
        problems = load_problems(**config.problems.model_dump()).problems
        plan = _plan(config, problems)
        reused = plan.load(CommittedRows(run).rows(by_id(problems)))
        left, asked = plan.due(), list(plan.asked.values())
        if run is None or left or not config.branches:
            drawn = None if config.groups is None else plan.drawn
            return Ahead(Wave(Level.TRAJECTORY, drawn), asked, left, reused)
        steps = read_steps(run, plan.asked, config.seed)
        branches = steps.plan(config.branches, _most_steps(config, plan))
        left = list({step.problem.problem_id: step.problem for step in branches.due()}.values())
        return Ahead(Wave(Level.STEP, branches.drawn), asked, left, reused)

    async def settle(
        self, shard: Shard, watch: Watch[RolloutProgress] = unwatched, wave: Wave = ALL
    ) -> RolloutProgress:
        """Raises ValueError for a round with a quota without the number of problems drawn."""
        config = self.config
        problems = load_problems(**config.problems.model_dump()).problems
        recipe: PolicyRecipe
        if wave.level is Level.STEP:
            recipe = _RoundRecipe(config, problems, self.counts(len(problems)))
        elif config.groups is not None and wave.drawn is None:
            raise ValueError("a quota is filled wave by wave (tirgen.jobs.spreading.spread)")
        else:
            drawn = by_id(islice(_order(config, problems), wave.drawn))
            own = list(filter(shard.has, drawn.values()))
            recipe = PolicyRecipe(config, own, self.counts(len(own)))
        async with open_job(
            self.store, config, recipe, recipe.progress, watch, live=config.live, shard=shard
        ) as job:
            if job.has_work and wave.level is Level.STEP:
                await self._branch(job, recipe, shard, wave)
            elif job.has_work:
                await _make_rollouts(config, recipe, job)
            return job.progress

    async def _branch(
        self, job: Job[RolloutProgress], recipe: PolicyRecipe, shard: Shard, wave: Wave
    ) -> None:
        """Make the shard's branches of the first steps, so many as were drawn."""
        config = self.config
        assert config.branches is not None
        steps = read_steps(job.run, recipe.plan.asked, config.seed).share(shard, wave.drawn)
        plan = steps.plan(config.branches.model_copy(update={"groups": None}), len(steps.order))
        maker = BranchMaker(config, recipe.context, config.branches)
        await make_branches(job, maker, plan, steps, config.live)

    async def finish(self, watch: Watch[RolloutProgress] = unwatched) -> RolloutReport:
        return await collect_rollouts(self.config, self.store, watch)


@dataclass(slots=True)
class PolicyRecipe:
    """What rollouts and evaluations share: a plan of problems; engine, sandbox and verifier."""

    config: PolicySettings
    problems: Sequence[Problem]
    progress: RolloutProgress
    plan: RolloutPlan = field(init=False)
    due: Sequence[Problem] = ()
    """Problems with samples missing, to begin with."""
    context: JobContext = field(init=False)

    def new_plan(self) -> RolloutPlan:
        """By default every problem once."""
        return RolloutPlan(self.problems, self.config.samples, None, len(self.problems))

    def load(self, committed: CommittedRows) -> bool:
        self.plan = self.new_plan()
        self.progress.reused_rows = self.plan.load(committed.rows(by_id(self.problems)))
        self.due = self.first_due()
        self.progress.begun, self.progress.mixed = self.plan.begun, self.plan.mixed
        self.progress.settled = self.plan.settled
        return bool(self.due)

    def first_due(self) -> Sequence[Problem]:
        return self.plan.due()

    async def open(self, stack: AsyncExitStack, identity: RunIdentity) -> Pools:
        config = self.config
        engine, sandbox = await enter_both(
            stack, open_engine(config.policy), open_sandbox(**config.sandbox.place())
        )
        verifier = await stack.enter_async_context(Verifier(exact_digits=config.exact_digits))
        identity = replace(identity, engine=engine.server)
        self.context = JobContext(identity, engine, sandbox, verifier)
        return {"policy": engine.pool}


@dataclass(slots=True)
class _RoundRecipe(PolicyRecipe):
    config: RolloutConfig

    def new_plan(self) -> RolloutPlan:
        return _plan(self.config, self.problems)

    def first_due(self) -> Sequence[Problem]:
        """With a quota only the first: which others are needed is better known later."""
        if self.config.groups is None:
            return self.plan.due()
        first = self.plan.next()
        return () if first is None else (first,)

    def load(self, committed: CommittedRows) -> bool:
        """Branches may be missing too: which ones is known once all rollouts are made."""
        misses = PolicyRecipe.load(self, committed)
        return misses or bool(self.config.branches and committed.version(self.plan.asked) is None)


def _plan(config: RolloutConfig, problems: Sequence[Problem]) -> RolloutPlan:
    most, keeps = config.most_problems or len(problems), config.keeps_failed
    if config.groups is None:
        return RolloutPlan(problems, config.samples, None, len(problems), keeps)
    return RolloutPlan(_order(config, problems), config.samples, config.groups, most, keeps)


def _order(config: RolloutConfig, problems: Sequence[Problem]) -> Iterable[Problem]:
    """The problems in the order in which they are asked; endless with a quota."""
    return problems if config.groups is None else stream(problems, config.seed, config.start)


async def sample_problems(
    job: Job[RolloutProgress], plan: RolloutPlan, due: Iterable[Problem], make: Make, live: int
) -> None:
    """Sample problem after problem, those of `due` first, with the progress of the job."""

    def show() -> None:
        _show(job, plan)

    job.progress.given_up += await sample_groups(plan, due, make, live, show)
    show()


def _show(job: Job[RolloutProgress], plan: RolloutPlan) -> None:
    job.progress.begun, job.progress.mixed = plan.begun, plan.mixed
    job.progress.settled = plan.settled
    job.watch(job.progress)


async def _make_round(
    config: RolloutConfig, recipe: _RoundRecipe, job: Job[RolloutProgress]
) -> StepPlan | None:
    """Make all missing rows; returns the plan of the branches."""
    await _make_rollouts(config, recipe, job)
    if not config.branches:
        return None
    steps = read_steps(job.run, recipe.plan.asked, config.seed)
    plan = steps.plan(config.branches, _most_steps(config, recipe.plan))
    maker = BranchMaker(config, recipe.context, config.branches)
    await make_branches(job, maker, plan, steps, config.live)
    return plan


async def _make_rollouts(
    config: RolloutConfig, recipe: PolicyRecipe, job: Job[RolloutProgress]
) -> None:
    plan, maker = recipe.plan, RolloutMaker(config, recipe.context)

    async def make(problem: Problem, number: int) -> Trajectory | None:
        return await job.make_row(maker, maker.item(problem, number), plan.record)

    await sample_problems(job, plan, recipe.due, make, config.live)


def _most_steps(config: RolloutConfig, plan: RolloutPlan) -> int:
    """Most failed steps that are branched where branches have no quota of their own."""
    return len(plan.asked) if config.groups is None else plan.mixed


def _publish(
    config: RolloutConfig, job: Job[RolloutProgress], plan: RolloutPlan, steps: StepPlan | None
) -> DatasetVersion:
    """Publish all rows of the round, each with its verdicts, problem by problem."""
    read = job.run.reader(in_order=True)
    branched = {step.group_id for step in steps.items} if steps else set[str]()
    counts = {level: count(level, ()) for level in Level}

    def rows() -> Iterator[Trajectory]:
        asked = asked_for(read(), plan.asked)
        for _, group in groupby(asked, lambda row: row.problem.problem_id):
            found = (r for r in group if r.level is Level.TRAJECTORY or r.group_id in branched)
            judged = judge(found, config.keeps_failed)
            for level in Level:
                counts[level] += count(level, judged)
            yield from judged

    def summary() -> dict[str, Any]:
        return {
            "problems": len(plan.asked),
            "trajectories": sum(one.rows for one in counts.values()),
            "levels": {level.value: asdict(one) for level, one in counts.items()},
            "full": plan.full and (steps is None or steps.full),
            "next_start": config.start + plan.drawn,
        }

    return job.publish(rows(), summary, in_order=True)
