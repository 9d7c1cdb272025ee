from __future__ import annotations

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
from tirgen.engine.errors import ContextOverflow, EngineRefused, EngineUnavailable
from tirgen.engine.protocol import Completion
from tirgen.sandbox.contract import Execution
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.core import Execute, Generate, Role, SandboxFault, TimeLimitReached
from tirgen.tir.programs import Bounds, chain_of_thought, tirgen
from tirgen.tir.prompts import POCKET
from tirgen.tir.refine import ToolPolicy

STEP = "Multiply: 12 * 34 = 400.\n\n"
REWRITE = "Multiply 12 by 34.\n```python\nprint(12 * 34)\n```\n"
LAST = "The answer is \\boxed{408}."


def run(
    answers: Answers,
    *,
    of: TrajectoryBuilder | None = None,
    limits: Bounds | None = None,
    tools: ToolPolicy = TOOLS,
    see: See | None = None,
) -> TrajectoryBuilder:
    of = of or story()
    program = tirgen(
        of, sampler(Role.ACTOR), sampler(Role.CRITIC), POCKET, limits or bounds(), tools
    )
    return answer(of, program, answers, see or (lambda request: None))


def one_call() -> list[Completion | Execution]:
    return [
        said(STEP, stop="\n\n"),
        said(REWRITE, stop="\n```\n"),
        ran("408\n"),
        said("So it is 408.", ended=True),
        said(LAST, ended=True),
        said(LAST, ended=True),
    ]


def test_a_step_with_computation_is_replaced_by_the_refined_step() -> None:
    told = run(one_call())
    assert told.ending is Ending.FINISHED
    first, last = told.steps
    assert first.thought == "Multiply 12 by 34."
    assert first.action == "print(12 * 34)"
    assert first.observation == "408"
    assert first.draft == STEP.strip()
    assert last.thought == f"So it is 408.\n\n{LAST}"
    assert last.action is None
    assert "400" not in told.transcript.text


def test_the_actor_continues_from_the_real_output() -> None:
    prompts = []
    run(one_call(), see=lambda request: prompts.append(request))
    actor = [r.prompt for r in prompts if isinstance(r, Generate) and r.role is Role.ACTOR]
    assert actor[1].reply == (f"{REWRITE}```output\n408\n```\nSo it is 408.\n\n")
    assert CharacterRenderer().decode(actor[1].token_ids).endswith(actor[1].reply)


def test_the_critic_sees_the_isolated_step_only() -> None:
    seen: list[Generate | Execute] = []
    run(one_call(), of=story("SECRET QUESTION"), see=seen.append)
    critic = [r.prompt for r in seen if isinstance(r, Generate) and r.role is Role.CRITIC]
    assert critic
    for prompt in critic:
        assert "SECRET" not in CharacterRenderer().decode(prompt.token_ids)
        assert all("SECRET" not in message.content for message in prompt.messages)


def test_a_step_without_computation_keeps_the_sampled_tokens() -> None:
    told = run([said(LAST, ended=True), said("Rewritten at will.", ended=True)])
    stream = told.transcript.stream()
    response = stream.token_ids[stream.prompt_length :]
    assert response == (*map(ord, LAST), END)
    assert all(lp == -0.5 for lp in stream.logprobs[stream.prompt_length :])
    assert told.steps[0].draft is None


def test_masked_ids_decode_to_exactly_the_injected_blocks() -> None:
    """Method C1: three calls, and nothing but their outputs is masked."""
    answers: list[Completion | Execution] = []
    for number in (1, 2, 3):
        answers += [
            said(f"Step {number} computes.\n\n", stop="\n\n"),
            said(f"Do {number}.\n```python\nprint({number})\n```\n", stop="\n```\n"),
            ran(f"{number}\n"),
            said(f"It is {number}.", ended=True),
        ]
    told = run([*answers, said(LAST, ended=True), said(LAST, ended=True)])
    stream = told.transcript.stream()
    masked = [
        token
        for token, policy in zip(
            stream.token_ids[stream.prompt_length :],
            stream.loss_mask[stream.prompt_length :],
            strict=True,
        )
        if not policy
    ]
    expected = "".join(f"```output\n{number}\n```\n" for number in (1, 2, 3))
    assert CharacterRenderer().decode(tuple(masked)) == expected
    assert not any(stream.loss_mask[: stream.prompt_length])
    assert stream.token_ids[-1] == END


def test_the_stream_decodes_to_the_text() -> None:
    told = run(one_call())
    stream = told.transcript.stream()
    assert (
        CharacterRenderer().decode(stream.token_ids[stream.prompt_length :]) == told.transcript.text
    )


def test_a_failed_execution_ends_the_attempt_and_stays_on_record() -> None:
    told = run(
        [
            said(STEP, stop="\n\n"),
            said(REWRITE, stop="\n```\n"),
            ran("partial\n", Outcome.ERROR, "NameError: name 'x' is not defined"),
        ]
    )
    assert told.ending is Ending.EXECUTION_FAILED
    assert told.steps[0].outcome is Outcome.ERROR
    assert told.steps[0].observation == "partial\nNameError: name 'x' is not defined"


def test_a_failed_execution_can_be_gone_on_from() -> None:
    tools = ToolPolicy(limits=TOOLS.limits, observation_characters=1024, stop_at_failure=False)
    answers = one_call()
    answers[2] = ran("", Outcome.NO_OUTPUT)
    told = run(answers, tools=tools)
    assert told.ending is Ending.FINISHED
    assert told.steps[0].observation == "[the program ran and printed nothing]"


