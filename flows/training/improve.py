"""The whole loop: generate, fine-tune, rounds of RL, evaluate; every part can be resumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from flows.training.fine_tune import fine_tune
from flows.training.jobs import NO_HOOKS, Hooks
from flows.training.metrics import metrics_library
from flows.training.models import Model, find_model, published, serving, training_names
from flows.training.rounds import Round, reinforce
from flows.training.settings import RoundsConfig
from storage.datasets import Store
from storage.policies import PolicyVersion
from storage.versions import DatasetVersion
from tirgen.evaluation.results import BenchmarkResult
from tirgen.jobs.evaluate import SpreadEvaluation
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.generate import SpreadGeneration
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.rollout_config import CorrectionSettings
from tirgen.jobs.spreading import Place, here
from tirgen.settings import Settings
from trainer.settings import SftConfig


class ImproveConfig(Settings):
    """One pass of the whole loop; the defaults are the paper's (`flows.training.models.recipe`)."""

    policy: str = Field("improved", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,48}$")
    """Name of the policy; the datasets that it needs are named after it."""
    parent: str = ""
    """The first policy: NAME@v3, a model's folder, or empty for the packaged model. It must be the
    one that `generate.actor` serves."""
    generate: GenerateConfig = GenerateConfig()
    sft: SftConfig = SftConfig()
    rl: RoundsConfig = RoundsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    """How every stage is evaluated."""
    correction: CorrectionSettings | None = CorrectionSettings()
    """Self-correction in the last stage; null leaves that stage out."""

    @model_validator(mode="after")
    def _comparable(self) -> ImproveConfig:
        if self.evaluation.correction or self.evaluation.reasoning == "cot":
            raise ValueError(
                "evaluation: do not set correction and reasoning, each stage sets its own"
            )
        return self

    def named(self) -> ImproveConfig:
        """The same settings, with the datasets named after the policy."""
        update: dict[str, Any] = {
            "generate": _in_dataset(self.generate, f"{self.policy}-tir"),
            "rl": self.rl.model_copy(
                update={"rollouts": _in_dataset(self.rl.rollouts, f"{self.policy}-rollouts")}
            ),
            "evaluation": _in_dataset(self.evaluation, f"{self.policy}-evaluation"),
        }
        return self.model_copy(update=update)


def _in_dataset(settings: Any, name: str) -> Any:
    return settings.model_copy(update={"dataset": name})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One policy, evaluated."""

    name: str
    policy: str | None
    """The version; None for a parent that is not published."""
    samples: DatasetVersion
    results: tuple[BenchmarkResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Improvement:
    """The result of one pass."""

    dataset: DatasetVersion
    fine_tuned: PolicyVersion
    rounds: tuple[Round, ...]
    stages: tuple[Stage, ...]


async def improve(
    store: Store,
    config: ImproveConfig,
    *,
    processes: int = 1,
    hooks: Hooks = NO_HOOKS,
    place: Place = here,
) -> Improvement:
    """Generate with the parent, fine-tune it, take it through RL, and evaluate every stage.

    All rows are made at `place`. Started again with the same configuration it continues. Raises
    what its parts raise.
    """
    metrics_library()  # fails before the generation if it is not installed
    loop = _Loop(store, config.named(), processes, hooks, place)
    parent = find_model(store, config.parent)
    base = await loop.evaluate("base, chain of thought", parent, reasoning="cot")
    dataset = await loop.generate()
    fine_tuned = await loop.fine_tune(parent, dataset)
    cold = await loop.evaluate("fine-tuned", published(fine_tuned))
    rounds = await loop.reinforce(published(fine_tuned))
    best = published(rounds[-1].policy)
    stages = [base, cold, await loop.evaluate("after RL", best)]
    if config.correction:
        plain = config.evaluation.analysis.model_copy(update={"best_of": None})
        stages.append(
            await loop.evaluate(
                "self-correcting", best, correction=config.correction, analysis=plain
            )
        )
    return Improvement(
        dataset=dataset, fine_tuned=fine_tuned, rounds=tuple(rounds), stages=tuple(stages)
    )


@dataclass(frozen=True, slots=True)
class _Loop:
    """The parts of one pass."""

    store: Store
    config: ImproveConfig
    processes: int
    hooks: Hooks
    place: Place

    async def generate(self) -> DatasetVersion:
        self.hooks.part("generate")
        async with self.hooks.engine():
            job = SpreadGeneration(self.config.generate, self.store)
            report = await self.place(job, self.hooks.generation)
        return report.version

    async def fine_tune(self, parent: Model, dataset: DatasetVersion) -> PolicyVersion:
        self.hooks.part("fine-tune")
        names = training_names(self.store, self.config.policy, parent, str(dataset))
        async with self.hooks.gpu():
            made = await fine_tune(
                names, self.config.sft, processes=self.processes, hooks=self.hooks
            )
        return made.policy

    async def reinforce(self, parent: Model) -> list[Round]:
        self.hooks.part("RL")
        name, rl = self.config.policy, self.config.rl
        return await reinforce(
            self.store,
            name,
            parent,
            rl,
            processes=self.processes,
            hooks=self.hooks,
            place=self.place,
        )

    async def evaluate(self, stage: str, model: Model, **changes: Any) -> Stage:
        self.hooks.part(f"evaluate: {stage}")
        config = await serving(self.config.evaluation.model_copy(update=changes), model)
        async with self.hooks.engine():
            report = await self.place(SpreadEvaluation(config, self.store), self.hooks.rollouts)
        made = Stage(name=stage, policy=model.label, samples=report.version, results=report.results)
        self.hooks.stage(made)
        return made
