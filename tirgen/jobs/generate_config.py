"""The configuration of a generation, from a file, flags or Python; it is stored with the data."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError, model_validator

from storage.settings import merged
from tirgen.data.problem_settings import ProblemSettings
from tirgen.embedded.models import (
    THINKING_NAME,
    engine_identity,
    is_pocket_engine,
    model_label,
)
from tirgen.engine.engine_config import EngineConfig
from tirgen.filters.filter_config import FilterConfig, TrajectoryMode
from tirgen.jobs.budget import BudgetSettings
from tirgen.sandbox.program_settings import SandboxSettings
from tirgen.settings import Count, JobSettings, Settings
from tirgen.tir.prompts import BUDGET_SENTENCE, Prompts, PromptSet, usual_prompts


class SamplingSettings(Settings):
    """How one role samples."""

    temperature: float = Field(0.6, ge=0, le=5)
    """0 is greedy; the paper samples at 0.6."""
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(50, ge=0)
    """0 is off."""


class LoopSettings(Settings):
    """The limits of one trajectory; reaching one is an ending with a name, not an error."""

    step_tokens: Count = 512
    """L_step, the longest step of the actor in tokens, in non-reasoning mode."""
    step_delimiter: str = "\n\n"
    """Text that ends an actor step earlier; empty for the paper's rule, by length only."""
    critic_tokens: Count = 1024
    """Longest reply of the critic to one step or window in tokens, program outputs included. In
    reasoning mode 8192, or 800 for the pocket."""
    steps: Count = 32
    """Most actor steps, or windows of thinking, per trajectory."""
    tokens: Count = 4096
    """Longest reply in tokens, observations included. In reasoning mode 20000, or 1800 for the
    pocket."""
    tool_rounds: Count = 16
    """Most programs per trajectory; after them the actor continues without the critic."""
    tool_rounds_per_step: Count = 5
    """Most programs per step."""
    wall_seconds: float = Field(1800, gt=0)
    """Longest time of a trajectory, waiting for engines included."""
    stop_at_failure: bool = True
    """End a trajectory at its first failed program, since the filters would drop it anyway."""
    observation_characters: int = Field(1024, ge=64)
    """Longest program output for the models; of a longer one they get the head and the tail."""


class ThinkingSettings(Settings):
    """Reasoning mode: how the thinking is cut into windows for the critic, and when it must end."""

    window_tokens: Count = 4096
    """Longest window in the actor's tokens, cut at the end of a line; 64 for the pocket. A window
    without a line end grows until it has one."""
    least_window_tokens: Count = 2048
    """Shortest window, except for the last one; 24 for the pocket."""
    tokens: Count = 16384
    """The thinking budget in tokens, program outputs included; 1000 for the pocket."""
    budget_sentence: str = BUDGET_SENTENCE
    """The sentence that ends thinking at its budget; then the actor answers."""

    @model_validator(mode="after")
    def _least_within_window(self) -> ThinkingSettings:
        if self.least_window_tokens > self.window_tokens:
            raise ValueError("least_window_tokens is more than window_tokens")
        return self


REASONING_LOOP = {"critic_tokens": 8192, "tokens": 20_000}
"""Larger default limits for reasoning mode (method A13)."""
POCKET_LOOP = {"critic_tokens": 800, "tokens": 1800}
"""Default limits that fit the context of the thinking pocket."""
POCKET_THINKING = {"window_tokens": 64, "least_window_tokens": 24, "tokens": 1000}


