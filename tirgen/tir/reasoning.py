"""TIRGen in reasoning mode: a long chain of thought, rewritten window by window (method A25).

    <think>  window  window  ...  </think>  answer
             kept, or replaced by the critic's words and programs

The actor thinks ahead by at most one window. The critic sees only that window. If it writes a
program, its rewrite replaces the window, the rest of the draft is discarded, and the actor
continues from the rewrite. If not, the sampled tokens stay, and so does the rest of the draft. A
window ends where a line ends; a window without a line end grows until it has one.

Thinking ends when the actor closes it, or with the budget sentence. The actor then answers from the
whole conversation, the question included (method D4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

from storage.records import Ending
from tirgen.engine.protocol import Finish
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.core import Loop, OffFormat, Sampler
from tirgen.tir.draft import Draft
from tirgen.tir.markup import THINK_CLOSE, THINK_OPEN, strip_blocks
from tirgen.tir.programs import Bounds, add_actions
from tirgen.tir.refine import Refinement, ToolPolicy

Refiner = Callable[[str, int], Loop[Refinement]]
"""The critic: from a window and its number of programs to the rewrite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How a chain of thought is cut for the critic, and when it has to end."""

    tokens: int
    """Longest window, in tokens of the actor; longer only if no line ends within."""
    least: int
    """Shortest window, except the last; also the step by which a window without line end grows."""
    budget: int
    """Thinking tokens, outputs included."""
    budget_sentence: str
    """Ends thinking that has used up its budget."""


class _Cause(Enum):
    """Why the actor pauses its thinking."""

    WINDOW_FULL = auto()
    THINKING_CLOSED = auto()
    BUDGET_SPENT = auto()
    TURN_ENDED = auto()
    CONTEXT_FULL = auto()


def reasoning(
    builder: TrajectoryBuilder,
    actor: Sampler,
    bounds: Bounds,
    windows: Windows,
    tools: ToolPolicy,
    refiner: Refiner | None = None,
) -> Loop[Ending]:
    """Think and answer. Without a refiner this is the baseline with tools off, in one window.

    `bounds.steps` counts windows.
    """
    if refiner is None:
        windows = replace(windows, tokens=windows.budget)
    assert actor.renderer is not None, "thinking is cut between tokens: the engine returns them"
    draft = Draft(actor.renderer)
    if not builder.transcript.thinks:
        _mark(builder, THINK_OPEN)
    opened = builder.transcript.reply_tokens
    for _ in range(bounds.steps):
        spent = builder.transcript.reply_tokens - opened
        room = min(windows.budget - spent, bounds.tokens - builder.transcript.reply_tokens)
        cause, size = yield from _think_ahead(builder, actor, windows, draft, max(room, 0))
        window = draft.take(size)
        if cause in (_Cause.TURN_ENDED, _Cause.CONTEXT_FULL):
            return _cut_off(builder, window, cause)
        refinement = yield from _refine(builder, window, bounds, refiner)
        if refinement.actions:
            draft = Draft(actor.renderer)
            _replace(builder, window, refinement)
        else:
            _keep(builder, window)
        if refinement.failed and tools.stop_at_failure:
            return Ending.EXECUTION_FAILED
        if cause is _Cause.WINDOW_FULL:
            continue
        if cause is _Cause.BUDGET_SPENT:
            closing = builder.transcript.end_thinking(windows.budget_sentence)
            builder.add_thought(closing, tokens=0, seconds=0.0, draft=closing)
        elif refinement.actions:
            _mark(builder, THINK_CLOSE)
        return (yield from _answer(builder, actor, bounds))
    return Ending.STEP_LIMIT


def _think_ahead(
    builder: TrajectoryBuilder, actor: Sampler, windows: Windows, draft: Draft, room: int
) -> Loop[tuple[_Cause, int]]:
    """Draft until a window is full: why thinking pauses, and the window's number of tokens."""
    most = min(windows.tokens, room)
    while True:
        missing = most - len(draft.ids)
        if missing > 0:
            completion = yield from actor.sample(
                draft.after(builder.transcript.prompt()), stop=(THINK_CLOSE,), max_tokens=missing
            )
            draft.add(completion)
            # The mark may have begun in an earlier call, where no engine looks for it.
            if THINK_CLOSE in draft.text:
                return _Cause.THINKING_CLOSED, draft.size_through(THINK_CLOSE)
            if completion.ended_turn:
                return _Cause.TURN_ENDED, len(draft.ids)
            if completion.finish is Finish.LENGTH and completion.completion_tokens < missing:
                return _Cause.CONTEXT_FULL, len(draft.ids)
        if most >= room:
            return _Cause.BUDGET_SPENT, draft.whole_lines(1, most) or len(draft.ids)
        if size := draft.whole_lines(windows.least, most):
            return _Cause.WINDOW_FULL, size
        most = min(most + windows.least, room)


