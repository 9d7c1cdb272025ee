"""The configuration of a generation: everything that can be set, typed, bounded and documented.

The same model is read from a TOML or JSON file, from flags and from Python; the resolved form is
written beside the output.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from tirgen.data.problem_settings import ProblemSettings
from tirgen.embedded.models import (
    THINKING_NAME,
    engine_identity,
    is_pocket_engine,
    model_label,
)
from tirgen.engine.engine_config import EngineConfig
from tirgen.filters.filter_config import FilterConfig, Mode
from tirgen.jobs.budget import BudgetSettings
from tirgen.sandbox.program_settings import SandboxSettings
from tirgen.settings import Count, JobSettings, Settings, load_settings, merged
from tirgen.tir.prompts import BUDGET_SENTENCE, POCKET, PROMPT_SETS, STANDARD


class SamplingSettings(Settings):
    """How one role samples."""

    temperature: float = Field(0.6, ge=0, le=5)
    """0 is greedy; the paper samples at 0.6."""
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(50, ge=0)
    """0 is off."""


class LoopSettings(Settings):
    """The bounds of one trajectory; reaching one is a typed ending, not an error."""

    step_tokens: Count = 512
    """L_step, the longest actor step without thinking."""
    step_delimiter: str = "\n\n"
    """What ends an actor step before that; empty for the paper's bare length rule."""
    critic_tokens: Count = 1024
    """Longest reply of the critic to one step or window, outputs included; in reasoning mode 8192,
    or 800 for the pocket."""
    steps: Count = 32
    """Actor steps, or windows of thinking, per trajectory."""
    tokens: Count = 4096
    """Tokens of the whole reply, observations included; in reasoning mode 20000, or
    1800 for the pocket."""
    tool_rounds: Count = 16
    """Programs per trajectory; afterwards the actor goes on alone."""
    tool_rounds_per_step: Count = 5
    wall_seconds: float = Field(1800, gt=0)
    """Longest a trajectory may take, waiting for engines included."""
    stop_at_failure: bool = True
    """End a trajectory at its first failed program: the filters would drop it anyway."""
    observation_characters: int = Field(1024, ge=64)
    """Longest output shown to the models; head and tail around a marked cut."""


class ThinkingSettings(Settings):
    """Reasoning mode: how the chain of thought is cut for the critic, and when it has to end."""

    window_tokens: Count = 4096
    """Longest window, in the actor's tokens, cut where a line ends; 64 for the
    pocket. A window without the end of a line grows until it has one."""
    least_window_tokens: Count = 2048
    """Shortest window but for the last one; 24 for the pocket."""
    tokens: Count = 16384
    """The thinking budget, outputs of programs included; 1000 for the pocket."""
    budget_sentence: str = BUDGET_SENTENCE
    """What ends thinking at its budget; the actor then answers from all that was said."""

    @model_validator(mode="after")
    def _least_within_window(self) -> ThinkingSettings:
        if self.least_window_tokens > self.window_tokens:
            raise ValueError("least_window_tokens is more than window_tokens")
        return self


REASONING_LOOP = {"critic_tokens": 8192, "tokens": 20_000}
"""What a trajectory that thinks needs more of, by default (method A13)."""
POCKET_LOOP = {"critic_tokens": 800, "tokens": 1800}
"""What fits the context of the pocket that thinks."""
POCKET_THINKING = {"window_tokens": 64, "least_window_tokens": 24, "tokens": 1000}


class GenerateConfig(JobSettings):
    """One TIRGen run: problems in, a verified and filtered dataset version out."""

    dataset: str = Field("tir", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the dataset; every finished run publishes its next version."""
    problems: ProblemSettings = ProblemSettings()
    mode: Mode = Mode.NON_REASONING
    """``reasoning`` for an actor that thinks at length inside ``<think>``: the critic rewrites its
    thinking window by window. ``non_reasoning`` for one that answers in steps."""
    actor: EngineConfig = EngineConfig()
    """Who reasons: the policy that will later be trained."""
    critic: EngineConfig = EngineConfig()
    """Who turns steps into programs; needs instruction following and coding skill only."""
    prompts: str | None = None
    """Prompt set, ``pocket`` or ``standard``; by default the one made for the actor, told by its
    tokenizer."""
    judge: EngineConfig | None = None
    """A language model that looks at answers the rules call wrong; by default none does. What
    it says is stored beside the verdict, and `filters.judge_counts` decides what it is worth."""
    judge_tokens: Count = 16
    """Longest reply of the judge; raise it for a model that thinks first."""
    actor_sampling: SamplingSettings = SamplingSettings()
    critic_sampling: SamplingSettings = SamplingSettings()
    loop: LoopSettings = LoopSettings()
    thinking: ThinkingSettings = ThinkingSettings()
    """For `mode` ``reasoning`` only."""
    sandbox: SandboxSettings = SandboxSettings()
    attempts: int = Field(4, ge=1, le=64)
    """Up to so many attempts a problem, stopping at the first that every filter keeps."""
    cot_samples: int = Field(4, ge=0, le=64)
    """Plain chain-of-thought answers per solved problem, to drop what needs no tool."""
    filters: FilterConfig = FilterConfig()
    seed: int = Field(0, ge=0, lt=2**31)
    live_trajectories: Count = 96
    """Problems worked on at once; engines bound their own requests."""
    budget: BudgetSettings = BudgetSettings()
    """What the run may cost in all its calls together."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_mode(cls, document: Any) -> Any:
        if not isinstance(document, dict) or document.get("mode") != Mode.REASONING:
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
        if self.mode is Mode.NON_REASONING:
            return self
        if self.thinking.tokens >= self.loop.tokens:
            raise ValueError("thinking.tokens leaves no room for an answer within loop.tokens")
        if self.actor.kind == "chat":
            raise ValueError(
                "mode = reasoning cuts thinking between tokens, which a chat endpoint does not "
                "return: serve the actor with vLLM and set actor.kind = tokens"
            )
        return self

    @model_validator(mode="after")
    def _known_prompts(self) -> GenerateConfig:
        if self.prompts is not None and self.prompts not in PROMPT_SETS:
            raise ValueError(f"prompts: {self.prompts!r} is none of {sorted(PROMPT_SETS)}")
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
    def prompt_set_name(self) -> str:
        """The prompt set in force."""
        default = POCKET if is_pocket_engine(self.actor) else STANDARD
        return self.prompts or default.name

    def identity(self) -> dict[str, Any]:
        """Leaves out which problems are asked for, since every row carries its own, and how fast:
        raising the limit, or pointing at another replica of the same model, continues the run.
        Settings of the mode that is not on decide nothing.
        """
        unused = {"mode", "thinking"} if self.mode is Mode.NON_REASONING else set()
        unused |= {"judge", "judge_tokens"} if self.judge is None else set()
        document = self.model_dump(
            mode="json", exclude={"live_trajectories", "dataset", "budget", "problems", *unused}
        )
        for role in ("actor", "critic"):
            document[role] = engine_identity(getattr(self, role))
        if self.judge:
            document["judge"] = engine_identity(self.judge)
        document["sandbox"] = self.sandbox.identity()
        return document


def _is_pocket(engine: dict[str, Any]) -> bool:
    """Of an engine's settings before they are checked; what is wrong with them is told later."""
    try:
        return is_pocket_engine(EngineConfig.model_validate(engine))
    except ValidationError:
        return False


def load_config(path: Path | None, overrides: dict[str, Any]) -> GenerateConfig:
    """The configuration of a generation; as `load_settings`."""
    return load_settings(GenerateConfig, path, overrides)
