"""What is trained on are the ids that were sampled, never those that their text encodes to.

A vocabulary can spell one text in many ways, and engines sample them all. Here ``print`` has a
token of its own, which the tokenizer always takes; the engine samples its letters.
"""

from __future__ import annotations

import pytest

from storage.records import Ending, Outcome
from tests.tir.scripted import (
    END,
    TOOLS,
    CharacterRenderer,
    answer,
    bounds,
    ran,
    said,
    sampler,
)
from tirgen.engine.protocol import Completion, Message
from tirgen.sandbox.contract import Execution
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.core import Execute, Generate, Role
from tirgen.tir.markup import render_output
from tirgen.tir.programs import chain_of_thought, tirgen
from tirgen.tir.prompts import POCKET
from tirgen.tir.refine import ToolPolicy
from tirgen.tir.rollout import Correction, rollout
from tirgen.tir.transcript import Transcript

PRINT = 0x10FFFF
GO_ON = ToolPolicy(limits=TOOLS.limits, observation_characters=1024, stop_at_failure=False)
CALL = "Compute.\n```python\nprint(1)\n```\n"
LAST = "print says \\boxed{1}."
FAULT = ran("", Outcome.ERROR, "NameError: print")
STOP = "\n```\n"


class MergingRenderer(CharacterRenderer):
    """One token a character, but for ``print``."""

    def encode(self, text: str) -> tuple[int, ...]:
        return super().encode(text.replace("print", chr(PRINT)))

    def decode(self, token_ids: tuple[int, ...]) -> str:
        return super().decode(token_ids).replace(chr(PRINT), "print")


def merging_story() -> TrajectoryBuilder:
    return TrajectoryBuilder(Transcript((Message("user", "Q"),), MergingRenderer()))


def own(told: TrajectoryBuilder) -> list[int]:
    stream = told.transcript.stream()
    return [t for t, mine in zip(stream.token_ids, stream.loss_mask, strict=True) if mine]


def letters(*texts: str) -> list[int]:
    """As the engine of this file samples."""
    return [ord(letter) for text in texts for letter in text]


def test_the_renderer_would_spell_it_otherwise() -> None:
    assert list(MergingRenderer().encode(CALL)) != letters(CALL)
    assert MergingRenderer().decode(tuple(letters(CALL))) == CALL


def test_a_rollout_keeps_the_ids_it_sampled_and_hands_them_back_to_the_engine() -> None:
    """Method D14, C3."""
    seen: list[Generate | Execute] = []
    of = merging_story()
    program = rollout(of, sampler(Role.ACTOR), bounds(), GO_ON)
    answers: list[Completion | Execution] = [
        said(CALL, stop=STOP),
        ran("print\n"),
        said(LAST, ended=True),
    ]
    told = answer(of, program, answers, seen.append)
    assert own(told) == [*letters(CALL, LAST), END]
    prompts = [request.prompt.token_ids for request in seen if isinstance(request, Generate)]
    injected = MergingRenderer().encode(render_output("print"))
    assert PRINT in injected
    assert prompts[1] == (*prompts[0], *letters(CALL), *injected)
    assert told.transcript.stream().token_ids == (*prompts[1], *letters(LAST), END)


def test_a_step_the_critic_left_alone_keeps_the_ids_the_actor_sampled() -> None:
    """Method D14."""
    of = merging_story()
    program = tirgen(of, sampler(Role.ACTOR), sampler(Role.CRITIC), POCKET, bounds(), TOOLS)
    told = answer(of, program, [said(LAST, ended=True), said("Rewritten.", ended=True)])
    assert own(told) == [*letters(LAST), END]