def test_a_rewrite_that_lost_the_box_lets_the_actor_go_on() -> None:
    told = run(
        [
            said("12 * 34 = 400, so \\boxed{400}.", ended=True),
            said(REWRITE, stop="\n```\n"),
            ran("408\n"),
            said("It is 408.", ended=True),
            said(LAST, ended=True),
            said(LAST, ended=True),
        ]
    )
    assert told.ending is Ending.FINISHED
    assert told.transcript.text.endswith(f"It is 408.\n\n{LAST}")


def test_a_rewritten_last_step_closes_the_turn_with_the_models_own_token() -> None:
    told = run(
        [
            said("12 * 34 = 400, so \\boxed{400}.", ended=True),
            said(REWRITE, stop="\n```\n"),
            ran("408\n"),
            said("So \\boxed{408}.", ended=True),
        ]
    )
    stream = told.transcript.stream()
    assert told.ending is Ending.FINISHED
    assert stream.token_ids[-1] == END
    assert stream.loss_mask[-1]


def test_an_invented_output_is_off_format() -> None:
    told = run(
        [
            said(STEP, stop="\n\n"),
            said("Trust me.\n```output", stop="```output"),
        ]
    )
    assert told.ending is Ending.OFF_FORMAT
    assert "critic" in (told.error or "")


def test_a_program_of_the_critic_that_was_passed_over_is_off_format() -> None:
    """It never ran, and its words would stand in the trajectory as if it had."""
    passed_over = "First:\n```python\nprint(1)\n``` \nThen:\n```python\nprint(2)\n```\n"
    told = run([said(STEP, stop="\n\n"), said(passed_over, stop="\n```\n")])
    assert told.ending is Ending.OFF_FORMAT


def test_an_open_block_is_off_format() -> None:
    told = run([said(STEP, stop="\n\n"), said("Do.\n```python\nprint(1)", ended=True)])
    assert told.ending is Ending.OFF_FORMAT


def test_an_actor_that_plays_the_executor_is_off_format() -> None:
    told = run(
        [
            said("```output\n408\n```\n\n", stop="\n\n"),
            said("unchanged", ended=True),
        ]
    )
    assert told.ending is Ending.OFF_FORMAT
    assert "actor" in (told.error or "")


def test_the_tool_budget_forbids_further_programs() -> None:
    told = run(
        [*one_call()[:4], said(STEP, stop="\n\n"), said(LAST, ended=True)],
        limits=bounds(tool_rounds=1),
    )
    assert told.calls == 1
    assert told.ending is Ending.FINISHED


def test_too_many_steps_is_a_typed_ending() -> None:
    idle = [said("Hmm.\n\n", stop="\n\n"), said("Hmm.", ended=True)]
    told = run(idle * 3, limits=bounds(steps=3))
    assert told.ending is Ending.STEP_LIMIT


def test_too_many_tokens_is_a_typed_ending() -> None:
    idle = [said("Hmm.\n\n", stop="\n\n"), said("Hmm.", ended=True)]
    told = run(idle * 2, limits=bounds(tokens=10))
    assert told.ending is Ending.TOKEN_LIMIT


def test_trouble_thrown_in_keeps_what_was_told() -> None:
    endings = {
        EngineRefused("not so"): Ending.REFUSED,
        ContextOverflow("prompt too long"): Ending.TOKEN_LIMIT,
        EngineUnavailable("gone"): Ending.ENGINE_ERROR,
        SandboxFault("no zygote"): Ending.SANDBOX_ERROR,
        TimeLimitReached("too slow"): Ending.TIME_LIMIT,
    }
    for error, ending in endings.items():
        told = run([*one_call()[:4], error])
        assert told.ending is ending
        assert told.error == str(error)
        assert told.steps[0].action == "print(12 * 34)"


def test_a_question_too_long_for_the_context_is_never_judged() -> None:
    told = run([ContextOverflow("prompt too long")])
    assert told.ending is Ending.REFUSED
    assert not told.ending.is_judged


def test_seeds_depend_on_the_voice_and_the_call_alone() -> None:
    first: list[Generate | Execute] = []
    second: list[Generate | Execute] = []
    run(one_call(), see=first.append)
    run(one_call(), of=story("another"), see=second.append)
    seeds = [[r.sampling.seed for r in run if isinstance(r, Generate)] for run in (first, second)]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == len(seeds[0])


def test_programs_reach_the_sandbox_without_their_fences() -> None:
    seen: list[Generate | Execute] = []
    run(one_call(), see=seen.append)
    assert [r.code for r in seen if isinstance(r, Execute)] == ["print(12 * 34)"]


def test_chain_of_thought_is_one_call_with_tools_off() -> None:
    of = story()
    told = answer(of, chain_of_thought(of, sampler(Role.ACTOR), bounds()), [said(LAST, ended=True)])
    assert told.ending is Ending.FINISHED
    assert told.steps[0].thought == LAST


def test_a_critic_that_never_comes_to_an_end_is_cut_at_its_budget() -> None:
    untagged = said("text\n```\nx\n```\n", stop="\n```\n")
    of = story()
    critic = sampler(Role.CRITIC, max_tokens=60)
    program = tirgen(of, sampler(Role.ACTOR), critic, POCKET, bounds(), TOOLS)
    told = answer(
        of,
        program,
        [
            said(STEP, stop="\n\n"),
            *[untagged] * 4,
            said(LAST, ended=True),
            untagged,
            untagged,
            untagged,
            untagged,
        ],
    )
    assert told.ending is Ending.FINISHED
