"""Rounds of hierarchical RL: rollouts committed to the store, the update from it, the next policy.

The loop has no state of its own. A round is found again by what determines it: its rollouts by
policy version, problems and settings, its update by parent, dataset version and settings. So the
same call after a crash walks through what is there and goes on where there is nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from flows.training import jobs
from flows.training.names import Model, published, training_names
from flows.training.serving import serving
from flows.training.steps import Steps
from storage.datasets import Store
from storage.policies import PolicyVersion
from storage.versions import DatasetVersion
from tirgen.jobs.progress import RolloutProgress
from tirgen.jobs.rollout import RolloutReport, collect_rollouts
from tirgen.jobs.rollout_config import BranchSettings, RolloutConfig
from tirgen.settings import Count, Settings
from trainer.job import RlJob
from trainer.rl import RlConfig
from trainer.run import Lineage

Room = Callable[[], AbstractAsyncContextManager[Any]]
"""A limit on how many may do something at once, e.g. Prefect's global concurrency."""


class RoundsConfig(Settings):
    """Hierarchical RL: so many rounds of rollouts and updates."""

    rounds: Count = 4
    rollouts: RolloutConfig = RolloutConfig(groups=64, branches=BranchSettings())
    """How each round samples; its policy, and where in the stream of problems it begins, follow
    from the round before."""
    update: RlConfig = RlConfig()
    """How each round updates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round that ended with a policy."""

    number: int
    """From 1."""
    rollouts: DatasetVersion
    policy: PolicyVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the surroundings want to hear of, and to be asked for, while rounds go on."""

    rollouts: Callable[[int, RolloutProgress], None] = lambda number, progress: None
    """The number of the round, and how far its rollouts are."""
    steps: Callable[[int, Steps], None] = lambda number, steps: None
    """The number of the round, and how far its update is."""
    done: Callable[[Round], None] = lambda finished: None
    say: Callable[[str], None] = lambda line: None
    """Every line that the trainer prints."""
    note: Callable[[str], None] = lambda sentence: None
    """How the policy is held in memory while it is updated, and why."""
    engine: Room = nullcontext
    """Entered while the engine is sampled."""
    gpu: Room = nullcontext
    """Entered while the policy is updated."""


async def reinforce(
    store: Store,
    name: str,
    parent: Model,
    config: RoundsConfig,
    *,
    processes: int = 1,
    hooks: Hooks = Hooks(),
) -> list[Round]:
    """Take the policy through all rounds; each publishes the next version of `name`.

    Raises what `collect_rollouts` raises, and `JobFailed` where an update fails: the oracle found
    the engine serving another policy, or no group of the round teaches anything.
    """
    loop = _Loop(store, name, config, processes, hooks)
    rounds: list[Round] = []
    start = config.rollouts.start
    for number in range(1, config.rounds + 1):
        report = await loop.roll_out(number, parent, start)
        policy = await loop.update(number, parent, report.version)
        rounds.append(Round(number=number, rollouts=report.version, policy=policy))
        hooks.done(rounds[-1])
        parent, start = published(policy), report.next_start
    return rounds


@dataclass(frozen=True, slots=True)
class _Loop:
    store: Store
    name: str
    config: RoundsConfig
    processes: int
    hooks: Hooks

    async def roll_out(self, number: int, policy: Model, start: int) -> RolloutReport:
        here = {} if self.config.rollouts.groups is None else {"start": start}
        settings = await serving(self.config.rollouts.model_copy(update=here), policy)
        async with self.hooks.engine():
            return await collect_rollouts(
                settings, self.store, partial(self.hooks.rollouts, number)
            )

    async def update(self, number: int, parent: Model, rollouts: DatasetVersion) -> PolicyVersion:
        names = training_names(self.store, self.name, parent, str(rollouts))
        if there := Lineage(names, self.config.update).published:
            return there
        job = RlJob(kind="rl", names=names, config=self.config.update)
        watch = partial(self.hooks.steps, number)
        async with self.hooks.gpu():
            return await jobs.train(
                job, self.processes, watch, self.hooks.say, note=self.hooks.note
            )
