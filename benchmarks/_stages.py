"""One seed of a ladder of policies, in its own process.

    python -m benchmarks._stages SEED STORE RECIPE CHANGES

Every stage is stored when it ends, so a killed process continues with the next one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tomllib
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from benchmarks import narrate
from flows.training.fine_tune import fine_tune
from flows.training.models import Model, find_model, published, serving, training_names
from flows.training.rounds import reinforce
from flows.training.settings import RoundsConfig
from storage.datasets import Store
from storage.policies import PolicyVersion
from tirgen.jobs.evaluate import evaluate
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.generate import generate
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.import_config import ImportConfig
from tirgen.jobs.importing import import_trajectories
from tirgen.jobs.rollout_config import CorrectionSettings
from tirgen.settings import Settings
from trainer.settings import SftConfig


class LadderConfig(Settings):
    """What every seed does; the seed itself is set in each part."""

    parent: str = ""
    """The folder of the first policy; empty for the packaged model."""
    cold_start: GenerateConfig | ImportConfig
    """The data of fine-tuning, made by the parent or imported."""
    sft: SftConfig
    rl: RoundsConfig
    """Rounds of T4, trajectory-level."""
    step_rl: RoundsConfig
    """Rounds of T5, which continues from T4 as the official script does (method A29); T4+ has as
    many rounds without branches."""
    cot_rl: RoundsConfig | None = None
    """Rounds of T2 on chain of thought; None leaves it out."""
    evaluation: EvaluationConfig
    samples: Mapping[str, int] = Field(default_factory=lambda: {"T5": 8})
    """By stage, where it has other samples a problem than the evaluation. From those of T5, best of
    N is chosen."""
    correction: CorrectionSettings


def load(recipe: Path, changes: Mapping[str, Any]) -> LadderConfig:
    """The committed settings, with some changed by their dotted names."""
    document = tomllib.loads(recipe.read_text("utf-8"))
    for name, value in changes.items():
        *tables, last = name.split(".")
        place: Any = document
        for table in tables:
            place = place[int(table)] if table.isdigit() else place.setdefault(table, {})
        place[last] = value
    return LadderConfig.model_validate(document)


class SeedFailed(Exception):
    """The process of one seed ended without its result."""


async def climb(
    number: int, root: Path, recipe: Path, changes: Mapping[str, Any]
) -> dict[str, str]:
    """The evaluated dataset version of every stage of one seed, made in a process of its own.

    One thread trains, unless OMP_NUM_THREADS says otherwise: seeds run side by side.

    Raises `SeedFailed`.
    """
    command = (sys.executable, "-m", "benchmarks._stages", str(number), str(root), str(recipe))
    process = await asyncio.create_subprocess_exec(
        *command, json.dumps(changes), stdout=PIPE, env={"OMP_NUM_THREADS": "1", **os.environ}
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise SeedFailed(
            f"seed {number} ended with status {process.returncode}, for the reason above; once it "
            "is mended, the same command goes on where every seed was"
        )
    versions: dict[str, str] = json.loads(out.splitlines()[-1])
    return versions


@dataclass(frozen=True, slots=True)
class Seed:
    """The stages of one seed."""

    number: int
    store: Store
    config: LadderConfig

    async def run(self) -> dict[str, str]:
        """The evaluated dataset version of every stage, by stage."""
        base = find_model(self.store, self.config.parent)
        found = {"T1": await self.evaluate("T1", base, reasoning="cot")}
        if self.config.cot_rl:
            thinker = await self.reinforce("cot", base, self.config.cot_rl)
            found["T2"] = await self.evaluate("T2", thinker, reasoning="cot")
        cold = await self.cold_start(base)
        found["T3"] = await self.evaluate("T3", cold)
        episode = await self.reinforce("episode", cold, _without_branches(self.config.rl))
        found["T4"] = await self.evaluate("T4", episode)
        more = _without_branches(self.config.step_rl)
        control = await self.reinforce("control", episode, more)
        found["T4+"] = await self.evaluate("T4+", control)
        best = await self.reinforce("step", episode, self.config.step_rl)
        found["T5"] = await self.evaluate("T5", best)
        found["T6"] = await self.evaluate("T6", best, correction=self.config.correction)
        return found

    async def evaluate(self, stage: str, model: Model, **changes: Any) -> str:
        narrate(f"seed {self.number}: {stage}")
        update = {
            "dataset": f"{stage.replace('+', '-control')}-{self.number}",
            "seed": self.number,
            "samples": self.config.samples.get(stage, self.config.evaluation.samples),
            **changes,
        }
        config = self.config.evaluation.model_copy(update=update)
        report = await evaluate(await serving(config, model), self.store)
        [result] = report.results
        accuracy = result.accuracy.value if result.accuracy else 0.0
        narrate(f"seed {self.number}: {stage} {100 * accuracy:.1f} % in {report.seconds:.0f} s")
        return str(report.version)

    async def cold_start(self, base: Model) -> Model:
        """Fine-tuning on what is kept of the data."""
        update = {"dataset": f"tir-{self.number}", "seed": self.number}
        config = self.config.cold_start.model_copy(update=update)
        if isinstance(config, ImportConfig):
            version = (await import_trajectories(config, self.store)).version
        else:
            version = (await generate(config, self.store)).version
        names = training_names(self.store, f"cold-{self.number}", base, str(version))
        sft = self.config.sft.model_copy(update={"seed": self.number})
        return published((await fine_tune(names, sft)).policy)

    async def reinforce(self, name: str, parent: Model, config: RoundsConfig) -> Model:
        """The last policy of the rounds."""
        name = f"{name}-{self.number}"
        rollouts = config.rollouts.model_copy(
            update={"dataset": f"{name}-rollouts", "seed": self.number}
        )
        seeded = RoundsConfig(
            rounds=config.rounds,
            rollouts=rollouts,
            update=config.update.model_copy(update={"seed": self.number}),
        )
        rounds = await reinforce(self.store, name, parent, seeded)
        policy: PolicyVersion = rounds[-1].policy
        return published(policy)


def _without_branches(config: RoundsConfig) -> RoundsConfig:
    rollouts = config.rollouts.model_copy(update={"branches": None})
    return config.model_copy(update={"rollouts": rollouts})


def main(number: int, root: Path, recipe: Path, changes: dict[str, Any]) -> None:
    found = asyncio.run(Seed(number, Store(root), load(recipe, changes)).run())
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4]))
