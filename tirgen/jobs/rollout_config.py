"""The settings of rollouts: which policy, how it samples, and what a round must hold."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from storage.groups import FailedCode
from storage.records import Program
from storage.settings import merged
from tirgen.data.problem_settings import ProblemSettings
from tirgen.embedded.models import engine_identity, is_pocket_engine
from tirgen.engine.engine_config import EngineConfig
from tirgen.filters.filter_config import TrajectoryMode
from tirgen.jobs.generate_config import SamplingSettings
from tirgen.sandbox.program_settings import SandboxSettings
from tirgen.settings import Count, JobSettings, Settings
from tirgen.tir.prompts import BUDGET_SENTENCE, Prompts, PromptSet, usual_prompts
from tirgen.tir.rollout import Correction


class RolloutLoop(Settings):
    """The bounds of one rollout. Reaching a bound is a typed ending, not an error."""

    tokens: Count = 4096
    """Most tokens of the whole reply, observations and retries included."""
    tool_rounds: int = Field(5, ge=0)
    """Most programs per rollout: 5 in training, 10 at inference. After them the output of a program
    is a note that no more are run."""
    stop_at_failure: bool = True
    """End at the first failed program, as in training. Off: the policy continues from it."""
    wall_seconds: float = Field(1800, gt=0)
    """Longest time for one rollout, waiting for engine and sandbox included."""
    observation_characters: int = Field(1024, ge=64)
    """Longest output shown to the policy. Longer output is cut in the middle, with a mark."""


class CorrectionSettings(Settings):
    """Self-correction from tool feedback. Not for training, not with best-of-N."""

    suffix_tokens: int = Field(100, ge=0)
    """L_suf, tokens at the end of the thought to sample again: 100 without thinking, 500 with."""
    attempts: Count = 4
    """N_corr, most retries of each failed step."""


class BranchSettings(Settings):
    """Step-level branches from the failed steps of a round."""

    samples: int = Field(16, ge=2)
    """G, branches per prefix."""
    groups: int | None = Field(None, ge=1)
    """Mixed step groups (with branches that ran and branches that failed) that the round must hold.
    Failed steps are branched, in an order drawn by the seed, until the number is reached or no
    failed step is left. Default: no quota; as many steps as there are trajectory groups to learn
    from."""
    suffix_tokens: int = Field(100, ge=0)
    """L_suf: 100 without thinking, 500 with."""
    tokens: Count = 1024
    """Most tokens of suffix and action together."""


class PolicyThinking(Settings):
    """When the thinking of a policy must end."""

    tokens: Count | None = None
    """Most tokens of a reply whose thinking is still open, observations included; the official
    script has 10000 at inference. Default: only `loop.tokens`."""
    budget_sentence: str = BUDGET_SENTENCE
    """Injected with the end of thinking when the budget is used up; then the policy answers."""


REASONING_LOOP = {"tokens": 16_384}
REASONING_SUFFIX = {"suffix_tokens": 500}
"""The paper's values for policies that think, where nothing else is set."""


