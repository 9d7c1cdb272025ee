"""The recipe of branches: which failed steps of a round are sampled again from inside (method E7).

Where there are more failed steps than a round may hold, they are drawn at random (method A18).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from storage.records import Level, Problem, Trajectory
from tirgen.jobs.committed import is_lost, rows_of
from tirgen.jobs.job import Job
from tirgen.jobs.policy_maker import BranchItem, BranchMaker
from tirgen.jobs.progress import RolloutProgress
from tirgen.jobs.rollout_config import RolloutConfig
from tirgen.jobs.workers import for_each
from tirgen.tir.branch import FailedStep, failed_steps


async def grow(
    job: Job[RolloutProgress],
    maker: BranchMaker,
    asked: Mapping[str, Problem],
    config: RolloutConfig,
    most: int,
) -> set[str]:
    """Make the missing branches of at most `most` steps; returns the names of their groups."""
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
        await job.row(maker, item)

    await for_each(missing(), make, config.live_rollouts)
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
    """At most `most` steps, drawn uniformly without replacement: one a problem first, then more.

    Does not depend on the order of `failed`.
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
