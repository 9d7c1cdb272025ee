"""TIRGen in reasoning mode: a long chain of thought, rewritten window by window (method A25).

    <think>  window  window  ...  </think>  answer
             kept, or replaced by the critic's words and programs

The actor thinks ahead by at most one window. The critic sees that window alone. If it writes a
program, its rewrite takes the window's place, whatever was drafted beyond the window is forgotten,
and the actor goes on from the rewrite; if not, the sampled tokens stand and so does the rest of the
draft. A window ends where a line ends; one with no line end yet grows until it has one.

Thinking ends when the actor closes it, or by the budget sentence, after which the actor answers
from the whole conversation, the question included (method D4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

from storage.records import Ending
from tirgen.engine.protocol import Finish
from tirgen.tir.core import Loop, OffFormat, Voice
from tirgen.tir.draft import Draft
from tirgen.tir.markup import THINK_CLOSE, THINK_OPEN, close_thinking, strip_blocks
from tirgen.tir.programs import Bounds, tell_actions
from tirgen.tir.refine import Refinement, ToolPolicy
from tirgen.tir.story import Story

Refiner = Callable[[str, int], Loop[Refinement]]
"""The critic: a window and how many programs it may have, to its rewrite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How a chain of thought is cut for the critic, and when it has to end."""

    tokens: int
    """Longest window, in tokens of the actor; longer only where no line ends within."""
    least: int
    """Shortest window but for the last; also by how much one without a line end grows."""
    budget: int
    """Thinking tokens, outputs included."""
    budget_sentence: str
    """What ends thinking that has used up its budget."""


class _Cause(Enum):
    """Why the actor thinks no further for now."""

    WINDOW_FULL = auto()
    THINKING_CLOSED = auto()
    BUDGET_SPENT = auto()
    TURN_ENDED = auto()
    CONTEXT_FULL = auto()


def reasoning(
    story: Story,
    actor: Voice,
    bounds: Bounds,
    windows: Windows,
    tools: ToolPolicy,
    refiner: Refiner | None = None,
) -> Loop[Ending]:
    """Think and answer; without a refiner, this is the baseline with tools off, in one window.

    `bounds.steps` counts windows.
    """
    if refiner is None:
        windows = replace(windows, tokens=windows.budget)
    assert actor.renderer is not None, "thinking is cut between tokens: the engine returns them"
    draft = Draft(actor.renderer)
    if not story.transcript.thinks:
        _mark(story, THINK_OPEN)
    opened = story.transcript.reply_tokens
    for _ in range(bounds.steps):
        spent = story.transcript.reply_tokens - opened
        room = min(windows.budget - spent, bounds.tokens - story.transcript.reply_tokens)
        cause, size = yield from _think_ahead(story, actor, windows, draft, max(room, 0))
        window = draft.take(size)
        if cause in (_Cause.TURN_ENDED, _Cause.CONTEXT_FULL):
            return _cut_off(story, window, cause)
        refinement = yield from _refine(story, window, bounds, refiner)
        if refinement.actions:
            draft = Draft(actor.renderer)
            _replace(story, window, refinement)
        else:
            _keep(story, window)
        if refinement.failed and tools.stop_at_failure:
            return Ending.EXECUTION_FAILED
        if cause is _Cause.WINDOW_FULL:
            continue
        if cause is _Cause.BUDGET_SPENT:
            _end_thinking(story, windows.budget_sentence)
        elif refinement.actions:
            _mark(story, THINK_CLOSE)
        return (yield from _answer(story, actor, bounds))
    return Ending.STEP_LIMIT


def _think_ahead(
    story: Story, actor: Voice, windows: Windows, draft: Draft, room: int
) -> Loop[tuple[_Cause, int]]:
    """Draft until there is a window: why thinking pauses, and how many tokens the window has."""
    most = min(windows.tokens, room)
    while True:
        missing = most - len(draft.ids)
        if missing > 0:
            completion = yield from actor.speak(
                draft.after(story.transcript.prompt()), stop=(THINK_CLOSE,), max_tokens=missing
            )
            draft.add(completion)
            # The mark may have begun in the call before, where no engine looks for it.
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


def _cut_off(story: Story, window: Draft, cause: _Cause) -> Ending:
    """Thinking that can come to no answer stands as it is. Raises `OffFormat`."""
    _keep(story, window)
    if cause is _Cause.TURN_ENDED:
        raise OffFormat("the actor ended its turn before it closed its thinking")
    return Ending.TOKEN_LIMIT


def _refine(
    story: Story, window: Draft, bounds: Bounds, refiner: Refiner | None
) -> Loop[Refinement]:
    """What the critic makes of a window; no actions where it is not asked, or writes no program."""
    text = window.text.partition(THINK_CLOSE)[0].strip()
    rounds = min(bounds.tool_rounds - story.calls, bounds.tool_rounds_per_step)
    if refiner is None or not text or rounds <= 0:
        return Refinement()
    return (yield from refiner(text, rounds))


def _keep(story: Story, window: Draft) -> None:
    """The window computes nothing: its tokens stand as they were sampled."""
    text = window.text
    if strip_blocks(text) != text:
        raise OffFormat("the actor wrote a fenced block of its own under the plain prompt")
    story.transcript.add_tokens(window.ids, window.logprobs, text)
    story.think(text, tokens=len(window.ids), seconds=window.seconds, draft=text)


def _replace(story: Story, window: Draft, refinement: Refinement) -> None:
    """The rewrite takes the window's place; only the end of its last line stays."""
    text = window.text.partition(THINK_CLOSE)[0]
    story.think("", tokens=0, seconds=window.seconds, draft=text)
    tell_actions(story, refinement.actions)
    tail = refinement.tail.rstrip()
    if tail:
        line_end = text[len(text.rstrip()) :] or "\n"
        tokens = story.transcript.add_written(tail + line_end)
        story.think(tail + line_end, tokens=tokens, seconds=refinement.tail_seconds, draft="")


def _mark(story: Story, text: str) -> None:
    """What the policy would have opened or closed its thinking with."""
    tokens = story.transcript.add_mark(text, is_policy=True)
    story.think(text, tokens=tokens, seconds=0.0, draft=text)


def _end_thinking(story: Story, sentence: str) -> None:
    """Words that nobody's policy said: they are not learned from."""
    line_end = "" if story.transcript.text.endswith("\n") else "\n"
    text = line_end + close_thinking(sentence)
    story.transcript.add_mark(text, is_policy=False)
    story.think(text, tokens=0, seconds=0.0, draft=text)


def _answer(story: Story, actor: Voice, bounds: Bounds) -> Loop[Ending]:
    """What the actor says after its thinking, with tools off."""
    room = bounds.tokens - story.transcript.reply_tokens
    if room <= 0:
        return Ending.TOKEN_LIMIT
    completion = yield from actor.speak(story.transcript.prompt(), max_tokens=room)
    assert actor.renderer is not None
    answer = Draft(actor.renderer)
    answer.add(completion)
    _keep(story, answer)
    return Ending.FINISHED if completion.ended_turn else Ending.TOKEN_LIMIT
