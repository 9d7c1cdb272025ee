"""The recipe of branches: failed steps of a round, sampled again from inside (method E8).

Where a round has more failed steps than it may branch, steps are drawn at random (method A18).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from storage.records import Level, Problem, Trajectory
from tirgen.engine.protocol import Renderer
from tirgen.jobs.committed_rows import is_lost, rows_of
from tirgen.jobs.job import Job
from tirgen.jobs.maker import Item, Judgement, RowInProgress
from tirgen.jobs.progress import RolloutProgress
from tirgen.jobs.rollout_config import BranchSettings, PolicySettings, RolloutConfig
from tirgen.jobs.rollout_maker import JobContext, PolicyMaker, policy_bounds
from tirgen.jobs.workers import for_each
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

    @property
    def _renderer(self) -> Renderer:
        renderer = self._engine.renderer
        assert renderer is not None, "the configuration refuses branches for chat endpoints"
        return renderer


async def make_branches(
    job: Job[RolloutProgress],
    maker: BranchMaker,
    asked: Mapping[str, Problem],
    config: RolloutConfig,
    most: int,
) -> set[str]:
    """Make the missing branches of at most `most` failed steps; returns their group ids."""
    assert config.branches is not None
    samples = config.branches.samples
    sources: dict[str, Trajectory] = {}
    made: defaultdict[str | None, set[int]] = defaultdict(set)
    for row in rows_of(job.run, asked):
        if row.level is Level.TRAJECTORY and any(failed_steps(row)):
            sources[row.trajectory_id] = row
        elif row.level is Level.STEP and not is_lost(row.ending, row.provenance.code_version):
            made[row.group_id].add(row.attempt)
    failed = (step for row in sources.values() for step in failed_steps(row))
    chosen = choose(failed, most, config.seed)

    def missing() -> Iterator[BranchItem]:
        for step in chosen:
            for number in range(samples):
                if number not in made[step.group_id]:
                    yield _item(config, step, sources[step.trajectory_id], number)

    async def make(item: BranchItem) -> None:
        await job.make_row(maker, item)

    await for_each(missing(), make, config.live)
    return {step.group_id for step in chosen}


def _item(config: RolloutConfig, step: FailedStep, source: Trajectory, number: int) -> BranchItem:
    return BranchItem(
        problem=step.problem,
        program=config.program,
        attempt=number,
        level=Level.STEP,
        group_id=step.group_id,
        failed=step,
        source=source,
    )


def choose(failed: Iterable[FailedStep], most: int, seed: int) -> list[FailedStep]:
    """Draw at most `most` steps without replacement: first one per problem, then more.

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
    return (firsts + others)[:most]
