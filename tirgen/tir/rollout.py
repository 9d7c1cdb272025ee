"""A policy that writes its own programs, with self-correction from tool feedback (method A20).

When an action fails, the thought before it is split once, `r = r_pre (+) r_suf` with
`|r_suf| = min(L_suf, |r|)` tokens. Suffix and action are sampled again from that place, up to
`N_corr` times. Retries use no tool round, but their tokens count (method A20). After the last retry
the last failure stays, with its observation, and the policy continues.

Programs beyond the tool budget are not run. The policy reads that in place of their output (method
A24), so it never writes the output itself.

Not covered: step-level branches, which are in `tirgen.tir.branch`, and groups.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.records import Attempt, Ending
from tirgen.engine.errors import ContextOverflow
from tirgen.sandbox.contract import Execution
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.core import Loop, OffFormat, Sampler, run_code
from tirgen.tir.markup import (
    CODE_STOP,
    THINK_CLOSE,
    THINK_OPEN,
    action_start,
    closed_code,
    invents_output,
    render_output,
)
from tirgen.tir.observation import observe
from tirgen.tir.programs import Bounds
from tirgen.tir.refine import ToolPolicy
from tirgen.tir.transcript import Transcript

NO_MORE_PROGRAMS = "[not run: no more programs may be run; go on without them]"
"""Replaces the output once the tool budget is spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """How failed actions are repaired."""

    suffix_tokens: int = 100
    """L_suf: 100 without thinking, 500 with (method A28)."""
    attempts: int = 4
    """N_corr, most retries per step."""


@dataclass(frozen=True, slots=True)
class PolicyStep:
    """The policy's text of one step: up to a program, or to an ending without a program."""

    text: str
    code: str | None
    """The program to run, possibly empty; None where the step has none."""
    seconds: float
    """How long the sampling took."""
    ending: Ending = Ending.FINISHED

    @property
    def thought_length(self) -> int:
        """Characters of `text` before the program."""
        return len(self.text) if self.code is None else action_start(self.text)


def rollout(
    builder: TrajectoryBuilder,
    policy: Sampler,
    bounds: Bounds,
    tools: ToolPolicy,
    correction: Correction | None = None,
) -> Loop[Ending]:
    """Sample steps and run their programs until the policy ends its turn or reaches a bound."""
    transcript = builder.transcript
    while True:
        start = transcript.length()
        step, execution = yield from _step(builder, policy, bounds, tools, correction)
        builder.add_thought(
            step.text[: step.thought_length],
            tokens=transcript.policy_tokens(start),
            seconds=step.seconds,
        )
        if step.code is None or execution is None:
            return last_ending(step)
        observation = observe(execution, tools.limits, tools.observation_characters)
        builder.add_action(step.code, observation, execution.outcome, execution.wall_ms / 1000)
        transcript.inject(render_output(observation, after=step.text))
        if tools.stop_at_failure and not execution.outcome.passed:
            return Ending.EXECUTION_FAILED


def last_ending(step: PolicyStep) -> Ending:
    """The ending of a trajectory whose last step this is.

    Raises `OffFormat` where the policy wrote an output block.
    """
    if step.ending is Ending.OFF_FORMAT:
        raise OffFormat("the policy wrote the output of a program itself")
    return step.ending


def write_step(
    builder: TrajectoryBuilder, policy: Sampler, bounds: Bounds, text: str
) -> Loop[PolicyStep]:
    """Let the policy continue after `text` until a program closes or the text ends.

    Raises `ContextOverflow` where the context has no room for any text.
    """
    transcript, seconds = builder.transcript, 0.0
    own = 0  # where the text begins that the policy wrote after the last injected text
    while True:
        if _thinking_room(transcript, bounds) <= 0:
            text += transcript.end_thinking(bounds.budget_sentence)
            own = len(text)
        room = min(_room(transcript, bounds), _thinking_room(transcript, bounds))
        if room <= 0:
            return PolicyStep(text, None, seconds, Ending.TOKEN_LIMIT)
        try:
            completion = yield from policy.sample(
                transcript.prompt(), stop=CODE_STOP, max_tokens=room
            )
        except ContextOverflow:
            if not text:
                raise
            return PolicyStep(text, None, seconds, Ending.TOKEN_LIMIT)
        transcript.add_sampled(completion)
        text, seconds = text + completion.text, seconds + completion.seconds
        code = closed_code(text)
        if invents_output(text[own:]):
            return PolicyStep(text, None, seconds, Ending.OFF_FORMAT)
        if code is not None and builder.calls < bounds.tool_rounds:
            return PolicyStep(text, code, seconds)
        if completion.ended_turn:
            return PolicyStep(text, None, seconds)
        if code is not None:
            refusal = render_output(NO_MORE_PROGRAMS, after=text)
            transcript.inject(refusal)
            text += refusal
            own = len(text)


def _room(transcript: Transcript, bounds: Bounds) -> int:
    """Tokens that the policy may still write."""
    return bounds.tokens - transcript.reply_tokens


def _thinking_room(transcript: Transcript, bounds: Bounds) -> int:
    """The same before its thinking must end; 1 at least where it does not think."""
    reply = transcript.text.lstrip()
    opened = transcript.thinks or not reply or reply.startswith(THINK_OPEN.strip())
    if bounds.thinking_tokens is None or not opened or THINK_CLOSE in transcript.text:
        return max(1, _room(transcript, bounds))
    return bounds.thinking_tokens - transcript.reply_tokens


def _step(
    builder: TrajectoryBuilder,
    policy: Sampler,
    bounds: Bounds,
    tools: ToolPolicy,
    correction: Correction | None,
) -> Loop[tuple[PolicyStep, Execution | None]]:
    """Write one step, with its retries; None for the execution where no program was run."""
    transcript = builder.transcript
    start, before = transcript.length(), transcript.text
    step = yield from write_step(builder, policy, bounds, "")
    retries = correction.attempts if correction else 0
    anchor: int | None = None
    while True:
        if step.code is None:
            return step, None
        execution = yield from run_code(step.code)
        if execution.outcome.passed or correction is None or not retries:
            return step, execution
        retries -= 1
        builder.add_failed_try(_attempt(step, step.code, execution, tools))
        if anchor is None:
            anchor = transcript.anchor(start, step.thought_length, correction.suffix_tokens)
        transcript.cut(anchor, start, before)
        step = yield from write_step(builder, policy, bounds, transcript.text[len(before) :])


def _attempt(step: PolicyStep, code: str, execution: Execution, tools: ToolPolicy) -> Attempt:
    return Attempt(
        thought=step.text[: step.thought_length].strip(),
        action=code,
        observation=observe(execution, tools.limits, tools.observation_characters),
        outcome=execution.outcome,
    )
