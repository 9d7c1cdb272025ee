"""The critic's part of TIRGen: judge, extract and convert one isolated step (method A11).

One conversation does all three: the critic rewrites the step, each of its programs is run as soon
as its block closes, and the critic continues from the real output. A step is "code-solvable" if the
critic wrote a program. The critic never sees the question, the answer or another step.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from storage.records import Outcome
from tirgen.sandbox.contract import Limits
from tirgen.tir.core import Loop, OffFormat, Sampler, run_code
from tirgen.tir.markup import (
    CODE_STOP,
    action_start,
    closed_code,
    invents_output,
    render_output,
    strip_blocks,
)
from tirgen.tir.observation import observe
from tirgen.tir.prompts import PromptSet
from tirgen.tir.transcript import Transcript

OUTPUT_FENCE = "```output"
"""A block that the critic may already have opened when it was stopped."""
CODE_FENCE = "```python"
"""Stops a critic that may run no more programs; it only finishes its text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One program of the rewritten step, and its result."""

    written: str
    """The critic's text up to and including the closing fence, as the trajectory repeats it."""
    thought: str
    code: str
    observation: str
    outcome: Outcome
    llm_seconds: float
    sandbox_seconds: float


@dataclass(slots=True)
class Refinement:
    """A rewritten step: its actions in order, then the text after the last output."""

    actions: list[Action] = field(default_factory=list)
    tail: str = ""
    tail_seconds: float = 0.0

    @property
    def failed(self) -> bool:
        return any(action.outcome is not Outcome.OK for action in self.actions)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPolicy:
    """How programs are run and shown within one trajectory."""

    limits: Limits
    observation_characters: int
    stop_at_failure: bool


def refine(
    critic: Sampler, prompts: PromptSet, step: str, rounds: int, tools: ToolPolicy
) -> Loop[Refinement]:
    """Rewrite one step with at most `rounds` programs; another one ends the rewrite (method A24).

    Raises `OffFormat` when the critic leaves a block open, or writes an output block itself.
    """
    refinement = Refinement()
    reply = Transcript(prompts.for_critic(step), critic.renderer)
    said, seconds = "", 0.0
    while True:
        room = critic.sampling.max_tokens - reply.reply_tokens
        if room <= 0:
            refinement.tail, refinement.tail_seconds = _words(said), seconds
            return refinement
        spent = len(refinement.actions) == rounds
        stop = (CODE_FENCE, OUTPUT_FENCE) if spent else CODE_STOP
        completion = yield from critic.sample(reply.prompt(), stop=stop, max_tokens=room)
        reply.add_sampled(completion)
        said, seconds = said + completion.text, seconds + completion.seconds
        if spent:
            said = said.removesuffix(CODE_FENCE)
        code = None if spent else closed_code(said)
        if code is not None:
            action = yield from _act(said, code, seconds, tools)
            refinement.actions.append(action)
            give_up = tools.stop_at_failure and action.outcome is not Outcome.OK
            if give_up or completion.ended_turn:
                return refinement
            reply.inject(render_output(action.observation, after=said))
            said, seconds = "", 0.0
        elif spent or completion.stop_reason is None or invents_output(said):
            refinement.tail, refinement.tail_seconds = _words(said), seconds
            return refinement


def _act(said: str, code: str, seconds: float, tools: ToolPolicy) -> Loop[Action]:
    thought = _words(said[: action_start(said)])
    execution = yield from run_code(code)
    written = said.removesuffix(OUTPUT_FENCE)
    return Action(
        written=written if written.endswith("\n") else written + "\n",
        thought=thought.strip(),
        code=code,
        observation=observe(execution, tools.limits, tools.observation_characters),
        outcome=execution.outcome,
        llm_seconds=seconds,
        sandbox_seconds=execution.wall_ms / 1000,
    )


def _words(said: str) -> str:
    if strip_blocks(said) != said:
        raise OffFormat("the critic left a block open or wrote an output block itself")
    return said
