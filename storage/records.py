"""The records: a trajectory and its parts as immutable values that every package shares.

A failure is data: a failed attempt has a row like any other, with its `ending` and its `error`.
Values that follow from other values are properties, not fields, so that stored rows are always
consistent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

SCHEMA_VERSION = 5
"""Raised whenever a field of any record below is added, removed or changes its meaning.

Version 2 added `Trajectory.opinion` and `Program.IMPORTED`, version 3 `Ending.INTERNAL_ERROR`,
version 4 `Provenance.tokenizer`, version 5 `Verdict.gold_value` and `Verdict.answer_value`.
"""


class Outcome(StrEnum):
    """How one execution of model-written code ended (method A16)."""

    OK = "ok"
    NO_OUTPUT = "no_output"
    ERROR = "error"
    TIMEOUT = "timeout"
    OOM = "oom"
    INFRA_ERROR = "infra_error"

    @property
    def passed(self) -> bool:
        """The code finished and printed something."""
        return self is Outcome.OK

    @property
    def is_code_failure(self) -> bool:
        """The code itself failed: filters and step rewards may count it against the policy."""
        return self not in (Outcome.OK, Outcome.INFRA_ERROR)


class Program(StrEnum):
    """Which program of the TIR loop produced a trajectory."""

    TIRGEN = "tirgen"
    """Actor and critic (method A11)."""
    COT = "cot"
    """The actor with tools off."""
    ROLLOUT = "rollout"
    """A policy that writes its own programs, without a critic."""
    IMPORTED = "imported"
    """A trajectory from elsewhere; its programs were run and its answer was judged here."""


class Level(StrEnum):
    """What a row is: a whole trajectory, or one step regenerated from its prefix."""

    TRAJECTORY = "trajectory"
    STEP = "step"


class Ending(StrEnum):
    """Why a trajectory ended."""

    FINISHED = "finished"
    STEP_LIMIT = "step_limit"
    TOKEN_LIMIT = "token_limit"
    TIME_LIMIT = "time_limit"
    EXECUTION_FAILED = "execution_failed"
    """Its code failed, and the configuration stops there because no filter would keep the row."""
    OFF_FORMAT = "off_format"
    """Actor or critic wrote blocks that cannot be parsed, or invented an execution's output."""
    REFUSED = "refused"
    ENGINE_ERROR = "engine_error"
    SANDBOX_ERROR = "sandbox_error"
    INTERNAL_ERROR = "internal_error"
    """An error in tirgen itself; the model is not to blame."""

    @property
    def is_truncated(self) -> bool:
        """A limit ended it before the policy did."""
        return self in (Ending.STEP_LIMIT, Ending.TOKEN_LIMIT)

    @property
    def is_infrastructure(self) -> bool:
        """The infrastructure failed: the row says nothing about the policy and is never scored.

        This includes the time limit, because the speed of an engine does not depend on the policy.
        """
        return self in (
            Ending.ENGINE_ERROR, Ending.SANDBOX_ERROR, Ending.TIME_LIMIT, Ending.INTERNAL_ERROR
        )  # fmt: skip

    @property
    def is_judged(self) -> bool:
        """The row can be scored: the infrastructure worked and the request was not refused."""
        return not self.is_infrastructure and self is not Ending.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One question with its gold answer."""

    problem_id: str
    """Stable: the publisher's id if there is one, else a hash of source and question."""
    source: str
    """Its data set, e.g. ``gsm8k`` or ``pocket:test``."""
    question: str
    answer: str
    """The gold answer as published, without the surrounding solution."""
    difficulty: str | None = None
    """The publisher's own scale, e.g. ``Level 3``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A failed attempt at a step, which self-correction replaced (method A20)."""

    thought: str
    action: str
    observation: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One (thought, action, observation) of a trajectory; the last step has no action (eq. 1)."""

    thought: str
    """The reasoning in the trajectory: the critic's text where the critic rewrote it."""
    action: str | None = None
    """The Python that was run, without its fences."""
    observation: str | None = None
    """The output as the policy sees it, without its fences."""
    outcome: Outcome | None = None
    draft: str | None = None
    """The actor's own text of the whole step, if the critic rewrote it.

    In reasoning mode the drafts of a trajectory together are the actor's complete text."""
    attempts: tuple[Attempt, ...] = ()
    policy_tokens: int = 0
    """Tokens of thought and action in this step, which the loss may count."""
    llm_seconds: float = 0.0
    sandbox_seconds: float = 0.0


UNVERIFIABLE = "unverifiable"
"""The method of a verdict where no method can read the gold answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the final answer is right, by which method, and why."""

    correct: bool
    method: str
    reason: str
    gold_value: str | None = None
    """The parsed gold answer with its type; None where it was not parsed and in older rows."""
    answer_value: str | None = None

    @property
    def is_decided(self) -> bool:
        """Whether the answer could be judged; False if the gold answer cannot be verified."""
        return self.method != UNVERIFIABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """A language model's judgement of a final answer that the rules called wrong (method A23)."""

    judge_correct: bool
    judge_model: str
    judge_reason: str
    """The model's text."""


