"""The recipe of a round of rollouts: problems in, a dataset version ready to learn from out.

Every problem is sampled in a group, until each was sampled once or enough groups are mixed. Then
the failed steps are branched. A round that was stopped and continued ends with the same rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any

from storage.datasets import Store
from storage.groups import GroupCount, count, judge
from storage.records import Level, Problem, Trajectory
from storage.versions import DatasetVersion
from tirgen.data.errors import BadRow
from tirgen.data.load import load_problems
from tirgen.jobs.branch import BranchMaker, StepPlan, make_branches
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
from tirgen.jobs.workers import enter_both
from tirgen.sandbox.open import open_sandbox
from tirgen.verification import Verifier

Make = Callable[[Problem, int], Coroutine[Any, Any, Trajectory | None]]
"""Makes the sample of a problem with this number, and records it in the plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutReport:
    """What a round holds."""

    version: DatasetVersion
    reused_version: bool
    """Nothing was missing: the version was published before."""
    progress: RolloutProgress
    levels: dict[Level, GroupCount]
    full: bool
    """The round has all mixed groups it needs, of both levels; False when the problems or the
    failed steps ran out first."""
    next_start: int
    """`RolloutConfig.start` of the next round."""
    skipped: tuple[BadRow, ...]
    repeated: int
    """Rows left out because the same question came before."""
    seconds: float


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


@dataclass(slots=True)
class PolicyRecipe:
    """What rollouts and evaluations share: a plan of problems; engine, sandbox and verifier."""

    config: PolicySettings
    problems: Sequence[Problem]
    progress: RolloutProgress
    plan: RolloutPlan = field(init=False)
    first: Problem | None = None
    """The first problem with a sample missing."""
    context: JobContext = field(init=False)

    def new_plan(self) -> RolloutPlan:
        """By default every problem once."""
        return RolloutPlan(self.problems, self.config.samples, None, len(self.problems))

    def load(self, committed: CommittedRows) -> bool:
        self.plan = self.new_plan()
        self.progress.reused_rows = self.plan.load(committed.rows(by_id(self.problems)))
        self.first = self.plan.next()
        self.progress.begun, self.progress.mixed = self.plan.begun, self.plan.mixed
        self.progress.settled = self.plan.settled
        return self.first is not None

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
        config, problems = self.config, self.problems
        most, keeps = config.most_problems or len(problems), config.keeps_failed
        if config.groups is None:
            return RolloutPlan(problems, config.samples, None, len(problems), keeps)
        endless = stream(problems, config.seed, config.start)
        return RolloutPlan(endless, config.samples, config.groups, most, keeps)

    def load(self, committed: CommittedRows) -> bool:
        """Branches may be missing too: which ones is known once all rollouts are made."""
        misses = PolicyRecipe.load(self, committed)
        return misses or bool(self.config.branches and committed.version(self.plan.asked) is None)


async def sample_problems(
    job: Job[RolloutProgress], plan: RolloutPlan, first: Problem | None, make: Make, live: int
) -> None:
    """Sample problem after problem, from `first` on, with the progress of the job."""

    def show() -> None:
        _show(job, plan)

    job.progress.given_up += await sample_groups(plan, first, make, live, show)
    show()


def _show(job: Job[RolloutProgress], plan: RolloutPlan) -> None:
    job.progress.begun, job.progress.mixed = plan.begun, plan.mixed
    job.progress.settled = plan.settled
    job.watch(job.progress)


async def _make_round(
    config: RolloutConfig, recipe: _RoundRecipe, job: Job[RolloutProgress]
) -> StepPlan | None:
    """Make all missing rows; returns the plan of the branches."""
    plan, maker = recipe.plan, RolloutMaker(config, recipe.context)

    async def make(problem: Problem, number: int) -> Trajectory | None:
        return await job.make_row(maker, maker.item(problem, number), plan.record)

    await sample_problems(job, plan, recipe.first, make, config.live)
    if not config.branches:
        return None
    most = len(plan.asked) if config.groups is None else plan.mixed
    branch_maker = BranchMaker(config, recipe.context, config.branches)
    return await make_branches(job, branch_maker, plan.asked, config, most)


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
