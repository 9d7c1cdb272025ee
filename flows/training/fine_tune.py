"""Supervised fine-tuning; held-out problems can be answered during the training, for curves."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.training.jobs import NO_HOOKS, Hooks, train
from flows.training.machines import Machines
from flows.training.models import Model, published, serving
from flows.training.prepared import Asked, asked_as, prepare, told
from storage.datasets import Store
from storage.policies import Policies, PolicyVersion
from tirgen.evaluation.results import BenchmarkResult
from tirgen.jobs.evaluate import evaluate
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.workers import task_group
from trainer.job import SftJob
from trainer.run import SNAPSHOTS, Lineage
from trainer.settings import Names, SftConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The results of the policy at one step on held-out problems."""

    step: int
    results: tuple[BenchmarkResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuned:
    """The result of a fine-tuning."""

    policy: PolicyVersion
    curve: tuple[CurvePoint, ...]
    """From the parent, at step 0, to the published policy; empty without held-out problems."""


async def fine_tune(
    names: Names,
    config: SftConfig,
    *,
    processes: int = 1,
    heldout: EvaluationConfig | None = None,
    hooks: Hooks = NO_HOOKS,
    machines: Machines | None = None,
) -> FineTuned:
    """Train on the kept rows of a dataset version, and publish the policy.

    `processes` are those of each machine; with `machines` this one leads the others.
    With `heldout`, the parent, every snapshot (`SftConfig.snapshot_every`) and the result are
    evaluated, each as soon as it exists. Started again it continues, evaluations included. Raises
    `NothingToLearn`, `JobFailed`, and what `evaluate` raises.
    """
    lineage = Lineage(names, config)
    asked = asked_as(lineage.dataset, lineage.parent_folder, config)
    async with AsyncExitStack() as stack:
        if machines:
            await stack.enter_async_context(machines.leading(hooks.note))
            folder = machines.folder
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / f"samples-{lineage.dataset}.parquet"
        rows = await asyncio.to_thread(prepare, lineage.dataset, lineage.parent_folder, asked, path)
        hooks.note(f"rows of {lineage.dataset}: {told(rows)}")
        job = SftJob(kind="sft", names=names, config=config, samples=path, asked=asked.document())
        if heldout is None:
            return FineTuned(policy=await train(job, processes, hooks, machines), curve=())
        curve = _Curve(lineage, heldout, asked)
        async with task_group() as group:
            following = group.create_task(curve.follow())
            arriving = replace(hooks, snapshot=curve.arrived.put_nowait)
            policy = await train(job, processes, arriving, machines)
            following.cancel()
    return FineTuned(policy=policy, curve=await curve.whole(policy))


class _Curve:
    """Evaluations during one training run; each is in the store and is made once."""

    def __init__(self, lineage: Lineage, config: EvaluationConfig, asked: Asked) -> None:
        self.arrived: asyncio.Queue[Path] = asyncio.Queue()
        """Snapshots of the running training."""
        self._lineage = lineage
        self._config = config
        self._asked = asked
        self._store = Store(lineage.names.store)

    async def follow(self) -> None:
        """Evaluate the parent and every snapshot that arrives, until cancelled."""
        await self._parent()
        while True:
            await self._snapshot(await self.arrived.get())

    async def whole(self, policy: PolicyVersion) -> tuple[CurvePoint, ...]:
        """Every point; those that `follow` has evaluated are in the store already."""
        config_hash = policy.manifest["config_hash"]
        work = Policies(self._lineage.names.store).work(policy.policy, config_hash)
        folders = sorted((work / SNAPSHOTS).glob("step-*"), key=_step)
        points = [await self._parent()]
        points += [await self._snapshot(folder) for folder in folders]
        last = int(policy.manifest["metrics"]["last_step"]["step"])
        points.append(await self._evaluate(last, published(policy)))
        return tuple(points)

    async def _parent(self) -> CurvePoint:
        parent = self._lineage.parent
        label = str(parent) if parent else None
        return await self._evaluate(0, Model(self._lineage.parent_folder, label))

    async def _snapshot(self, folder: Path) -> CurvePoint:
        label = f"{folder.parent.parent.name}/{folder.name}"
        return await self._evaluate(_step(folder), Model(folder, label), self._asked.document())

    async def _evaluate(
        self, step: int, model: Model, asked: dict[str, Any] | None = None
    ) -> CurvePoint:
        report = await evaluate(await serving(self._config, model, asked), self._store)
        return CurvePoint(step=step, results=report.results)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))
