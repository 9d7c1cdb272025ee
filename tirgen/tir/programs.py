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
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.core import Loop, OffFormat, Sampler
from tirgen.tir.markup import render_output, strip_blocks
from tirgen.tir.prompts import PromptSet
from tirgen.tir.refine import Action, Refinement, ToolPolicy, refine


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The bounds of one trajectory. Reaching a bound is a typed ending."""

    step_tokens: int
    """L_step: the longest actor step."""
    step_delimiter: str
    """Text that ends an actor step earlier; empty for the bare length rule of the paper."""
    steps: int
    tokens: int
    """Most tokens of the whole reply, observations included."""
    tool_rounds: int
    """Most programs per trajectory; after them the critic is no longer asked (method A24)."""
    tool_rounds_per_step: int
    thinking_tokens: int | None = None
    """Most tokens of the reply while its thinking is open, observations included; None for no
    budget of its own. Only of a policy that writes its own programs."""
    budget_sentence: str = ""
    """Ends thinking that has used up its budget."""


def tirgen(
    builder: TrajectoryBuilder,
    actor: Sampler,
    critic: Sampler,
    prompts: PromptSet,
    bounds: Bounds,
    tools: ToolPolicy,
) -> Loop[Ending]:
    """Alternate actor steps and their refinement until the actor has boxed an answer."""
    stop = (bounds.step_delimiter,) if bounds.step_delimiter else ()
    for _ in range(bounds.steps):
        room = bounds.tokens - builder.transcript.reply_tokens
        if room <= 0:
            return Ending.TOKEN_LIMIT
        draft = yield from actor.sample(
            builder.transcript.prompt(), stop=stop, max_tokens=min(bounds.step_tokens, room)
        )
        rounds = min(bounds.tool_rounds - builder.calls, bounds.tool_rounds_per_step)
        refinement = Refinement()
        if draft.text.strip() and rounds > 0:
            refinement = yield from refine(critic, prompts, draft.text.strip(), rounds, tools)
        if not refinement.actions:
            _keep(builder, draft)
        else:
            _replace(builder, draft, refinement)
            if refinement.failed and tools.stop_at_failure:
                return Ending.EXECUTION_FAILED
        if draft.ended_turn and _boxed(builder, draft):
            return Ending.FINISHED
        if refinement.actions and draft.finish is Finish.STOP:
            _write(builder, bounds.step_delimiter or "\n")
    return Ending.STEP_LIMIT


def chain_of_thought(builder: TrajectoryBuilder, actor: Sampler, bounds: Bounds) -> Loop[Ending]:
    """One answer with tools off: the baseline that shows which problems need no tool."""
    completion = yield from actor.sample(builder.transcript.prompt(), max_tokens=bounds.tokens)
    builder.transcript.add_sampled(completion)
    builder.add_thought(
        completion.text, tokens=completion.completion_tokens, seconds=completion.seconds
    )
    return Ending.FINISHED if completion.ended_turn else Ending.TOKEN_LIMIT


def _keep(builder: TrajectoryBuilder, draft: Completion) -> None:
    """Keep the actor's own tokens: the step computes nothing."""
    if strip_blocks(draft.text) != draft.text:
        raise OffFormat("the actor wrote a fenced block of its own under the plain prompt")
    builder.transcript.add_sampled(draft)
    builder.add_thought(draft.text, tokens=draft.completion_tokens, seconds=draft.seconds)


def _replace(builder: TrajectoryBuilder, draft: Completion, refinement: Refinement) -> None:
    """Replace the draft by the refined step; each program is followed by its real output."""
    transcript = builder.transcript
    builder.add_thought("", tokens=0, seconds=draft.seconds, draft=draft.text.strip())
    add_actions(builder, refinement.actions)
    _write(builder, refinement.tail.rstrip(), refinement.tail_seconds)
    if draft.ended_turn and _boxed(builder, draft):
        transcript.end_turn_like(draft)


def add_actions(builder: TrajectoryBuilder, actions: Sequence[Action]) -> None:
    """Add the critic's programs, each with the text before it and the real output after it."""
    for action in actions:
        tokens = builder.transcript.add_written(action.written)
        builder.add_thought(action.thought, tokens=tokens, seconds=action.llm_seconds)
        builder.add_action(action.code, action.observation, action.outcome, action.sandbox_seconds)
        builder.transcript.inject(render_output(action.observation))


def _write(builder: TrajectoryBuilder, text: str, seconds: float = 0.0) -> None:
    """Add text of the policy that the actor did not sample."""
    if text:
        builder.add_thought(text, tokens=builder.transcript.add_written(text), seconds=seconds)


def _boxed(builder: TrajectoryBuilder, draft: Completion) -> bool:
    """Whether the transcript still boxes an answer if the draft did (method A12).

    A rewrite can lose the box of the draft; then the actor is asked to continue instead.
    """
    return "\\boxed" in builder.transcript.text or "\\boxed" not in draft.text
