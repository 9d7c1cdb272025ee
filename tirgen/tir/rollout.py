"""A policy that writes its own programs, with self-correction from tool feedback (spec §6.1).

When an action fails, the thought before it is split once, `r = r_pre (+) r_suf` with
`|r_suf| = min(L_suf, |r|)` tokens, and suffix and action are said anew from that one anchor, up to
`N_corr` times. Retries spend no tool round, but their tokens count (A20); when they are used up
the last failure stands, with its observation, and the policy goes on.

Not covered: step-level branches and groups, which start from the same anchor.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.records import Attempt, Ending
from tirgen.sandbox.contract import Execution
from tirgen.tir.core import Loop, OffFormat, Voice, run_code
from tirgen.tir.markup import CODE_STOP, action_start, closed_code, invents_output, render_output
from tirgen.tir.observation import observe
from tirgen.tir.programs import Bounds
from tirgen.tir.refine import ToolPolicy
from tirgen.tir.story import Story


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """How failed actions are repaired."""

    suffix_tokens: int = 100
    """L_suf: 100 without thinking, 500 with (spec §5.3)."""
    attempts: int = 4
    """N_corr, per step."""


@dataclass(frozen=True, slots=True)
class _Said:
    """A step as far as the policy said it: up to a program, or to an ending without one."""

    text: str
    code: str
    """Empty where the step ran no program."""
    seconds: float
    ending: Ending = Ending.FINISHED

    @property
    def thought_length(self) -> int:
        """Characters of `text` before the program."""
        return action_start(self.text) if self.code else len(self.text)


def rollout(
    story: Story,
    policy: Voice,
    bounds: Bounds,
    tools: ToolPolicy,
    correction: Correction | None = None,
) -> Loop[Ending]:
    """Reason and run programs until the policy ends its turn or a bound is reached."""
    transcript = story.transcript
    while True:
        start = transcript.length()
        said, execution, failed = yield from _step(story, policy, bounds, tools, correction)
        story.think(
            said.text[: said.thought_length],
            tokens=transcript.length() - start,
            seconds=said.seconds,
        )
        if execution is None:
            return said.ending
        observation = observe(execution, tools.limits, tools.observation_characters)
        story.act(said.code, observation, execution.outcome, execution.wall_ms / 1000, failed)
        transcript.inject(render_output(observation, after=said.text))
        if tools.stop_at_failure and not execution.outcome.passed:
            return Ending.EXECUTION_FAILED


def _step(
    story: Story, policy: Voice, bounds: Bounds, tools: ToolPolicy, correction: Correction | None
) -> Loop[tuple[_Said, Execution | None, tuple[Attempt, ...]]]:
    """One step with its repairs; no execution where the step ran no program."""
    transcript = story.transcript
    start, before = transcript.length(), transcript.text
    said = yield from _speak(story, policy, bounds, "")
    failed: list[Attempt] = []
    anchor: int | None = None
    while True:
        if not said.code:
            return said, None, tuple(failed)
        execution = yield from run_code(said.code)
        budget = correction.attempts if correction else 0
        if execution.outcome.passed or correction is None or len(failed) == budget:
            return said, execution, tuple(failed)
        failed.append(_attempt(said, execution, tools))
        if anchor is None:
            anchor = transcript.anchor(start, said.thought_length, correction.suffix_tokens)
        transcript.cut(anchor, start, before)
        said = yield from _speak(story, policy, bounds, transcript.text[len(before) :])


def _speak(story: Story, policy: Voice, bounds: Bounds, said: str) -> Loop[_Said]:
    """Let the policy go on from `said` until a program closes or nothing more comes."""
    seconds = 0.0
    stop = CODE_STOP if story.calls < bounds.tool_rounds else ()
    while True:
        room = bounds.tokens - story.transcript.reply_tokens
        if room <= 0:
            return _Said(said, "", seconds, Ending.TOKEN_LIMIT)
        completion = yield from policy.speak(story.transcript.prompt(), stop=stop, max_tokens=room)
        story.transcript.add_sampled(completion)
        said, seconds = said + completion.text, seconds + completion.seconds
        code = closed_code(said) if stop else None
        if code:
            return _Said(said, code, seconds)
        if invents_output(said):
            raise OffFormat("the policy wrote the output of a program itself")
        if completion.ended_turn:
            return _Said(said, "", seconds)


def _attempt(said: _Said, execution: Execution, tools: ToolPolicy) -> Attempt:
    return Attempt(
        thought=said.text[: said.thought_length].strip(),
        action=said.code,
        observation=observe(execution, tools.limits, tools.observation_characters),
        outcome=execution.outcome,
    )
