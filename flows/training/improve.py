"""The whole wheel: generate, fine-tune, rounds of RL, evaluate; every part resumes by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from flows.training.fine_tune import fine_tune
from flows.training.names import Model, find_model, published, training_names
from flows.training.rounds import Hooks, Room, Round, RoundsConfig, reinforce
from flows.training.serving import serving
from flows.training.steps import Steps
from storage.datasets import Store
from storage.policies import PolicyVersion
from storage.versions import DatasetVersion
from tirgen.evaluation.results import BenchmarkResult
from tirgen.jobs.evaluate import EvaluationReport, evaluate
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.generate import generate
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.progress import GenerationProgress, RolloutProgress
from tirgen.jobs.rollout_config import CorrectionSettings
from tirgen.settings import Settings
from trainer.sft import SftConfig


class ImproveConfig(Settings):
    """One turn of the wheel; defaults as in the paper; see `flows.training.recipe`."""

    policy: str = Field("improved", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,48}$")
    """Name of the policy; the datasets on the way are named after it."""
    parent: str = ""
    """Policy to begin with: NAME@v3, a model's folder, or empty for the packaged model. It must be
    the one that `generate.actor` serves."""
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
                "evaluation: leave correction and reasoning to the stages, which set them"
            )
        return self

    def named(self) -> ImproveConfig:
        """With the datasets named after the policy."""
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
    """What a turn of the wheel made."""

    dataset: DatasetVersion
    fine_tuned: PolicyVersion
    rounds: tuple[Round, ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchers:
    """Who is told what, and asked for room, during a turn of the wheel; by default nobody."""

    part: Callable[[str], None] = lambda name: None
    """A part begins."""
    generation: Callable[[GenerationProgress], None] = lambda progress: None
    steps: Callable[[Steps], None] = lambda steps: None
    rollouts: Callable[[RolloutProgress], None] = lambda progress: None
    stage: Callable[[Stage], None] = lambda stage: None
    """A stage is evaluated."""
    say: Callable[[str], None] = lambda line: None
    """Every line that the trainer prints."""
    engine: Room = nullcontext
    gpu: Room = nullcontext


async def improve(
    store: Store,
    config: ImproveConfig,
    *,
    processes: int = 1,
    watchers: Watchers = Watchers(),
) -> Improvement:
    """Generate with the parent, fine-tune it, take it through RL, and evaluate every stage.

    Started again with the same configuration it goes on where it was. Raises what its parts raise.
    """
    wheel = _Wheel(store, config.named(), processes, watchers)
    parent = find_model(store, config.parent)
    base = await wheel.evaluate("base, chain of thought", parent, reasoning="cot")
    dataset = await wheel.generate()
    fine_tuned = await wheel.fine_tune(parent, dataset)
    cold = await wheel.evaluate("fine-tuned", published(fine_tuned))
    rounds = await wheel.reinforce(published(fine_tuned))
    best = published(rounds[-1].policy)
    stages = [base, cold, await wheel.evaluate("after RL", best)]
    if config.correction:
        plain = config.evaluation.analysis.model_copy(update={"best_of": None})
        stages.append(
            await wheel.evaluate(
                "self-correcting", best, correction=config.correction, analysis=plain
            )
        )
    return Improvement(
        dataset=dataset, fine_tuned=fine_tuned, rounds=tuple(rounds), stages=tuple(stages)
    )


@dataclass(frozen=True, slots=True)
class _Wheel:
    """The parts of one turn."""

    store: Store
    config: ImproveConfig
    processes: int
    watchers: Watchers

    async def generate(self) -> DatasetVersion:
        self.watchers.part("generate")
        async with self.watchers.engine():
            report = await generate(self.config.generate, self.store, self.watchers.generation)
        return report.version

    async def fine_tune(self, parent: Model, dataset: DatasetVersion) -> PolicyVersion:
        self.watchers.part("fine-tune")
        names = training_names(self.store, self.config.policy, parent, str(dataset))
        async with self.watchers.gpu():
            made = await fine_tune(
                names,
                self.config.sft,
                processes=self.processes,
                watch=self.watchers.steps,
                say=self.watchers.say,
                note=self.watchers.say,
            )
        return made.policy

    async def reinforce(self, parent: Model) -> list[Round]:
        self.watchers.part("RL")
        hooks = Hooks(
            rollouts=lambda _, progress: self.watchers.rollouts(progress),
            steps=lambda _, steps: self.watchers.steps(steps),
            say=self.watchers.say,
            engine=self.watchers.engine,
            gpu=self.watchers.gpu,
        )
        name, rl = self.config.policy, self.config.rl
        return await reinforce(self.store, name, parent, rl, processes=self.processes, hooks=hooks)

    async def evaluate(self, stage: str, model: Model, **changes: Any) -> Stage:
        self.watchers.part(f"evaluate: {stage}")
        config = await serving(self.config.evaluation.model_copy(update=changes), model)
        async with self.watchers.engine():
            report: EvaluationReport = await evaluate(config, self.store, self.watchers.rollouts)
        made = Stage(name=stage, policy=model.label, samples=report.version, results=report.results)
        self.watchers.stage(made)
        return made
