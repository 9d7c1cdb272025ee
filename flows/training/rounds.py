"""Rounds of hierarchical RL: rollouts committed to the store, the update from it, the next policy.

The loop keeps no state. A round is found again by what determines it: its rollouts by policy
version, problems and settings; its update by parent, dataset version and settings. So the same call
after a crash reuses every finished part and makes the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from flows.training.figures import round_figures
from flows.training.jobs import NO_HOOKS, Hooks, train
from flows.training.metrics import metrics_library, metrics_run
from flows.training.models import Model, published, serving, training_names
from flows.training.settings import RoundsConfig
from storage.datasets import Store
from storage.policies import PolicyVersion
from storage.versions import DatasetVersion
from tirgen.jobs.rollout import RolloutReport, collect_rollouts
from trainer.job import RlJob
from trainer.run import Lineage


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One finished round."""

    number: int
    """From 1."""
    rollouts: DatasetVersion
    policy: PolicyVersion


async def reinforce(
    store: Store,
    name: str,
    parent: Model,
    config: RoundsConfig,
    *,
    processes: int = 1,
    hooks: Hooks = NO_HOOKS,
) -> list[Round]:
    """Take the policy through all rounds; each publishes the next version of `name`.

    Raises what `collect_rollouts` raises, and `JobFailed` if an update fails: the oracle found that
    the engine served another policy, or no group of the round teaches anything, and what
    `metrics_run` raises.
    """
    metrics_library()  # fails before the first rollout if it is not installed
    loop = _Loop(store, name, config, processes, hooks)
    rounds: list[Round] = []
    start = config.rollouts.start
    for number in range(1, config.rounds + 1):
        report = await loop.roll_out(parent, start)
        policy = await loop.update(parent, report.version)
        rounds.append(Round(number=number, rollouts=report.version, policy=policy))
        hooks.round(rounds[-1])
        parent, start = published(policy), report.next_start
    return rounds


@dataclass(frozen=True, slots=True)
class _Loop:
    store: Store
    name: str
    config: RoundsConfig
    processes: int
    hooks: Hooks

    async def roll_out(self, policy: Model, start: int) -> RolloutReport:
        here = {} if self.config.rollouts.groups is None else {"start": start}
        settings = await serving(self.config.rollouts.model_copy(update=here), policy)
        async with self.hooks.engine():
            return await collect_rollouts(settings, self.store, self.hooks.rollouts)

    async def update(self, parent: Model, rollouts: DatasetVersion) -> PolicyVersion:
        names = training_names(self.store, self.name, parent, str(rollouts))
        if there := Lineage(names, self.config.update).published:
            return there
        job = RlJob(kind="rl", names=names, config=self.config.update)
        async with self.hooks.gpu():
            made = await train(job, self.processes, self.hooks)
        with metrics_run(f"{self.name}/rounds", {}) as log:
            log(round_figures(self.store, made), made.number)
        return made
