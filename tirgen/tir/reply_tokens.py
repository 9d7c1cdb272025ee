"""A recorded trajectory in the tokens of a policy, with a mask of the tokens to learn from.

    prompt │ lead, or start of thinking │ r a │ o │ r a │ o │ … │ r │ end of turn

The policy says thoughts (r) and actions (a); outputs (o) are shown to it. The record holds the
steps as text. Here they become tokens of any policy, together with the text that its chat template
adds to a turn. Text that the policy says between two outputs is tokenised as one, and so is each
output, so that no token crosses the boundary: a rollout has the same boundaries.

Not covered: attempts that self-correction replaced, since the policy does not continue from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from storage.records import Ending, Step, Trajectory
from tirgen.engine.renderer import HfRenderer, ReplyPart
from tirgen.engine.template import Turn
from tirgen.tir.markup import THINK_CLOSE, THINK_OPEN, render_step


class Unspellable(StrEnum):
    """Why a policy cannot say a trajectory."""

    UNSPELLABLE = "unspellable"
    """The policy's tokenizer cannot encode exactly this text."""
    THINKING_CLOSED = "thinking_closed"
    """The trajectory thinks, but the policy's prompt has already closed thinking."""
    BROKEN_FENCE = "broken_fence"
    """A program has a line of bare backticks, which would end its block."""


class ReplyTokens(NamedTuple):
    """A trajectory after its prompt, in the tokens of a policy."""

    token_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    """True for tokens that the policy says."""


class TurnPart(NamedTuple):
    """A part of a turn."""

    part: ReplyPart
    is_said: bool
    """Whether the policy says it; text of the executor or of a budget is shown to the policy."""


def reply_tokens(
    row: Trajectory, renderer: HfRenderer, budget_sentence: str
) -> ReplyTokens | Unspellable:
    """The reply of a trajectory in the policy's tokens; without its prompt.

    `budget_sentence` ended thinking that had used up its budget; it is not learned from. Raises
    EngineRefused where the policy's template refuses a question and its answer.
    """
    turn = renderer.turn
    try:
        pieces = list(_pieces(row, turn, budget_sentence))
    except ValueError:
        return Unspellable.BROKEN_FENCE
    if turn.before_thinking is None and _thinks(row.steps):
        return Unspellable.THINKING_CLOSED
    ids: list[int] = []
    mask: list[bool] = []
    for is_said, run in groupby(pieces, key=lambda piece: piece.is_said):
        parts = [piece.part for piece in run]
        spelled = renderer.encode_reply(parts)
        if spelled is None and is_said:
            return Unspellable.UNSPELLABLE
        # Shown text may be encoded approximately, as in a rollout.
        found = spelled or renderer.encode("".join(part.text for part in parts))
        ids += found
        mask += [is_said] * len(found)
    return ReplyTokens(tuple(ids), tuple(mask))


def policy_texts(row: Trajectory, turn: Turn, budget_sentence: str) -> list[str]:
    """What the policy has to say: one text for each part between two shown texts."""
    runs = groupby(_pieces(row, turn, budget_sentence), key=lambda piece: piece.is_said)
    return ["".join(p.part.text for p in run) for is_said, run in runs if is_said]


def _thinks(steps: tuple[Step, ...]) -> bool:
    return any(THINK_CLOSE in step.thought for step in steps) or bool(
        steps and steps[0].thought.startswith(THINK_OPEN.strip())
    )


def _pieces(row: Trajectory, turn: Turn, budget_sentence: str) -> Iterator[TurnPart]:
    """The turn in order. Raises ValueError for a program that no fence can enclose."""
    thinks = _thinks(row.steps)
    start = (turn.before_thinking or "") if thinks else turn.lead
    found = [_template(start), *_steps(row.steps, turn, budget_sentence)]
    if row.ending is Ending.FINISHED:
        found.append(_template(turn.end))
    return (piece for piece in found if piece.part.text)


def _template(text: str, is_said: bool = True) -> TurnPart:
    return TurnPart(ReplyPart(text, is_template=True), is_said)


def _steps(steps: tuple[Step, ...], turn: Turn, budget_sentence: str) -> Iterator[TurnPart]:
    thinking = _thinks(steps)
    for number, step in enumerate(steps):
        thought = step.thought
        if number == 0 and thinking:
            thought = thought.removeprefix(THINK_OPEN.strip()).lstrip("\n")
        if thinking and THINK_CLOSE in thought:
            before, _, thought = thought.partition(THINK_CLOSE)
            thought, thinking = thought.lstrip("\n"), False
            yield from _end_of_thinking(before.rstrip("\n"), turn, budget_sentence)
        said = render_step(thought, step.action, None)
        shown = render_step(thought, step.action, step.observation)
        yield TurnPart(ReplyPart(said), is_said=True)
        yield TurnPart(ReplyPart(shown[len(said) :]), is_said=False)


def _end_of_thinking(thought: str, turn: Turn, budget_sentence: str) -> Iterator[TurnPart]:
    """The end of thinking, by the policy or by a budget; a budget's is not learned from."""
    kept = thought.removesuffix(budget_sentence) if budget_sentence else thought
    by_budget = kept != thought
    yield TurnPart(ReplyPart(kept), is_said=True)
    yield TurnPart(ReplyPart(thought[len(kept) :]), is_said=False)
    yield _template(turn.after_thinking, is_said=not by_budget)
