"""Reasoning mode answered by hand: one token a character, so that sizes can be counted."""

from __future__ import annotations

from functools import partial
from typing import Any

from storage.records import Ending, Outcome
from tests.tir.scripted import (
    END,
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
from tirgen.engine.protocol import Completion, Message, Prompt
from tirgen.filters.untouched import changed_beyond_programs
from tirgen.sandbox.contract import Execution
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.core import Execute, Generate, Role
from tirgen.tir.programs import Bounds
from tirgen.tir.prompts import POCKET
from tirgen.tir.reasoning import Windows, reasoning
from tirgen.tir.refine import ToolPolicy, refine
from tirgen.tir.transcript import Transcript

TALK = "Let me see.\n"
CLAIM = "12 * 34 is 400.\n"
PROGRAM = "I need 12 * 34.\n```python\nprint(12 * 34)\n```\n"
OUTPUT = "```output\n408\n```\n"
FOUND = "12 * 34 is 408."
ANSWER = "\n\nThe answer is \\boxed{408}."
SENTENCE = "Time is up."


def windows(**changes: Any) -> Windows:
    values: dict[str, Any] = {
        "tokens": 200,
        "least": 10,
        "budget": 1000,
        "budget_sentence": SENTENCE,
    }
    return Windows(**{**values, **changes})


def run(
    answers: Answers,
    *,
    of: TrajectoryBuilder | None = None,
    cut: Windows | None = None,
    limits: Bounds | None = None,
    tools: ToolPolicy = TOOLS,
    see: See | None = None,
    with_critic: bool = True,
) -> TrajectoryBuilder:
    of = of or story()
    refiner = partial(refine, sampler(Role.CRITIC), POCKET, tools=tools) if with_critic else None
    program = reasoning(
        of, sampler(Role.ACTOR), limits or bounds(), cut or windows(), tools, refiner=refiner
    )
    return answer(of, program, answers, see or (lambda request: None))


def closed(text: str) -> Completion:
    """The actor closes its thinking."""
    return said(f"{text}</think>", stop="</think>")


def rewrite(words: str = FOUND) -> list[Completion | Execution]:
    """The critic turns a claim into a program and ends with these words."""
    return [said(PROGRAM, stop="\n```\n"), ran("408\n"), said(words, ended=True)]


def one_window() -> list[Completion | Execution]:
    return [closed(TALK + CLAIM), said(TALK + PROGRAM, stop="\n```\n"), *rewrite()[1:],
            said(ANSWER, ended=True)]  # fmt: skip


def policy_text(told: TrajectoryBuilder) -> str:
    stream = told.transcript.stream()
    kept = [t for t, policy in zip(stream.token_ids, stream.loss_mask, strict=True) if policy]
    return CharacterRenderer().decode(tuple(kept))


def actor_prompts(seen: list[Generate | Execute]) -> list[Prompt]:
    return [r.prompt for r in seen if isinstance(r, Generate) and r.role is Role.ACTOR]


def test_a_refined_window_takes_the_place_of_the_drafted_one() -> None:
    told = run(one_window())
    assert told.ending is Ending.FINISHED
    assert told.transcript.text == (f"<think>\n{TALK}{PROGRAM}{OUTPUT}{FOUND}\n</think>{ANSWER}")
    first, last = told.steps
    assert first.action == "print(12 * 34)"
    assert first.observation == "408"
    assert "400" not in told.transcript.text
    assert last.thought.endswith(ANSWER.strip())


def test_a_window_without_a_program_keeps_its_sampled_tokens() -> None:
    told = run([closed(TALK), said("Put in other words.", ended=True), said(ANSWER, ended=True)])
    stream = told.transcript.stream()
    opened = len("<think>\n")
    sampled = stream.token_ids[stream.prompt_length + opened :]
    assert sampled == (*map(ord, f"{TALK}</think>{ANSWER}"), END)
    assert all(lp == -0.5 for lp in stream.logprobs[stream.prompt_length + opened :])
    assert told.steps[0].draft is None


def test_the_actor_goes_on_from_the_refined_text() -> None:
    seen: list[Generate | Execute] = []
    answers = [
        said(CLAIM + "And then 400 + 1 is"),
        *rewrite(),
        closed("Good.\n"),
        said("Good.", ended=True),
        said(ANSWER, ended=True),
    ]
    told = run(answers, cut=windows(tokens=35), see=seen.append)
    second = actor_prompts(seen)[1]
    assert second.reply == f"<think>\n{PROGRAM}{OUTPUT}{FOUND}\n"
    assert CharacterRenderer().decode(second.token_ids).endswith(second.reply)
    assert "400" not in told.transcript.text


def test_what_was_drafted_beyond_a_kept_window_is_not_sampled_again() -> None:
    seen: list[Generate | Execute] = []
    answers = [
        said("Let me think.\nNow the"),
        said("Let me think.", ended=True),
        closed(" rest.\n"),
        said("Now the rest.", ended=True),
        said(ANSWER, ended=True),
    ]
    told = run(answers, cut=windows(tokens=21), see=seen.append)
    assert actor_prompts(seen)[1].reply == "<think>\nLet me think.\nNow the"
    assert told.transcript.text == f"<think>\nLet me think.\nNow the rest.\n</think>{ANSWER}"
    opened = told.transcript.stream().prompt_length + len("<think>\n")
    assert all(logprob == -0.5 for logprob in told.transcript.stream().logprobs[opened:])


def test_the_critic_sees_the_isolated_window_only() -> None:
    seen: list[Generate | Execute] = []
    answers = [
        said(TALK + "What else"),
        said(TALK, ended=True),
        closed(f" is there?\n{CLAIM}"),
        *rewrite(),
        said(ANSWER, ended=True),
    ]
    run(answers, of=story("SECRET"), cut=windows(tokens=20), see=seen.append)
    critic = [r.prompt.messages[0].content for r in seen
              if isinstance(r, Generate) and r.role is Role.CRITIC]  # fmt: skip
    assert critic[0].endswith("\n\nLet me see.")
    assert critic[1].endswith(f"\n\nWhat else is there?\n{CLAIM.strip()}")
    assert all("SECRET" not in text and "think>" not in text for text in critic)


def test_a_window_without_the_end_of_a_line_grows_until_it_has_one() -> None:
    seen: list[Generate | Execute] = []
    answers = [
        said("x" * 20),
        said("y" * 10),
        said("z" * 5 + "\nabcd"),
        said("unchanged", ended=True),
        closed(""),
        said("unchanged", ended=True),
        said(ANSWER, ended=True),
    ]
    told = run(answers, cut=windows(tokens=20, least=10), see=seen.append)
    sizes = [r.sampling.max_tokens for r in seen if isinstance(r, Generate)]
    assert sizes[:3] == [20, 10, 10]
    shown = [r.prompt.messages[0].content for r in seen
             if isinstance(r, Generate) and r.role is Role.CRITIC]  # fmt: skip
    assert shown[0].endswith("\n\n" + "x" * 20 + "y" * 10 + "z" * 5)
    assert told.ending is Ending.FINISHED


def test_a_window_ends_at_the_last_line_end_within_its_size() -> None:
    seen: list[Generate | Execute] = []
    answers = [
        said("one\ntwo\nthree\nfou"),
        said("unchanged", ended=True),
        closed("r\n"),
        said("unchanged", ended=True),
        said(ANSWER, ended=True),
    ]
    run(answers, cut=windows(tokens=17, least=5), see=seen.append)
    shown = [r.prompt.messages[0].content for r in seen
             if isinstance(r, Generate) and r.role is Role.CRITIC]  # fmt: skip
    assert shown[0].endswith("\n\none\ntwo\nthree")
    assert shown[1].endswith("\n\nfour")


def test_thinking_ends_by_the_budget_sentence_with_the_question_in_the_prompt() -> None:
    """Method D4: the official code continues from the response alone."""
    seen: list[Generate | Execute] = []
    answers = [
        said("Let me see.\nOr rather"),
        said("Let me see.", ended=True),
        said(ANSWER, ended=True),
    ]
    told = run(answers, of=story("QUESTION"), cut=windows(budget=21), see=seen.append)
    last = actor_prompts(seen)[-1]
    prompt = CharacterRenderer().decode(last.token_ids)
    assert prompt.startswith("<user>QUESTION<assistant>")
    assert prompt.endswith(f"<think>\nLet me see.\n{SENTENCE}\n</think>\n\n")
    assert last.messages[0].content == "QUESTION"
    assert told.ending is Ending.FINISHED
    assert SENTENCE not in policy_text(told)


def test_the_budget_ends_thinking_that_has_no_end_of_a_line() -> None:
    told = run(
        [said("x" * 20), said("unchanged", ended=True), said(ANSWER, ended=True)],
        cut=windows(budget=20),
    )
    assert told.transcript.text == f"<think>\n{'x' * 20}\n{SENTENCE}\n</think>\n\n{ANSWER}"


def test_programs_count_against_the_thinking_budget() -> None:
    answers = [
        said(CLAIM + "and"),
        *rewrite(),
        said(ANSWER, ended=True),
    ]
    size = len(CLAIM) + 3
    told = run(answers, cut=windows(tokens=size, budget=size + 1))
    assert SENTENCE in told.transcript.text
    assert told.calls == 1


def test_a_mark_that_two_calls_wrote_between_them_ends_thinking() -> None:
    answers = [
        said("See.\nI am done</th"),
        said("unchanged", ended=True),
        said("ink>\n"),
        said("unchanged", ended=True),
        said(ANSWER, ended=True),
    ]
    told = run(answers, cut=windows(tokens=18, least=5))
    assert told.transcript.text == f"<think>\nSee.\nI am done</think>{ANSWER}"


def test_a_rewrite_of_the_last_window_leaves_thinking_closed() -> None:
    told = run([closed(CLAIM.strip()), *rewrite(), said(ANSWER, ended=True)])
    assert told.transcript.text.endswith(f"{OUTPUT}{FOUND}\n</think>{ANSWER}")


def test_thinking_that_the_template_opened_is_not_opened_again() -> None:
    class Opening(CharacterRenderer):
        def prompt_ids(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
            return (*super().prompt_ids(messages), *self.encode("<think>\n"))

    of = TrajectoryBuilder(Transcript((Message("user", "Q"),), Opening()))
    told = run([closed(TALK), said("unchanged", ended=True), said(ANSWER, ended=True)], of=of)
    assert told.transcript.text == f"{TALK}</think>{ANSWER}"


def test_without_a_critic_it_is_the_baseline_with_tools_off() -> None:
    seen: list[Generate | Execute] = []
    told = run([closed(CLAIM), said(ANSWER, ended=True)], with_critic=False, see=seen.append)
    assert told.ending is Ending.FINISHED
    assert {isinstance(request, Generate) and request.role for request in seen} == {Role.ACTOR}
    assert told.transcript.text == f"<think>\n{CLAIM}</think>{ANSWER}"


def test_masked_ids_are_exactly_outputs_and_the_budget_sentence() -> None:
    answers = [said(CLAIM + "x" * 12), *rewrite(), said(ANSWER, ended=True)]
    told = run(answers, cut=windows(tokens=28, budget=28))
    stream = told.transcript.stream()
    masked = [t for t, policy in zip(stream.token_ids, stream.loss_mask, strict=True) if not policy]
    expected = f"{OUTPUT}{SENTENCE}\n</think>\n\n"
    assert CharacterRenderer().decode(tuple(masked[stream.prompt_length :])) == expected


def test_the_stream_decodes_to_the_text() -> None:
    told = run(one_window())
    stream = told.transcript.stream()
    response = CharacterRenderer().decode(stream.token_ids[stream.prompt_length :])
    assert response == told.transcript.text


def test_drafts_are_all_that_the_actor_said() -> None:
    told = run(one_window())
    assert "".join(step.draft or "" for step in told.steps) == (
        f"<think>\n{TALK}{CLAIM}".strip() + f"</think>{ANSWER}"
    )


def test_a_faithful_rewrite_changes_nothing_beyond_its_programs() -> None:
    told = run(one_window())
    assert changed_beyond_programs(told.steps, complete=True) is None


def test_a_critic_that_loses_untouched_text_is_told_of() -> None:
    answers = one_window()
    answers[1] = said(PROGRAM, stop="\n```\n")
    told = run(answers)
    assert changed_beyond_programs(told.steps, complete=True) == "the critic lost 'Let me see.'"


def test_a_critic_that_writes_beyond_its_window_is_told_of() -> None:
    answers = one_window()
    answers[3] = said(f"{FOUND}\nNow I add 1.\nThat is 409.", ended=True)
    told = run(answers)
    found = changed_beyond_programs(told.steps, complete=True)
    assert found == "the critic added 'That is 409.'"


def test_a_turn_that_ends_within_thinking_is_off_format() -> None:
    told = run([said(TALK, ended=True)])
    assert told.ending is Ending.OFF_FORMAT
    assert "before it closed its thinking" in (told.error or "")
    assert TALK in told.transcript.text


def test_an_actor_that_writes_its_own_program_is_off_format() -> None:
    told = run([closed(PROGRAM), said("unchanged", ended=True)])
    assert told.ending is Ending.OFF_FORMAT


def test_a_failed_execution_ends_the_attempt() -> None:
    failed = ran("", Outcome.ERROR, "NameError: name 'x' is not defined")
    told = run([closed(CLAIM), said(PROGRAM, stop="\n```\n"), failed])
    assert told.ending is Ending.EXECUTION_FAILED
    assert told.steps[-1].outcome is Outcome.ERROR


def test_too_many_windows_is_a_typed_ending() -> None:
    idle = [said("Hmm, so I am.\nYes"), said("unchanged", ended=True)]
    told = run(idle * 2, cut=windows(tokens=17), limits=bounds(steps=2))
    assert told.ending is Ending.STEP_LIMIT


def test_an_answer_that_does_not_end_is_a_typed_ending() -> None:
    told = run([closed(TALK), said("unchanged", ended=True), said("The answer")])
    assert told.ending is Ending.TOKEN_LIMIT


def test_no_room_for_an_answer_is_a_typed_ending() -> None:
    size = len("<think>\n") + 20
    told = run([said("x" * 20), said("unchanged", ended=True)], limits=bounds(tokens=size))
    assert told.ending is Ending.TOKEN_LIMIT


def test_a_full_context_is_a_typed_ending() -> None:
    told = run([said("x\n")])
    assert told.ending is Ending.TOKEN_LIMIT
    assert told.transcript.text == "<think>\nx\n"


def test_the_tool_budget_forbids_further_programs_but_not_the_words_after_them() -> None:
    seen: list[Generate | Execute] = []
    two = f"{TALK}{CLAIM}1 + 1 is 3.\n"
    answers: list[Completion | Execution] = [
        closed(two),
        said(TALK + PROGRAM, stop="\n```\n"),
        ran("408\n"),
        said(f"{FOUND}\nI need 1 + 1.\n```python", stop="```python"),
        said(ANSWER, ended=True),
    ]
    told = run(answers, limits=bounds(tool_rounds_per_step=1), see=seen.append)
    assert sum(isinstance(request, Execute) for request in seen) == 1
    assert f"{OUTPUT}{FOUND}\nI need 1 + 1.\n</think>" in told.transcript.text
    assert changed_beyond_programs(told.steps, complete=True) is None


def test_indented_text_and_blank_lines_at_the_end_of_a_window_stay() -> None:
    answers = [
        said(f"{CLAIM}\nNex"),
        *rewrite(),
        closed("t.\n"),
        said("unchanged", ended=True),
        said(ANSWER, ended=True),
    ]
    told = run(answers, cut=windows(tokens=len(CLAIM) + 4))
    assert f"{FOUND}\n\nt.\n</think>" in told.transcript.text
