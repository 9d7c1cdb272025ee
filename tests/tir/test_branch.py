"""Branches answered by hand; the stream they grow from is one that a rollout recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.records import Ending, Level, Outcome, Program, TokenStream, Trajectory
from tests.rows import row
from tests.tir.scripted import (
    TOOLS,
    Answers,
    CharacterRenderer,
    See,
    answer,
    bounds,
    ran,
    said,
    sampler,
    story,
)
from tirgen.engine.protocol import Completion, Message
from tirgen.sandbox.contract import Execution
from tirgen.tir.branch import Prefix, branch, failed_steps, split, step_span
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.core import Execute, Generate, Role
from tirgen.tir.refine import ToolPolicy
from tirgen.tir.rollout import Correction, rollout
from tirgen.tir.transcript import Transcript, split_thought

RENDERER = CharacterRenderer()
GO_ON = ToolPolicy(limits=TOOLS.limits, observation_characters=1024, stop_at_failure=False)
GOOD = "```python\nprint(408)\n```\n"
BAD = "```python\nprint(x)\n```\n"
STOP = "\n```\n"
ERROR = ran("", Outcome.ERROR, "NameError: x")


def rolled(first: str, second: str, correction: Correction | None = None) -> Trajectory:
    """A stored trajectory whose second step failed."""
    failed: list[Completion | Execution] = [said(second + BAD, stop=STOP), ERROR]
    told = answer(
        of := story(),
        rollout(of, sampler(Role.ACTOR), bounds(), GO_ON, correction),
        [
            said(first + GOOD, stop=STOP),
            ran("408\n"),
            *failed * (2 if correction else 1),
            said("So \\boxed{1}.", ended=True),
        ],
    )
    return replace(
        row(program=Program.ROLLOUT),
        steps=tuple(told.steps),
        tokens=told.transcript.stream(),
        ending=told.ending,
    )


def grow(
    prefix: Prefix, answers: Answers, see: See = lambda request: None, **changes: object
) -> TrajectoryBuilder:
    messages = (Message("user", "Q"),)
    of = TrajectoryBuilder(Transcript.after(messages, RENDERER, prefix.token_ids, prefix.kept))
    program = branch(of, sampler(Role.ACTOR), prefix, bounds(tool_rounds=1, **changes), TOOLS)
    return answer(of, program, answers, see)


words = st.text("abc xyz.", min_size=0, max_size=40)


@given(words, words, st.integers(0, 60))
def test_prefix_and_suffix_are_the_thought_and_no_observation_is_crossed(
    first: Any, second: Any, length: Any
) -> None:
    """Method C4, on ids."""
    trajectory = rolled(first + "\n", second + "\n", None)
    start, end = step_span(trajectory, 2)
    prefix = split(trajectory, 2, RENDERER, length)
    step = trajectory.tokens.token_ids[start:end]
    thought = step[: len(second) + 1]
    kept = prefix.token_ids[start:]
    suffix = thought[len(kept) :]
    assert prefix.token_ids == trajectory.tokens.token_ids[: len(prefix.token_ids)]
    assert kept + suffix == thought
    assert len(suffix) == min(length, len(thought))
    assert len(prefix.token_ids) >= start
    assert all(trajectory.tokens.loss_mask[start:end])
    assert RENDERER.decode(trajectory.tokens.token_ids[:start]).endswith("```output\n408\n```\n")


def test_failed_steps_are_those_whose_code_is_to_blame() -> None:
    trajectory = rolled("a\n", "b\n")
    assert [failed.step for failed in failed_steps(trajectory)] == [2]
    (failed,) = failed_steps(trajectory)
    assert failed.group_id == f"{trajectory.trajectory_id}/2"


def test_rows_that_are_no_rollouts_grow_no_branches() -> None:
    trajectory = rolled("a\n", "b\n")
    assert not list(failed_steps(replace(trajectory, program=Program.TIRGEN)))
    assert not list(failed_steps(replace(trajectory, level=Level.STEP)))
    assert not list(failed_steps(replace(trajectory, ending=Ending.SANDBOX_ERROR)))


def test_a_corrected_step_is_found_where_it_stands_in_the_stream() -> None:
    """What was cut away is in no stream, and does not move the steps after it."""
    trajectory = rolled("a\n", "long enough\n", Correction(suffix_tokens=3, attempts=1))
    start, end = step_span(trajectory, 2)
    text = RENDERER.decode(trajectory.tokens.token_ids[start:end])
    assert text == "long enoulong enough\n" + BAD
    assert RENDERER.decode(trajectory.tokens.token_ids[step_span(trajectory, 3)[0] :]).startswith(
        "So"
    )


def test_a_row_without_token_ids_is_refused() -> None:
    with pytest.raises(ValueError, match="no token ids"):
        split(replace(rolled("a\n", "b\n"), tokens=TokenStream()), 2, RENDERER, 5)


def test_a_branch_is_one_suffix_and_one_action_and_nothing_else() -> None:
    """Method D9, D10: the whole prefix has mask 0; no end of turn and no output follows."""
    seen: list[Generate | Execute] = []
    prefix = split(rolled("a\n", "We set x first.\n"), 2, RENDERER, 7)
    told = grow(prefix, [said("now.\n" + GOOD, stop=STOP), ran("408\n")], seen.append)
    assert isinstance(seen[0], Generate)
    assert seen[0].prompt.token_ids == prefix.token_ids
    stream = told.transcript.stream()
    assert stream.prompt_length == len(prefix.token_ids)
    assert not any(stream.loss_mask[: stream.prompt_length])
    assert all(stream.loss_mask[stream.prompt_length :])
    assert RENDERER.decode(stream.token_ids[stream.prompt_length :]) == "now.\n" + GOOD
    assert None not in stream.logprobs[stream.prompt_length :]
    (step,) = told.steps
    assert (step.thought, step.action, step.outcome) == ("now.", "print(408)", Outcome.OK)
    assert told.ending is Ending.FINISHED


def test_a_branch_whose_code_fails_says_so() -> None:
    prefix = split(rolled("a\n", "We set x first.\n"), 2, RENDERER, 7)
    told = grow(prefix, [said(BAD, stop=STOP), ERROR])
    assert told.ending is Ending.EXECUTION_FAILED
    assert told.steps[0].outcome is Outcome.ERROR


def test_a_branch_without_a_program_has_no_action() -> None:
    prefix = split(rolled("a\n", "We set x first.\n"), 2, RENDERER, 7)
    told = grow(prefix, [said("now \\boxed{3}", ended=True)])
    assert [step.action for step in told.steps] == [None]


def test_an_opening_fence_that_was_never_closed_is_no_program() -> None:
    """Method D5: there the reward was 1 for a block that nobody ran."""
    prefix = split(rolled("a\n", "We set x first.\n"), 2, RENDERER, 7)
    told = grow(prefix, [said("```python\nprint(1)")], tokens=18)
    assert told.ending is Ending.TOKEN_LIMIT
    assert [step.action for step in told.steps] == [None]


@pytest.mark.parametrize(("length", "kept"), [(0, "Print x.\n"), (4, "Print"), (500, "")])
def test_the_first_step_is_split_no_earlier_than_the_reply_begins(length: int, kept: str) -> None:
    """Method D9: there the prefix could end inside the prompt."""
    first = answer(
        of := story(),
        rollout(of, sampler(Role.ACTOR), bounds(), TOOLS),
        [said("Print x.\n" + BAD, stop=STOP), ERROR],
    )
    failed = replace(
        row(program=Program.ROLLOUT),
        steps=tuple(first.steps),
        tokens=first.transcript.stream(),
        ending=first.ending,
    )
    prefix = split(failed, 1, RENDERER, length)
    assert prefix.kept == kept
    assert RENDERER.decode(prefix.token_ids) == f"<user>Q<assistant>{kept}"


class ByteRenderer(CharacterRenderer):
    """One token a byte: every character beyond ASCII is several tokens, cut in two by any split."""

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(text.encode())

    def decode(self, token_ids: tuple[int, ...]) -> str:
        return bytes(token_ids).decode(errors="replace")


@given(st.text("aé数😀", max_size=12), st.text("b数", max_size=6), st.integers(0, 60))
def test_a_split_counts_whole_tokens_whatever_they_spell(
    thought: Any, action: Any, length: Any
) -> None:
    renderer = ByteRenderer()
    step = renderer.encode(thought + "\n" + action)
    size = len(renderer.encode(thought + "\n"))
    assert split_thought(renderer, step, len(thought) + 1, length) == max(0, size - length)