class GenerateConfig(JobSettings):
    """A TIRGen run: problems in, a verified and filtered dataset version out."""

    dataset: str = Field("tir", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the dataset; each finished run publishes its next version."""
    problems: ProblemSettings = ProblemSettings()
    mode: TrajectoryMode = TrajectoryMode.NON_REASONING
    """``reasoning`` for an actor with long thinking inside ``<think>``, which the critic rewrites
    window by window; ``non_reasoning`` for an actor that answers in steps."""
    actor: EngineConfig = EngineConfig()
    """The engine that reasons: the policy to train later."""
    critic: EngineConfig = EngineConfig()
    """The engine that turns steps into programs; it only needs to follow instructions and code."""
    prompts: Prompts | None = None
    """Prompt set: ``standard``, ``thinking``, ``base``, ``pocket``, or a folder with your files. By
    default ``pocket`` for an actor with the pocket's tokenizer, else ``thinking`` if `mode` is
    ``reasoning``, else ``standard``."""
    judge: EngineConfig | None = None
    """A language model that checks answers which the verifier found wrong; by default none. Its
    opinion is stored beside the verdict; `filters.judge_counts` decides whether it counts."""
    judge_tokens: Count = 16
    """Longest reply of the judge in tokens; raise it for a model that thinks first."""
    actor_sampling: SamplingSettings = SamplingSettings()
    critic_sampling: SamplingSettings = SamplingSettings()
    loop: LoopSettings = LoopSettings()
    thinking: ThinkingSettings = ThinkingSettings()
    """Only for `mode` ``reasoning``."""
    sandbox: SandboxSettings = SandboxSettings()
    attempts: int = Field(4, ge=1, le=64)
    """Most attempts per problem; the first one that every filter keeps is the last."""
    cot_samples: int = Field(4, ge=0, le=64)
    """Chain-of-thought samples per solved problem, to drop problems that need no tool."""
    filters: FilterConfig = FilterConfig()
    seed: int = Field(0, ge=0, lt=2**31)
    live_trajectories: Count = 256
    """Problems in progress at once, for each server of the actor. Their requests wait for a free
    place at an engine, the oldest problem's first."""
    budget: BudgetSettings = BudgetSettings()
    """What the run can cost, over all its calls."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_mode(cls, document: Any) -> Any:
        if not isinstance(document, dict) or document.get("mode") != TrajectoryMode.REASONING:
            return document
        defaults: dict[str, Any] = {"loop": REASONING_LOOP}
        for role in ("actor", "critic"):
            engine = document.get(role, {})
            if isinstance(engine, EngineConfig):
                engine = engine.model_dump(exclude_unset=True)
            if engine.get("kind", "embedded") == "embedded" and not engine.get("model"):
                engine = {**engine, "model": THINKING_NAME}
                document = {**document, role: engine}
            if role == "actor" and _is_pocket(engine):
                defaults = {"loop": POCKET_LOOP, "thinking": POCKET_THINKING}
        return merged(defaults, document)

    @model_validator(mode="after")
    def _thinks_in_tokens(self) -> GenerateConfig:
        if self.mode is TrajectoryMode.NON_REASONING:
            return self
        if self.thinking.tokens >= self.loop.tokens:
            raise ValueError("thinking.tokens must leave room for an answer within loop.tokens")
        if self.actor.kind == "chat":
            raise ValueError(
                "mode = reasoning needs token ids, which a chat endpoint does not return: serve "
                "the actor with vLLM and set actor.kind = tokens"
            )
        return self

    @model_validator(mode="after")
    def _known_prices(self) -> GenerateConfig:
        if self.budget.money is not None:
            unpriced = {
                model_label(e) for e in (self.actor, self.critic)
            } - self.budget.prices.keys()
            if unpriced:
                raise ValueError(
                    f"budget.money needs budget.prices of {', '.join(sorted(unpriced))}"
                )
        return self

    @property
    def live(self) -> int:
        """Problems in progress at once, over all servers."""
        return self.live_trajectories * self.actor.servers

    @property
    def prompt_set(self) -> PromptSet:
        """The prompt set that is used."""
        thinks = self.mode is TrajectoryMode.REASONING
        return self.prompts or usual_prompts(is_pocket_engine(self.actor), thinks=thinks)

    def identity(self) -> dict[str, Any]:
        """Without the choice of problems (each row has its own) and the pace: a higher limit, or
        another server of the same model, continues the run. Also without the settings of the other
        mode.
        """
        unused = {"mode", "thinking"} if self.mode is TrajectoryMode.NON_REASONING else set()
        unused |= {"judge", "judge_tokens"} if self.judge is None else set()
        document = self.model_dump(
            mode="json", exclude={"live_trajectories", "dataset", "budget", "problems", *unused}
        )
        for role in ("actor", "critic"):
            document[role] = engine_identity(getattr(self, role))
        if self.judge:
            document["judge"] = engine_identity(self.judge)
        document["sandbox"] = self.sandbox.identity()
        document["prompts"] = self.prompt_set.digest
        return document


def _is_pocket(engine: dict[str, Any]) -> bool:
    """For settings that are not validated yet; their errors are reported later."""
    try:
        return is_pocket_engine(EngineConfig.model_validate(engine))
    except ValidationError:
        return False
