"""A policy that writes its own programs, with self-correction from tool feedback (method A20).

When an action fails, the thought before it is split once, `r = r_pre (+) r_suf` with
`|r_suf| = min(L_suf, |r|)` tokens, and suffix and action are said anew from that one anchor, up to
`N_corr` times. Retries spend no tool round, but their tokens count (method A20). After the last
retry the last failure stands, with its observation, and the policy goes on.

Programs beyond the tool budget are not run, and the policy is told so where their output would
stand (method A24): it never gets to write that output itself.

Not covered: step-level branches, which are in `tirgen.tir.branch`, and groups.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.records import Attempt, Ending
from tirgen.engine.errors import ContextOverflow
from tirgen.sandbox.contract import Execution
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.core import Loop, OffFormat, Sampler, run_code
from tirgen.tir.markup import CODE_STOP, action_start, closed_code, invents_output, render_output
from tirgen.tir.observation import observe
from tirgen.tir.programs import Bounds
from tirgen.tir.refine import ToolPolicy

NO_MORE_PROGRAMS = "[not run: no more programs may be run; go on without them]"
"""What stands in place of an output once the tool budget is spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """How failed actions are repaired."""

    suffix_tokens: int = 100
    """L_suf: 100 without thinking, 500 with (method A28)."""
    attempts: int = 4
    """N_corr, per step."""


@dataclass(frozen=True, slots=True)
class Said:
    """A step as far as the policy said it: up to a program, or to an ending without one."""

    text: str
    code: str | None
    """The program to run, be it empty; None where the step has none."""
    seconds: float
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
    """Reason and run programs until the policy ends its turn or a bound is reached."""
    transcript = builder.transcript
    while True:
        start = transcript.length()
        said, execution = yield from _step(builder, policy, bounds, tools, correction)
        builder.add_thought(
            said.text[: said.thought_length],
            tokens=transcript.policy_tokens(start),
            seconds=said.seconds,
        )
        if said.code is None or execution is None:
            return closed(said)
        observation = observe(execution, tools.limits, tools.observation_characters)
        builder.add_action(said.code, observation, execution.outcome, execution.wall_ms / 1000)
        transcript.inject(render_output(observation, after=said.text))
        if tools.stop_at_failure and not execution.outcome.passed:
            return Ending.EXECUTION_FAILED


def closed(said: Said) -> Ending:
    """How a trajectory ends that ends with this step.

    Raises `OffFormat` where the policy played the executor.
    """
    if said.ending is Ending.OFF_FORMAT:
        raise OffFormat("the policy wrote the output of a program itself")
    return said.ending


def speak(builder: TrajectoryBuilder, policy: Sampler, bounds: Bounds, said: str) -> Loop[Said]:
    """Let the policy go on from `said` until a program closes or nothing more comes.

    Raises `ContextOverflow` where it can say nothing at all.
    """
    transcript, seconds = builder.transcript, 0.0
    heard = 0  # where its words begin since it was last told something
    while True:
        room = bounds.tokens - transcript.reply_tokens
        if room <= 0:
            return Said(said, None, seconds, Ending.TOKEN_LIMIT)
        try:
            completion = yield from policy.sample(
                transcript.prompt(), stop=CODE_STOP, max_tokens=room
            )
        except ContextOverflow:
            if not said:
                raise
            return Said(said, None, seconds, Ending.TOKEN_LIMIT)
        transcript.add_sampled(completion)
        said, seconds = said + completion.text, seconds + completion.seconds
        code = closed_code(said)
        if invents_output(said[heard:]):
            return Said(said, None, seconds, Ending.OFF_FORMAT)
        if code is not None and builder.calls < bounds.tool_rounds:
            return Said(said, code, seconds)
        if completion.ended_turn:
            return Said(said, None, seconds)
        if code is not None:
            refusal = render_output(NO_MORE_PROGRAMS, after=said)
            transcript.inject(refusal)
            said += refusal
            heard = len(said)


def _step(
    builder: TrajectoryBuilder,
    policy: Sampler,
    bounds: Bounds,
    tools: ToolPolicy,
    correction: Correction | None,
) -> Loop[tuple[Said, Execution | None]]:
    """One step with its repairs; no execution where the step ran no program."""
    transcript = builder.transcript
    start, before = transcript.length(), transcript.text
    said = yield from speak(builder, policy, bounds, "")
    retries = correction.attempts if correction else 0
    anchor: int | None = None
    while True:
        if said.code is None:
            return said, None
        execution = yield from run_code(said.code)
        if execution.outcome.passed or correction is None or not retries:
            return said, execution
        retries -= 1
        builder.add_failed_try(_attempt(said, said.code, execution, tools))
        if anchor is None:
            anchor = transcript.anchor(start, said.thought_length, correction.suffix_tokens)
        transcript.cut(anchor, start, before)
        said = yield from speak(builder, policy, bounds, transcript.text[len(before) :])


def _attempt(said: Said, code: str, execution: Execution, tools: ToolPolicy) -> Attempt:
    return Attempt(
        thought=said.text[: said.thought_length].strip(),
        action=code,
        observation=observe(execution, tools.limits, tools.observation_characters),
        outcome=execution.outcome,
    )
