"""The recipe of branches: failed steps of a round, sampled again from inside (method E8).

Where a round has more failed steps than it may branch, or needs for its quota of mixed groups,
steps are drawn at random (method A18).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from storage.groups import member
from storage.records import Level, Problem, Trajectory
from storage.runs import Run
from tirgen.engine.protocol import Renderer
from tirgen.jobs.committed_rows import is_lost, rows_of
from tirgen.jobs.group_plan import GroupPlan, sample_groups
from tirgen.jobs.job import Job
from tirgen.jobs.maker import Item, Judgement, RowInProgress
from tirgen.jobs.progress import RolloutProgress
from tirgen.jobs.rollout_config import BranchSettings, PolicySettings
from tirgen.jobs.rollout_maker import JobContext, PolicyMaker, policy_bounds
from tirgen.jobs.shards import Shard
from tirgen.tir.branch import FailedStep, branch, failed_steps, split
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.driver import UsageCounter
from tirgen.tir.transcript import Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchItem(Item):
    """One suffix and one action to sample after the prefix of a failed step."""

    failed: FailedStep
    source: Trajectory
    """The trajectory with the failed step."""


class BranchMaker(PolicyMaker[BranchItem]):
    """Makes branches. A branch is rewarded if its code ran."""

    def __init__(
        self, config: PolicySettings, context: JobContext, settings: BranchSettings
    ) -> None:
        super().__init__(config, context)
        self._settings = settings

    def begin(self, item: BranchItem) -> RowInProgress:
        suffix = self._settings.suffix_tokens
        prefix = split(item.source, item.failed.step, self._renderer, suffix)
        transcript = Transcript.after(
            self.messages(item.problem), self._renderer, prefix.token_ids, prefix.kept
        )
        builder = TrajectoryBuilder(transcript)
        policy = self.sampler(self.seed(item), self._settings.tokens)
        bounds = policy_bounds(self._settings.tokens, tool_rounds=1)
        program = branch(builder, policy, prefix, bounds, self._tools)
        return RowInProgress(builder, program, self._driver)

    async def judge(
        self, item: BranchItem, builder: TrajectoryBuilder, usage: UsageCounter
    ) -> Judgement:
        return Judgement(None)

    def seed_parts(self, item: BranchItem) -> tuple[object, ...]:
        failed = item.failed
        return (item.problem.problem_id, failed.attempt, failed.step, item.attempt)

    def item(self, step: FailedStep, source: Trajectory, number: int) -> BranchItem:
        """The item of one branch of a failed step of `source`."""
        return BranchItem(
            problem=step.problem,
            program=self._config.program,
            attempt=number,
            level=Level.STEP,
            group_id=step.group_id,
            failed=step,
            source=source,
        )

    @property
    def _renderer(self) -> Renderer:
        renderer = self._engine.renderer
        assert renderer is not None, "the configuration refuses branches for chat endpoints"
        return renderer


class StepPlan(GroupPlan[FailedStep]):
    """The failed steps of a round that are branched, with the branches made of each."""

    def __init__(self, steps: Iterable[FailedStep], settings: BranchSettings, most: int) -> None:
        super().__init__(
            Level.STEP,
            steps,
            lambda step: step.group_id,
            samples=settings.samples,
            groups=settings.groups,
            most=most if settings.groups is None else None,
        )

    def record(self, row: Trajectory) -> None:
        """Note a branch."""
        assert row.group_id is not None
        self.note(row.group_id, row.attempt, member(row))


@dataclass(frozen=True, slots=True)
class Steps:
    """The failed steps of the problems of a round, and the branches that are committed."""

    order: Sequence[FailedStep]
    """In the order in which they are branched."""
    sources: Mapping[str, Trajectory]
    """The trajectories that have them, by id."""
    branches: Sequence[Trajectory]

    def share(self, shard: Shard, drawn: int | None) -> Steps:
        """Those of a shard's problems, among the first `drawn`."""
        own = [step for step in self.order[:drawn] if shard.has(step.problem)]
        return replace(self, order=own)

    def plan(self, settings: BranchSettings, most: int) -> StepPlan:
        """Of at most `most` steps, or of as many as the quota needs, with what is committed."""
        plan = StepPlan(self.order, settings, most)
        for row in self.branches:
            plan.record(row)
        return plan


def read_steps(run: Run, asked: Mapping[str, Problem], seed: int) -> Steps:
    """Those of the problems asked, by what is committed now."""
    sources: dict[str, Trajectory] = {}
    branches: list[Trajectory] = []
    for row in rows_of(run, asked):
        if row.level is Level.TRAJECTORY and any(failed_steps(row)):
            sources[row.trajectory_id] = row
        elif row.level is Level.STEP and not is_lost(row.ending, row.provenance.code_version):
            branches.append(row)
    failed = (step for row in sources.values() for step in failed_steps(row))
    return Steps(in_order(failed, seed), sources, branches)


async def make_branches(
    job: Job[RolloutProgress], maker: BranchMaker, plan: StepPlan, steps: Steps, live: int
) -> None:
    """Make the missing branches of a plan."""

    async def make(step: FailedStep, number: int) -> None:
        source = steps.sources[step.trajectory_id]
        await job.make_row(maker, maker.item(step, source, number), plan.record)

    first = plan.next()
    due = () if first is None else (first,)
    job.progress.given_up += await sample_groups(plan, due, make, live)


def in_order(failed: Iterable[FailedStep], seed: int) -> list[FailedStep]:
    """The order in which steps are branched: drawn by the seed, first one per problem, then more.

    The result does not depend on the order of `failed`.
    """
    rng = random.Random(f"{seed}/branches")
    by_problem: defaultdict[str, list[FailedStep]] = defaultdict(list)
    for step in sorted(failed, key=lambda step: (step.problem.problem_id, step.attempt, step.step)):
        by_problem[step.problem.problem_id].append(step)
    firsts: list[FailedStep] = []
    others: list[FailedStep] = []
    for steps in by_problem.values():
        first, *rest = rng.sample(steps, len(steps))
        firsts.append(first)
        others += rest
    rng.shuffle(firsts)
    rng.shuffle(others)
    return firsts + others
