"""Rounds of hierarchical RL: rollouts committed to the store, the update from it, the next policy.

The loop keeps no state. A round is found again by what determines it: its rollouts by policy
version, problems and settings; its update by parent, dataset version and settings. So the same call
after a crash reuses every finished part and makes the others. With `staleness` the rollouts of a
round are made while the round before is trained.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from flows.training.figures import round_figures
from flows.training.jobs import NO_HOOKS, Hooks, train
from flows.training.machines import Machines
from flows.training.metrics import metrics_library, metrics_run
from flows.training.models import Model, published, serving, training_names
from flows.training.settings import RoundsConfig
from storage.datasets import Store
from storage.policies import PolicyVersion
from storage.versions import DatasetVersion
from tirgen.jobs.rollout import RolloutReport, SpreadRollouts
from tirgen.jobs.spreading import Place, here
from tirgen.jobs.workers import task_group
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
    place: Place = here,
    machines: Machines | None = None,
) -> list[Round]:
    """Take the policy through all rounds; each publishes the next version of `name`.

    The rollouts are made at `place`. `processes` are those of each machine that trains; with
    `machines` this one leads the others. Raises what `collect_rollouts` raises, and `JobFailed` if
    an update fails: the oracle found that the engine served another policy, or no group of the
    round teaches anything, and what `metrics_run` raises.
    """
    metrics_library()  # fails before the first rollout if it is not installed
    loop = _Loop(store, name, config, processes, hooks, place, machines)
    async with machines.leading(hooks.note) if machines else nullcontext():
        return await loop.run(parent)


@dataclass(frozen=True, slots=True)
class _Loop:
    store: Store
    name: str
    config: RoundsConfig
    processes: int
    hooks: Hooks
    place: Place
    machines: Machines | None

    async def run(self, parent: Model) -> list[Round]:
        rounds: list[Round] = []
        sampler, report = parent, await self.roll_out(parent, self.config.rollouts.start)
        while True:
            is_last = len(rounds) + 1 == self.config.rounds
            async with task_group() as group:
                updating = group.create_task(self.update(parent, report.version, sampler))
                ahead = (
                    group.create_task(self.roll_out(parent, report.next_start))
                    if self.config.staleness and not is_last
                    else None
                )
            policy = updating.result()
            rounds.append(Round(number=len(rounds) + 1, rollouts=report.version, policy=policy))
            self.hooks.round(rounds[-1])
            if is_last:
                return rounds
            updated = published(policy)
            sampler = parent if ahead else updated
            report = ahead.result() if ahead else await self.roll_out(updated, report.next_start)
            parent = updated

    async def roll_out(self, policy: Model, start: int) -> RolloutReport:
        begins = {} if self.config.rollouts.groups is None else {"start": start}
        settings = await serving(self.config.rollouts.model_copy(update=begins), policy)
        async with self.hooks.engine():
            return await self.place(SpreadRollouts(settings, self.store), self.hooks.rollouts)

    async def update(
        self, parent: Model, rollouts: DatasetVersion, sampler: Model
    ) -> PolicyVersion:
        names = training_names(self.store, self.name, parent, str(rollouts), sampler)
        if there := Lineage(names, self.config.update).published:
            return there
        job = RlJob(kind="rl", names=names, config=self.config.update)
        async with self.hooks.gpu():
            made = await train(job, self.processes, self.hooks, self.machines)
        with metrics_run(f"{self.name}/rounds", {}) as log:
            log(round_figures(self.store, made), made.number)
        return made
