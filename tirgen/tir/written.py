"""A recorded trajectory as tokens that another policy would say and be shown.

    prompt │ lead or thinking's opening │ r a │ o │ r a │ o │ … │ r │ end of turn
    asked                        said by the policy; what the executor wrote (o) it is shown

The steps are the record; the tokens are the policy's own reading of them, with whatever its chat
template has in a turn beside the words. What the policy says between two things that it is shown is
tokenised as one text, what it is shown as another, so that no token reaches across: in a rollout
the boundary lies there too.

Not covered: attempts that self-correction replaced; they are no part of what a policy goes on from.
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


class Unwritable(StrEnum):
    """Why a trajectory cannot be put into a policy's mouth."""

    UNSPELLABLE = "unspellable"
    """The policy's tokenizer has no tokens that read exactly so."""
    THINKING_CLOSED = "thinking_closed"
    """It thinks, but the policy's prompt has closed thinking before it begins."""
    BROKEN_FENCE = "broken_fence"
    """A program has a line of bare backticks, which would end its block."""


class Written(NamedTuple):
    """A trajectory behind its prompt, as a policy reads it."""

    token_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    """True where the policy says the token."""


class Piece(NamedTuple):
    """A stretch of a turn."""

    part: ReplyPart
    is_said: bool
    """By the policy; what the executor or a budget wrote it is shown."""


def written(row: Trajectory, renderer: HfRenderer, budget_sentence: str) -> Written | Unwritable:
    """The reply of a trajectory in the policy's tokens; without its prompt.

    `budget_sentence` is what ended thinking that had used up its budget, nobody's words to learn.
    Raises EngineRefused where the policy's template refuses a question and its answer.
    """
    turn = renderer.turn
    try:
        pieces = list(_pieces(row, turn, budget_sentence))
    except ValueError:
        return Unwritable.BROKEN_FENCE
    if turn.before_thinking is None and _thinks(row.steps):
        return Unwritable.THINKING_CLOSED
    ids: list[int] = []
    mask: list[bool] = []
    for is_said, run in groupby(pieces, key=lambda piece: piece.is_said):
        parts = [piece.part for piece in run]
        spelled = renderer.encode_reply(parts)
        if spelled is None and is_said:
            return Unwritable.UNSPELLABLE
        # What is only shown may be spelled approximately, as it is in a rollout.
        found = spelled or renderer.encode("".join(part.text for part in parts))
        ids += found
        mask += [is_said] * len(found)
    return Written(tuple(ids), tuple(mask))


def said_by_policy(row: Trajectory, turn: Turn, budget_sentence: str) -> list[str]:
    """What the policy has to say, one text for each stretch between things that it is shown."""
    runs = groupby(_pieces(row, turn, budget_sentence), key=lambda piece: piece.is_said)
    return ["".join(p.part.text for p in run) for is_said, run in runs if is_said]


def _thinks(steps: tuple[Step, ...]) -> bool:
    return any(THINK_CLOSE in step.thought for step in steps) or bool(
        steps and steps[0].thought.startswith(THINK_OPEN.strip())
    )


def _pieces(row: Trajectory, turn: Turn, budget_sentence: str) -> Iterator[Piece]:
    """The turn in order. Raises ValueError for a program that no fence can hold."""
    thinks = _thinks(row.steps)
    start = (turn.before_thinking or "") if thinks else turn.lead
    found = [_template(start), *_steps(row.steps, turn, budget_sentence)]
    if row.ending is Ending.FINISHED:
        found.append(_template(turn.end))
    return (piece for piece in found if piece.part.text)


def _template(text: str, is_said: bool = True) -> Piece:
    return Piece(ReplyPart(text, is_template=True), is_said)


def _steps(steps: tuple[Step, ...], turn: Turn, budget_sentence: str) -> Iterator[Piece]:
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
        yield Piece(ReplyPart(said), is_said=True)
        yield Piece(ReplyPart(shown[len(said) :]), is_said=False)


def _end_of_thinking(thought: str, turn: Turn, budget_sentence: str) -> Iterator[Piece]:
    """Closed by the policy itself, or by a budget, which it has not to learn."""
    kept = thought.removesuffix(budget_sentence) if budget_sentence else thought
    by_budget = kept != thought
    yield Piece(ReplyPart(kept), is_said=True)
    yield Piece(ReplyPart(thought[len(kept) :]), is_said=False)
    yield _template(turn.after_thinking, is_said=not by_budget)
