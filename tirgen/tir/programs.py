"""The programs over the loop: TIRGen (method A11) and the chain-of-thought baseline (method A8).

TIRGen, as the paper states it:

    tau = (q)
    while not solved(tau):
        r ~ actor(. | tau), length <= L_step
        if code_solvable(r):                      # the critic judges, extracts, converts
            tau += (r_logic, a, o)                # replaces the computed part of r
        else:
            tau += r                              # the actor's own tokens, untouched
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.records import Ending
from tirgen.engine.protocol import Completion, Finish
from tirgen.tir.core import Loop, OffFormat, Voice
from tirgen.tir.markup import render_output, strip_blocks
from tirgen.tir.prompts import PromptSet
from tirgen.tir.refine import Action, Refinement, ToolPolicy, refine
from tirgen.tir.story import Story


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far one trajectory may go; reaching a bound is a typed ending."""

    step_tokens: int
    """L_step: the longest actor step."""
    step_delimiter: str
    """What ends an actor step before that; empty for the bare length rule of the paper."""
    steps: int
    tokens: int
    """Tokens of the whole reply, observations included."""
    tool_rounds: int
    """Programs per trajectory; afterwards the critic is no longer asked (method A24)."""
    tool_rounds_per_step: int


def tirgen(
    story: Story,
    actor: Voice,
    critic: Voice,
    prompts: PromptSet,
    bounds: Bounds,
    tools: ToolPolicy,
) -> Loop[Ending]:
    """Alternate actor steps and their refinement until the actor has boxed an answer."""
    stop = (bounds.step_delimiter,) if bounds.step_delimiter else ()
    for _ in range(bounds.steps):
        room = bounds.tokens - story.transcript.reply_tokens
        if room <= 0:
            return Ending.TOKEN_LIMIT
        draft = yield from actor.speak(
            story.transcript.prompt(), stop=stop, max_tokens=min(bounds.step_tokens, room)
        )
        rounds = min(bounds.tool_rounds - story.calls, bounds.tool_rounds_per_step)
        refinement = Refinement()
        if draft.text.strip() and rounds > 0:
            refinement = yield from refine(critic, prompts, draft.text.strip(), rounds, tools)
        if not refinement.actions:
            _keep(story, draft)
        else:
            _replace(story, draft, refinement)
            if refinement.failed and tools.stop_at_failure:
                return Ending.EXECUTION_FAILED
        if draft.ended_turn and _boxed(story, draft):
            return Ending.FINISHED
        if refinement.actions and draft.finish is Finish.STOP:
            _write(story, bounds.step_delimiter or "\n")
    return Ending.STEP_LIMIT


def chain_of_thought(story: Story, actor: Voice, bounds: Bounds) -> Loop[Ending]:
    """One answer with tools off: the baseline that tells what needs no tool."""
    completion = yield from actor.speak(story.transcript.prompt(), max_tokens=bounds.tokens)
    story.transcript.add_sampled(completion)
    story.think(completion.text, tokens=completion.completion_tokens, seconds=completion.seconds)
    return Ending.FINISHED if completion.ended_turn else Ending.TOKEN_LIMIT


def _keep(story: Story, draft: Completion) -> None:
    """The step computes nothing: the actor's own tokens stand."""
    if strip_blocks(draft.text) != draft.text:
        raise OffFormat("the actor wrote a fenced block of its own under the plain prompt")
    story.transcript.add_sampled(draft)
    story.think(draft.text, tokens=draft.completion_tokens, seconds=draft.seconds)


def _replace(story: Story, draft: Completion, refinement: Refinement) -> None:
    """The refined step takes the draft's place, each program followed by its real output."""
    transcript = story.transcript
    story.think("", tokens=0, seconds=draft.seconds, draft=draft.text.strip())
    tell_actions(story, refinement.actions)
    _write(story, refinement.tail.rstrip(), refinement.tail_seconds)
    if draft.ended_turn and _boxed(story, draft):
        transcript.end_turn_like(draft)


def tell_actions(story: Story, actions: Sequence[Action]) -> None:
    """The critic's programs, each with its words before it and its real output after it."""
    for action in actions:
        tokens = story.transcript.add_written(action.written)
        story.think(action.thought, tokens=tokens, seconds=action.llm_seconds)
        story.act(action.code, action.observation, action.outcome, action.sandbox_seconds)
        story.transcript.inject(render_output(action.observation))


def _write(story: Story, text: str, seconds: float = 0.0) -> None:
    """Words of the policy that the actor did not sample."""
    if text:
        story.think(text, tokens=story.transcript.add_written(text), seconds=seconds)


def _boxed(story: Story, draft: Completion) -> bool:
    """Method A12: what stands in the transcript still boxes an answer if the draft did.

    A rewrite can lose the box of the draft; then the actor is asked to go on instead.
    """
    return "\\boxed" in story.transcript.text or "\\boxed" not in draft.text