BASELINE_RULE = "program"
"""The filter rule that excludes baselines: samples without tools that measure a problem's
difficulty. No yield, accuracy or list contains them unless asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterVerdict:
    """The result of one filter rule on a trajectory."""

    rule: str
    kept: bool
    reason: str = ""
    """Why it was dropped; empty when kept."""


class _Filtered:
    """What the verdicts of the filter rules say together."""

    __slots__ = ()
    if TYPE_CHECKING:  # else it would be the first column of every file
        filters: tuple[FilterVerdict, ...]

    @property
    def is_baseline(self) -> bool:
        """A sample that only measures its problem (`BASELINE_RULE`)."""
        return any(one.rule == BASELINE_RULE and not one.kept for one in self.filters)

    @property
    def kept(self) -> bool:
        """Every filter rule kept it."""
        return all(verdict.kept for verdict in self.filters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Everything needed to produce the row again."""

    run_id: str
    config_hash: str
    actor_model: str
    critic_model: str | None
    engine: str
    """Engine and version as probed, e.g. ``pocket/0.1.0``."""
    exact_tokens: bool
    """Token ids and log-probabilities came from the engine; false for chat-only endpoints."""
    sampling: str
    """Sampling parameters of the actor, as canonical JSON."""
    actor_prompt_hash: str
    critic_prompt_hash: str | None
    seed: int
    code_version: str
    sandbox: str
    """Sandbox version and isolation mode, e.g. ``zygote/1 userns``."""
    policy_version: str | None = None
    tokenizer: str | None = None
    """Fingerprint of the tokenizer and chat template whose ids the row has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of a trajectory in tokens and seconds, failed calls included."""

    actor_calls: int = 0
    actor_prompt_tokens: int = 0
    actor_completion_tokens: int = 0
    critic_calls: int = 0
    critic_prompt_tokens: int = 0
    critic_completion_tokens: int = 0
    llm_seconds: float = 0.0
    sandbox_seconds: float = 0.0
    wall_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStream:
    """The tokens of the trajectory as the engine returned them, never rebuilt from text.

    The three lists have one length: prompt first, then thoughts, actions and observations in order.
    Empty for engines that return no token ids.
    """

    token_ids: tuple[int, ...] = ()
    loss_mask: tuple[bool, ...] = ()
    """True where a policy (actor or critic) wrote the token; false for prompt and observations."""
    logprobs: tuple[float | None, ...] = ()
    """Sampler log-probability where the actor sampled the token, else null."""
    prompt_length: int = 0
    """Number of leading prompt tokens, so that the prompt can be replaced (method A27)."""

    def __post_init__(self) -> None:
        lengths = {len(self.token_ids), len(self.loss_mask), len(self.logprobs)}
        if len(lengths) != 1:
            raise ValueError(f"token stream lists differ in length: {sorted(lengths)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory(_Filtered):
    """One attempt at one problem, successful or not."""

    trajectory_id: str
    dataset: str
    program: Program
    attempt: int
    problem: Problem
    steps: tuple[Step, ...]
    final_answer: str | None
    ending: Ending
    error: str | None = None
    """What failed, in one sentence."""
    verdict: Verdict | None
    """None if the infrastructure failed before the trajectory was judged, and at step level, where
    the reward is that the code ran."""
    opinion: Opinion | None = None
    """The second opinion of a language model, if one was asked for."""
    filters: tuple[FilterVerdict, ...] = ()
    provenance: Provenance
    cost: Cost = field(default_factory=Cost)
    tokens: TokenStream = field(default_factory=TokenStream)
    level: Level = Level.TRAJECTORY
    group_id: str | None = None
    """Samples with the same id are compared with each other: all of a problem, or of a step-level
    prefix, named ``<trajectory_id>/<step>`` after the failed step behind it, counted from 1."""
    created_at: float
    """Seconds since the epoch, UTC."""
    schema_version: int = SCHEMA_VERSION

    @property
    def key(self) -> tuple[str, str, int]:
        """(problem, program, attempt), which a resumed run must not produce twice.

        At step level it has the group instead of the problem, which may have several prefixes.
        """
        whose = self.problem.problem_id
        if self.level is Level.STEP and self.group_id is not None:
            whose = self.group_id
        return (whose, self.program.value, self.attempt)

    @property
    def calls(self) -> tuple[Step, ...]:
        """The steps that ran code."""
        return tuple(step for step in self.steps if step.action is not None)

    @property
    def correct(self) -> bool:
        return self.verdict is not None and self.verdict.correct

    @property
    def is_unverifiable(self) -> bool:
        """Judged, but neither right nor wrong: the gold answer cannot be verified."""
        return self.verdict is not None and not self.verdict.is_decided

    @property
    def reward(self) -> float | None:
        """1 if the answer is right, or at step level if the code ran, else 0 (method E5, E9).

        None if the infrastructure failed or the gold answer cannot be verified.
        """
        outcomes = [step.outcome for step in self.calls]
        return reward_of(self.level, self.ending, self.correct, self.is_unverifiable, outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts(_Filtered):
    """The fields of a trajectory that a curation may change.

    The fields are those of `Trajectory`.
    """

    trajectory_id: str
    final_answer: str | None
    ending: Ending
    error: str | None
    verdict: Verdict | None
    opinion: Opinion | None
    filters: tuple[FilterVerdict, ...]

    @classmethod
    def of(cls, row: Trajectory) -> Verdicts:
        return cls(**{name: getattr(row, name) for name in cls.__slots__})


def reward_of(
    level: Level,
    ending: Ending,
    correct: bool,
    unverifiable: bool,
    outcomes: Sequence[Outcome | None],
) -> float | None:
    """`Trajectory.reward` from what decides it; `outcomes` are those of the calls."""
    if not ending.is_judged or unverifiable:
        return None
    if level is Level.STEP:
        return float(bool(outcomes) and outcomes[-1] is Outcome.OK)
    return float(correct)


def trajectory_id(dataset: str, config_hash: str, key: tuple[str, str, int]) -> str:
    """The deterministic id of an attempt: the same command gives the same ids again."""
    text = "\x1f".join((dataset, config_hash, *map(str, key)))
    return "t" + hashlib.sha256(text.encode()).hexdigest()[:19]