def test_a_repair_keeps_the_ids_before_its_anchor_and_masks_the_output_alone() -> None:
    """Method D2, D14: of the step that failed, neither tokens nor mask stay behind."""
    seen: list[Generate | Execute] = []
    of = merging_story()
    program = rollout(of, sampler(Role.ACTOR), bounds(), GO_ON, Correction(suffix_tokens=4))
    thought = "We print. Now to it.\n"
    answers: list[Completion | Execution] = [
        said(thought + "```python\nprnt(1)\n```\n", stop=STOP),
        FAULT,
        said("anew.\n```python\nprint(1)\n```\n", stop=STOP),
        ran("1\n"),
        said(LAST, ended=True),
    ]
    told = answer(of, program, answers, seen.append)
    kept = thought[:-4]
    assert own(told) == [*letters(kept, "anew.\n```python\nprint(1)\n```\n", LAST), END]
    stream = told.transcript.stream()
    masked = [t for t, mine in zip(stream.token_ids, stream.loss_mask, strict=True) if not mine]
    injected = MergingRenderer().encode(render_output("1"))
    assert tuple(masked[stream.prompt_length :]) == injected
    retry = [request.prompt for request in seen if isinstance(request, Generate)][1]
    assert retry.token_ids[stream.prompt_length :] == tuple(letters(kept))


def test_a_second_step_is_repaired_from_its_own_anchor_with_everything_before_it_whole() -> None:
    """Method D2: a second backtrack there ate the user's prompt."""
    seen: list[Generate | Execute] = []
    of = merging_story()
    program = rollout(of, sampler(Role.ACTOR), bounds(), GO_ON, Correction(suffix_tokens=3))
    broken, sound = "```python\nprnt(1)\n```\n", "```python\nprint(1)\n```\n"
    answers: list[Completion | Execution] = []
    for thought in ("One is it.\n", "Two is it.\n"):
        answers += [said(thought + broken, stop=STOP), FAULT]
        answers += [said("so\n" + broken, stop=STOP), FAULT]
        answers += [said("so\n" + sound, stop=STOP), ran("1\n")]
    told = answer(of, program, [*answers, said(LAST, ended=True)], seen.append)
    texts = [
        MergingRenderer().decode(request.prompt.token_ids)
        for request in seen
        if isinstance(request, Generate)
    ]
    first = "<user>Q<assistant>One is i"
    second = f"{first}so\n{sound}```output\n1\n```\nTwo is i"
    assert texts[1:3] == [first, first]
    assert texts[4:6] == [second, second]
    assert told.calls == 2
    assert told.ending is Ending.FINISHED


@pytest.mark.parametrize("correction", [None, Correction(suffix_tokens=4)])
def test_what_was_cut_off_at_its_limit_has_no_end_of_turn(correction: Correction | None) -> None:
    """Method D15: there the end token was appended, and what was cut off looked complete."""
    of = merging_story()
    cut = "Words without end, so \\boxed{1}"
    size = len(cut)
    program = rollout(of, sampler(Role.ACTOR), bounds(tokens=size), GO_ON, correction)
    told = answer(of, program, [said(cut)])
    assert told.ending is Ending.TOKEN_LIMIT
    assert own(told) == letters(cut)


def test_a_baseline_that_was_cut_off_has_no_end_of_turn_either() -> None:
    """Method D15."""
    of = merging_story()
    told = answer(
        of, chain_of_thought(of, sampler(Role.ACTOR), bounds()), [said("It is \\boxed{1}")]
    )
    assert told.ending is Ending.TOKEN_LIMIT
    assert own(told) == letters("It is \\boxed{1}")


def test_rollouts_that_take_turns_spend_each_its_own_budget() -> None:
    """Method D6, C2: step by step beside each other, as one batch there."""
    limits = bounds(tool_rounds=1)
    stories = [merging_story() for _ in range(3)]
    loops = [rollout(of, sampler(Role.ACTOR), limits, TOOLS) for of in stories]
    for loop in loops:
        next(loop)
    for result in (said(CALL, stop=STOP), ran("1\n")):
        for loop in loops:
            loop.send(result)
    for loop in loops:
        with pytest.raises(StopIteration):
            loop.send(said(LAST, ended=True))
    assert [of.calls for of in stories] == [1, 1, 1]
    assert {of.steps[0].observation for of in stories} == {"1"}