class PolicySettings(JobSettings):
    """What rollouts for training and for evaluation share."""

    dataset: str = Field("rollouts", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the dataset. Every finished run publishes its next version."""
    policy: EngineConfig = EngineConfig()
    """The model that is sampled."""
    policy_version: str | None = None
    """The policy's own version, stored with every row. Set it where a server keeps one model name
    after updates: otherwise two policies count as one."""
    mode: TrajectoryMode = TrajectoryMode.NON_REASONING
    """``reasoning`` for a policy that thinks at length: replies of 16384 tokens, suffixes of 500,
    and the prompt set ``thinking``, unless set otherwise."""
    thinking: PolicyThinking = PolicyThinking()
    prompts: Prompts | None = None
    """Prompt set: ``standard``, ``thinking``, ``base``, ``pocket``, or a folder with your files.
    Default: the one that the policy was trained with, or that was made for it."""
    reasoning: Literal["tir", "cot"] = "tir"
    """``tir``: the policy writes programs; ``cot``: tools off, one answer under the plain prompt
    (the chain-of-thought baselines T1 and T2)."""
    samples: int = Field(16, ge=1, le=1024)
    """G, rollouts per problem."""
    sampling: SamplingSettings = SamplingSettings(temperature=1.0, top_p=1.0, top_k=0)
    """Keep temperature 1, top_p 1, top_k off: otherwise an update's importance ratio is biased."""
    loop: RolloutLoop = RolloutLoop()
    correction: CorrectionSettings | None = None
    """How failed actions are repaired. Default: not at all."""
    sandbox: SandboxSettings = SandboxSettings()
    seed: int = Field(0, ge=0, lt=2**31)
    live_rollouts: Count = 256
    """Rollouts in progress at once, for each server of the policy. Their requests wait for a free
    place, the oldest rollout's first."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_mode(cls, document: Any) -> Any:
        if not isinstance(document, dict) or document.get("mode") != TrajectoryMode.REASONING:
            return document
        defaults: dict[str, Any] = {"loop": REASONING_LOOP}
        for part in ("correction", "branches"):
            own = cls.model_fields[part].default if part in cls.model_fields else None
            if isinstance(document.get(part, own and own.model_dump(exclude_unset=True)), dict):
                defaults[part] = REASONING_SUFFIX
        return merged(defaults, document)

    @model_validator(mode="after")
    def _consistent(self) -> PolicySettings:
        if self.correction and self.policy.kind == "chat":
            raise ValueError(
                "correction splits a thought in token ids, which chat endpoints do not give; "
                "use policy.kind = tokens or embedded, or leave correction out"
            )
        if self.thinking.tokens is not None and self.thinking.tokens >= self.loop.tokens:
            raise ValueError("thinking.tokens must leave room for an answer within loop.tokens")
        return self

    @property
    def live(self) -> int:
        """Rollouts in progress at once, over all servers."""
        return self.live_rollouts * self.policy.servers

    @property
    def program(self) -> Program:
        return Program.ROLLOUT if self.reasoning == "tir" else Program.COT

    @property
    def prompt_set(self) -> PromptSet:
        """The prompt set in force."""
        thinks = self.mode is TrajectoryMode.REASONING
        return self.prompts or usual_prompts(is_pocket_engine(self.policy), thinks=thinks)

    @property
    def repairs(self) -> Correction | None:
        """Self-correction in the form that the loop takes."""
        return Correction(**self.correction.model_dump()) if self.correction else None

    def identity(self) -> dict[str, Any]:
        """What decides the rows: neither the speed nor the address of a replica does."""
        document = self.model_dump(mode="json", exclude={"live_rollouts", "dataset"})
        document["policy"] = engine_identity(self.policy)
        document["sandbox"] = self.sandbox.identity()
        document["prompts"] = self.prompt_set.digest
        return document


class RolloutConfig(PolicySettings):
    """One round of rollouts: a group of samples per problem, in the store, ready to learn from."""

    problems: ProblemSettings = ProblemSettings(path="pocket:train")
    groups: int | None = Field(None, ge=1)
    """Mixed groups that the round must hold (DAPO's dynamic sampling): problems are sampled until
    this many groups have both right and wrong rows left. Default: sample every problem once."""
    start: int = Field(0, ge=0)
    """With `groups`: the place in the endless shuffled stream of problems where the round begins.
    The report of a round says where the next one begins."""
    most_problems: int | None = Field(None, ge=1)
    """With `groups`: stop after this many problems. Default: when each was sampled once."""
    failed_code: FailedCode = FailedCode.DROP
    """Whether trajectories whose code failed count in their groups and are learned from: ``drop``,
    ``keep`` or ``resample_on_correct``. With the last two, also set `loop.stop_at_failure` = false:
    otherwise each of them ends without an answer."""
    branches: BranchSettings | None = None
    """Branches of failed steps; false for none. Without a quota of their own they start from at
    most as many prefixes as there are trajectory groups to learn from: the mixed ones, or without
    `groups` all that were sampled."""

    @field_validator("branches", mode="before")
    @classmethod
    def _false_is_none(cls, branches: Any) -> Any:
        """A TOML file has no null."""
        return None if branches is False else branches

    @property
    def keeps_failed(self) -> bool:
        return self.failed_code is not FailedCode.DROP

    @model_validator(mode="after")
    def _branches_possible(self) -> RolloutConfig:
        if self.branches and self.policy.kind == "chat":
            raise ValueError(
                "branches continue token ids, which chat endpoints do not give; "
                "use policy.kind = tokens or embedded"
            )
        if self.branches and self.reasoning == "cot":
            raise ValueError("branches start at failed programs; reasoning = cot writes none")
        if self.groups is None and (self.start or self.most_problems):
            raise ValueError("start and most_problems need groups")
        return self

    def identity(self) -> dict[str, Any]:
        """Without `groups`, a higher problem limit continues the same run."""
        document = super().identity()
        if self.groups is None:
            document["problems"]["limit"] = None
        return document
