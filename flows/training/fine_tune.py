"""Supervised fine-tuning with curves: held-out problems are answered while the training goes on."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flows.training.jobs import train
from flows.training.names import Model, published
from flows.training.prepared import asked_as, prepare, told
from flows.training.serving import serving
from flows.training.steps import Watch
from storage.datasets import Store
from storage.policies import Policies, PolicyVersion
from tirgen.evaluation.results import BenchmarkResult
from tirgen.jobs.evaluate import evaluate
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.workers import task_group
from trainer.job import SftJob
from trainer.run import SNAPSHOTS, Lineage, Names
from trainer.sft import SftConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """What the policy of one step answers on held-out problems."""

    step: int
    results: tuple[BenchmarkResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuned:
    """What a fine-tuning made."""

    policy: PolicyVersion
    curve: tuple[CurvePoint, ...]
    """From the parent, at step 0, to the published policy; empty where none was asked for."""


async def fine_tune(
    names: Names,
    config: SftConfig,
    *,
    processes: int = 1,
    heldout: EvaluationConfig | None = None,
    watch: Watch = lambda steps: None,
    say: Callable[[str], None] = lambda line: None,
    note: Callable[[str], None] = lambda sentence: None,
) -> FineTuned:
    """Train on the kept rows of a dataset version, and publish the policy.

    With `heldout`, the parent, every snapshot (`SftConfig.snapshot_every`) and the result are
    evaluated, each as soon as it is there. Started again it goes on, evaluations included. `note`
    hears in a sentence which rows went which way, and in another how the model is held. Raises
    `NothingToLearn`, `JobFailed`, and what `evaluate` raises.
    """
    lineage = Lineage(names, config)
    asked = asked_as(lineage.dataset, lineage.parent_folder, config)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.parquet"
        rows = await asyncio.to_thread(prepare, lineage.dataset, lineage.parent_folder, asked, path)
        note(f"rows of {lineage.dataset}: {told(rows)}")
        job = SftJob(kind="sft", names=names, config=config, samples=path, asked=asked._asdict())
        if heldout is None:
            return FineTuned(policy=await train(job, processes, watch, say, note=note), curve=())
        curve = _Curve(lineage, heldout)
        async with task_group() as group:
            following = group.create_task(curve.follow())
            policy = await train(job, processes, watch, say, curve.arrived.put_nowait, note)
            following.cancel()
    return FineTuned(policy=policy, curve=await curve.whole(policy))


class _Curve:
    """Evaluations along one training run; each is in the store and is made once."""

    def __init__(self, lineage: Lineage, config: EvaluationConfig) -> None:
        self.arrived: asyncio.Queue[Path] = asyncio.Queue()
        """Snapshots of the training that is under way."""
        self._lineage = lineage
        self._config = config
        self._store = Store(lineage.names.store)

    async def follow(self) -> None:
        """Evaluate the parent and what arrives, until cancelled."""
        await self._parent()
        while True:
            await self._snapshot(await self.arrived.get())

    async def whole(self, policy: PolicyVersion) -> tuple[CurvePoint, ...]:
        """Every point; those that `follow` has evaluated are there already."""
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
        return await self._evaluate(_step(folder), Model(folder, label))

    async def _evaluate(self, step: int, model: Model) -> CurvePoint:
        report = await evaluate(await serving(self._config, model), self._store)
        return CurvePoint(step=step, results=report.results)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))
