"""The records: what a trajectory is, in plain immutable values that every package shares.

A failure is data here: an attempt that broke has a row like any other, with its `ending` and its
`error`. Values that follow from other values are properties, never fields, so that nothing on
disk can disagree with itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

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
        """The code ran to its end and printed something."""
        return self is Outcome.OK

    @property
    def is_code_failure(self) -> bool:
        """The code is to blame: what filters and step rewards may count against the policy."""
        return self not in (Outcome.OK, Outcome.INFRA_ERROR)


class Program(StrEnum):
    """Which of the small programs over the TIR loop produced a trajectory."""

    TIRGEN = "tirgen"
    """Actor and critic (method A11)."""
    COT = "cot"
    """The actor with tools off."""
    ROLLOUT = "rollout"
    """A policy that writes its own programs."""
    IMPORTED = "imported"
    """Somebody else's trajectory, its programs run and its answer judged again here."""


class Level(StrEnum):
    """What a row is a sample of: a whole trajectory or one step regenerated from its prefix."""

    TRAJECTORY = "trajectory"
    STEP = "step"


class Ending(StrEnum):
    """Why a trajectory stopped growing."""

    FINISHED = "finished"
    STEP_LIMIT = "step_limit"
    TOKEN_LIMIT = "token_limit"
    TIME_LIMIT = "time_limit"
    EXECUTION_FAILED = "execution_failed"
    """Its code failed and the configuration stops there, since the row can no longer be kept."""
    OFF_FORMAT = "off_format"
    """Actor or critic wrote blocks that cannot be parsed, or invented an execution."""
    REFUSED = "refused"
    ENGINE_ERROR = "engine_error"
    SANDBOX_ERROR = "sandbox_error"
    INTERNAL_ERROR = "internal_error"
    """Tirgen itself failed on this row: an error of ours, whatever the model wrote."""

    @property
    def is_truncated(self) -> bool:
        """A limit of ours cut it; the policy had more to say."""
        return self in (Ending.STEP_LIMIT, Ending.TOKEN_LIMIT)

    @property
    def is_infrastructure(self) -> bool:
        """The machinery broke: the row says nothing about the policy and is never scored.

        Running out of wall time belongs here: how fast an engine answers is not the policy's doing.
        """
        return self in (
            Ending.ENGINE_ERROR, Ending.SANDBOX_ERROR, Ending.TIME_LIMIT, Ending.INTERNAL_ERROR
        )  # fmt: skip

    @property
    def is_judged(self) -> bool:
        """There is something to score: the policy was heard, and its request was not refused."""
        return not self.is_infrastructure and self is not Ending.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One question with its gold answer."""

    problem_id: str
    """Stable: the publisher's id where there is one, else a hash of source and question."""
    source: str
    """Where it came from, e.g. ``gsm8k`` or ``pocket:test``."""
    question: str
    answer: str
    """The gold answer as published, without the surrounding solution."""
    difficulty: str | None = None
    """The publisher's own scale, e.g. ``Level 3``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A failed try at a step that self-correction replaced (method A20)."""

    thought: str
    action: str
    observation: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One (thought, action, observation) of a trajectory; the last step has no action (eq. 1)."""

    thought: str
    """Reasoning as the trajectory continues from it: the critic's wording where it rewrote."""
    action: str | None = None
    """The Python that was run, without its fences."""
    observation: str | None = None
    """What the policy was shown of the execution, without its fences."""
    outcome: Outcome | None = None
    draft: str | None = None
    """The actor's own words for the whole step, when the critic rewrote them.

    In reasoning mode the drafts of a trajectory, if it has any, are all that the actor said."""
    attempts: tuple[Attempt, ...] = ()
    policy_tokens: int = 0
    """Tokens of thought and action in this step, those the loss may count."""
    llm_seconds: float = 0.0
    sandbox_seconds: float = 0.0