def _cut_off(builder: TrajectoryBuilder, window: Draft, cause: _Cause) -> Ending:
    """Keep thinking that cannot lead to an answer. Raises `OffFormat`."""
    _keep(builder, window)
    if cause is _Cause.TURN_ENDED:
        raise OffFormat("the actor ended its turn before it closed its thinking")
    return Ending.TOKEN_LIMIT


def _refine(
    builder: TrajectoryBuilder, window: Draft, bounds: Bounds, refiner: Refiner | None
) -> Loop[Refinement]:
    """The critic's rewrite of a window; without actions if it is not asked or writes no program."""
    text = window.text.partition(THINK_CLOSE)[0].strip()
    rounds = min(bounds.tool_rounds - builder.calls, bounds.tool_rounds_per_step)
    if refiner is None or not text or rounds <= 0:
        return Refinement()
    return (yield from refiner(text, rounds))


def _keep(builder: TrajectoryBuilder, window: Draft) -> None:
    """Keep the window's tokens as they were sampled: it computes nothing."""
    text = window.text
    if strip_blocks(text) != text:
        raise OffFormat("the actor wrote a fenced block of its own under the plain prompt")
    builder.transcript.add_tokens(window.ids, window.logprobs, text)
    builder.add_thought(text, tokens=len(window.ids), seconds=window.seconds, draft=text)


def _replace(builder: TrajectoryBuilder, window: Draft, refinement: Refinement) -> None:
    """Replace the window by the rewrite; only the end of its last line stays."""
    text = window.text.partition(THINK_CLOSE)[0]
    builder.add_thought("", tokens=0, seconds=window.seconds, draft=text)
    add_actions(builder, refinement.actions)
    tail = refinement.tail.rstrip()
    if tail:
        line_end = text[len(text.rstrip()) :] or "\n"
        tokens = builder.transcript.add_written(tail + line_end)
        builder.add_thought(
            tail + line_end, tokens=tokens, seconds=refinement.tail_seconds, draft=""
        )


def _mark(builder: TrajectoryBuilder, text: str) -> None:
    """Add the text that opens or closes the policy's thinking."""
    tokens = builder.transcript.add_mark(text, is_policy=True)
    builder.add_thought(text, tokens=tokens, seconds=0.0, draft=text)


def _answer(builder: TrajectoryBuilder, actor: Sampler, bounds: Bounds) -> Loop[Ending]:
    """Let the actor answer after its thinking, with tools off."""
    room = bounds.tokens - builder.transcript.reply_tokens
    if room <= 0:
        return Ending.TOKEN_LIMIT
    completion = yield from actor.sample(builder.transcript.prompt(), max_tokens=room)
    assert actor.renderer is not None
    answer = Draft(actor.renderer)
    answer.add(completion)
    _keep(builder, answer)
    return Ending.FINISHED if completion.ended_turn else Ending.TOKEN_LIMIT
