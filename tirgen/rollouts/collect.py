"""One function runs a round of rollouts: problems in, a dataset version ready to learn from out.

`collect` is what the command line and the training loop both call. It can be stopped anywhere, by
`kill -9` too, and called again: what was committed is never asked for again, and the round ends
with the same rows.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version

from storage.datasets import Store
from storage.records import Level, Problem, Trajectory
from storage.runs import Run
from storage.versions import DatasetVersion
from tirgen.committed import rows_of, version_of
from tirgen.committer import Committer
from tirgen.engine.config import open_engine
from tirgen.maker import Identity
from tirgen.problems.errors import BadRow
from tirgen.problems.load import load_problems
from tirgen.rollouts.config import BranchSettings, FailedCode, PolicySettings, RolloutConfig
from tirgen.rollouts.crew import Crew, Make, Progress, Watch
from tirgen.rollouts.groups import GroupCount, count, judge
from tirgen.rollouts.maker import RolloutMaker
from tirgen.rollouts.plan import Plan, stream
from tirgen.rollouts.selection import choose
from tirgen.sandbox.opening import open_sandbox
from tirgen.tir.branch import failed_steps
from tirgen.verification import Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutReport:
    """What a round holds."""

    version: DatasetVersion
    reused_version: bool
    """Nothing was missing: the version had been published before."""
    progress: Progress
    levels: dict[Level, GroupCount]
    full: bool
    """The round has the mixed groups it was asked for; False when the problems ran out first."""
    next_start: int
    """`RolloutConfig.start` of the round after this one."""
    skipped: tuple[BadRow, ...]
    repeated: int
    seconds: float


async def collect(
    config: RolloutConfig, store: Store, watch: Watch = lambda progress: None
) -> RolloutReport:
    """Roll the policy out over the configured problems, branch its failed steps, and publish.

    Every row of the version carries the verdicts of `tirgen.rollouts.groups`; those kept are in
    mixed groups. Raises `ProblemsError` and `EngineMisconfigured` before anything is written,
    `SandboxUnavailable` when no isolation good enough can be had, and `EngineUnavailable` when
    the engine goes down for good; then the same call continues.
    """
    started = time.monotonic()
    found = load_problems(**config.problems.model_dump())
    plan = _plan(config, found.problems)
    progress = Progress(wanted_groups=config.groups, problems=len(found.problems))
    run = store.find_run(config.dataset, config.hash)
    progress.reused_rows = plan.load(rows_of(run, {p.problem_id: p for p in found.problems}))
    first = plan.next()
    progress.begun, progress.mixed = len(plan.asked), plan.mixed
    progress.settled = progress.begun - (first is not None)
    made = version_of(run, plan.asked) if run and first is None else None
    reused = made is not None
    if made is None:
        made = await _round(config, store, plan, first, progress, watch)
    summary = made.manifest["summary"]
    return RolloutReport(
        version=made,
        reused_version=reused,
        progress=progress,
        levels={Level(name): GroupCount(**counts) for name, counts in summary["levels"].items()},
        full=summary["full"],
        next_start=summary["next_start"],
        skipped=found.skipped,
        repeated=found.repeated,
        seconds=time.monotonic() - started,
    )


@dataclass(frozen=True, slots=True)
class Workshop:
    """Everything that makes rows of one run, open."""

    run: Run
    maker: RolloutMaker
    crew: Crew


@asynccontextmanager
async def workshop(
    config: PolicySettings, store: Store, progress: Progress, watch: Watch
) -> AsyncIterator[Workshop]:
    """Open engine, sandbox and verifier, and only then the run: a bad start writes nothing."""
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(open_engine(config.policy))
        sandbox = await stack.enter_async_context(
            open_sandbox(config.sandbox.services, config.sandbox.floor)
        )
        verifier = await stack.enter_async_context(Verifier())
        run = store.open_run(config.dataset, config.model_dump(mode="json"), config.hash)
        committer = await stack.enter_async_context(Committer(run.append))
        identity = Identity(run.run_id, config.hash, version("tirgen"), engine.server)
        maker = RolloutMaker(config, identity, engine, sandbox, verifier)
        yield Workshop(run, maker, Crew(committer, progress, watch, config.live_rollouts))


def _plan(config: RolloutConfig, problems: Sequence[Problem]) -> Plan:
    if config.groups is None:
        return Plan(problems, config.samples, None, len(problems), _keeps_failed(config))
    endless = stream(problems, config.seed, config.start)
    most = config.most_problems or len(problems)
    return Plan(endless, config.samples, config.groups, most, _keeps_failed(config))


def _keeps_failed(config: RolloutConfig) -> bool:
    return config.failed_code is FailedCode.KEEP


async def _round(
    config: RolloutConfig,
    store: Store,
    plan: Plan,
    first: Problem | None,
    progress: Progress,
    watch: Watch,
) -> DatasetVersion:
    branched: set[str] = set()
    async with workshop(config, store, progress, watch) as shop:
        await shop.crew.work(plan, first, shop.maker.make)
        if config.branches:
            branched = await _branch(config, config.branches, plan, shop)
    return _publish(config, shop.run, plan, branched)


async def _branch(
    config: RolloutConfig, settings: BranchSettings, plan: Plan, shop: Workshop
) -> set[str]:
    """Grow the branches of the chosen failed steps; returns the names of their groups."""
    sources, made = _committed(shop.run, plan)
    failed = [step for row in sources.values() for step in failed_steps(row)]
    most = len(plan.asked) if config.groups is None else plan.mixed
    chosen = choose(failed, most, config.seed)

    def missing() -> Iterator[Make]:
        for step in chosen:
            row = sources[step.trajectory_id]
            prefix = shop.maker.prefix(row, step.step, settings)
            for number in range(settings.samples):
                if number not in made[step.group_id]:
                    yield partial(shop.maker.branch, step, prefix, settings, number)

    await shop.crew.rows(missing())
    return {step.group_id for step in chosen}


def _committed(
    run: Run, plan: Plan
) -> tuple[dict[str, Trajectory], defaultdict[str | None, set[int]]]:
    """The round's rollouts that have a failed step, and the branches made of each group."""
    sources: dict[str, Trajectory] = {}
    made: defaultdict[str | None, set[int]] = defaultdict(set)
    for row in rows_of(run, plan.asked):
        if row.level is Level.STEP and not row.ending.is_infrastructure:
            made[row.group_id].add(row.attempt)
        elif any(failed_steps(row)):
            sources[row.trajectory_id] = row
    return sources, made


def _publish(config: RolloutConfig, run: Run, plan: Plan, branched: set[str]) -> DatasetVersion:
    """All rows the round asked for, each with its verdicts."""
    found = (
        row
        for row in rows_of(run, plan.asked)
        if row.level is Level.TRAJECTORY or row.group_id in branched
    )
    rows = judge(found, _keeps_failed(config))
    summary = {
        "problems": len(plan.asked),
        "trajectories": len(rows),
        "levels": {level.value: asdict(count(level, rows)) for level in Level},
        "full": plan.full,
        "next_start": config.start + plan.drawn,
    }
    return run.publish(rows, summary)