UNVERIFIABLE = "unverifiable"
"""The method of a verdict on an answer whose gold answer no method can be applied to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Is the final answer right, by which method, and why so."""

    correct: bool
    method: str
    reason: str
    gold_value: str | None = None
    """What the gold answer was read as, with its type; None where it was not read, and in rows
    of earlier versions."""
    answer_value: str | None = None

    @property
    def is_decided(self) -> bool:
        """Something was found out; False where the gold answer itself cannot be verified."""
        return self.method != UNVERIFIABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a language model said of a final answer that the rules called wrong (method A23)."""

    judge_correct: bool
    judge_model: str
    judge_reason: str
    """Its own words."""


BASELINE_RULE = "program"
"""The filter rule that sets baselines aside: samples without tools, made to measure the problems of
a generation. They are in no yield, accuracy or list unless asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterVerdict:
    """What one named filter rule said of a trajectory."""

    rule: str
    kept: bool
    reason: str = ""
    """Why it was dropped; empty when kept."""


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
    """What the trajectory cost: tokens and seconds, calls that failed included."""

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
    """The trajectory as the engine saw it, recorded as it was produced, never rebuilt from text.

    The three lists have one length: prompt first, then thoughts, actions and observations in order.
    Empty for engines that return no token ids.
    """

    token_ids: tuple[int, ...] = ()
    loss_mask: tuple[bool, ...] = ()
    """True where a policy (actor or critic) wrote the token; false for prompt and observations."""
    logprobs: tuple[float | None, ...] = ()
    """Sampler log-probability where the actor sampled the token, else null."""
    prompt_length: int = 0
    """How many leading tokens are the prompt, so that it can be exchanged (method A27)."""

    def __post_init__(self) -> None:
        lengths = {len(self.token_ids), len(self.loss_mask), len(self.logprobs)}
        if len(lengths) != 1:
            raise ValueError(f"token stream lists differ in length: {sorted(lengths)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One attempt at one problem, whatever became of it."""

    trajectory_id: str
    dataset: str
    program: Program
    attempt: int
    problem: Problem
    steps: tuple[Step, ...]
    final_answer: str | None
    ending: Ending
    error: str | None = None
    """What broke, in one sentence, for endings that are failures."""
    verdict: Verdict | None
    """None when the trajectory was never judged because the machinery broke; at step level
    always, where the reward is that the code ran."""
    opinion: Opinion | None = None
    """The second opinion of a language model, where an evaluation asked for one."""
    filters: tuple[FilterVerdict, ...] = ()
    provenance: Provenance
    cost: Cost = field(default_factory=Cost)
    tokens: TokenStream = field(default_factory=TokenStream)
    level: Level = Level.TRAJECTORY
    group_id: str | None = None
    """Which samples are compared with one another: the problem, or a step-level prefix, named
    ``<trajectory_id>/<step>`` after the failed step it was cut from, steps counted from 1."""
    created_at: float
    """Seconds since the epoch, UTC."""
    schema_version: int = SCHEMA_VERSION

    @property
    def key(self) -> tuple[str, str, int]:
        """(problem, program, attempt): what a resumed run must not produce twice.

        At step level the group takes the problem's place: a problem may have several prefixes.
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
        """Judged, but its problem's gold answer is nothing to judge by: neither right nor wrong."""
        return self.verdict is not None and not self.verdict.is_decided

    @property
    def reward(self) -> float | None:
        """1 or 0: the answer is right, or at step level the code ran (method E4, E7).

        None where the machinery broke or the gold answer cannot be verified, which is nobody's
        failure.
        """
        if not self.ending.is_judged or self.is_unverifiable:
            return None
        if self.level is Level.STEP:
            return float(bool(self.calls) and self.calls[-1].outcome is Outcome.OK)
        return float(self.correct)

    @property
    def is_baseline(self) -> bool:
        """Made to measure its problem, not to be kept."""
        return any(one.rule == BASELINE_RULE and not one.kept for one in self.filters)

    @property
    def kept(self) -> bool:
        """Every filter rule kept it."""
        return all(verdict.kept for verdict in self.filters)


def trajectory_id(dataset: str, config_hash: str, key: tuple[str, str, int]) -> str:
    """The deterministic id of an attempt: the same command names the same rows again."""
    text = "\x1f".join((dataset, config_hash, *map(str, key)))
    return "t" + hashlib.sha256(text.encode()).hexdigest()[:19]
