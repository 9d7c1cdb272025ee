from __future__ import annotations

from storage.records import Ending, Outcome
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
from tirgen.engine.errors import ContextOverflow, EngineUnavailable
from tirgen.engine.protocol import Completion
from tirgen.sandbox.contract import Execution
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.core import Execute, Generate, Role
from tirgen.tir.markup import render_output
from tirgen.tir.refine import ToolPolicy
from tirgen.tir.rollout import NO_MORE_PROGRAMS, Correction, rollout

GO_ON = ToolPolicy(limits=TOOLS.limits, observation_characters=1024, stop_at_failure=False)
THOUGHT = "First we set up. Then we multiply.\n"
GOOD = "```python\nprint(12 * 34)\n```\n"
BAD = "```python\nprint(twelve * 34)\n```\n"
LAST = "So \\boxed{408}."
ERROR = ran("", Outcome.ERROR, "NameError: name 'twelve' is not defined")


def run(
    answers: Answers,
    correction: Correction | None = None,
    tools: ToolPolicy = GO_ON,
    see: See = lambda request: None,
    **changes: object,
) -> TrajectoryBuilder:
    of = story()
    program = rollout(of, sampler(Role.ACTOR), bounds(**changes), tools, correction)
    return answer(of, program, answers, see)


def test_thinking_ends_at_its_budget_and_the_policy_answers() -> None:
    """The official code went on without the question (method D4)."""
    asked: list[Generate] = []

    def see(request: Generate | Execute) -> None:
        if isinstance(request, Generate):
            asked.append(request)

    thought = "<think>\nIt is long. "
    told = run(
        [said(thought), said(LAST, ended=True)],
        see=see,
        thinking_tokens=len(thought),
        budget_sentence="Time is up.",
        tokens=500,
    )
    assert told.ending is Ending.FINISHED
    closing = "\nTime is up.\n</think>\n\n"
    limits = [request.sampling.max_tokens for request in asked]
    assert limits == [len(thought), 500 - len(thought) - len(closing)]
    assert asked[1].prompt.reply == thought + closing
    assert asked[1].prompt.messages == asked[0].prompt.messages
    stream = told.transcript.stream()
    own = [t for t, m in zip(stream.token_ids, stream.loss_mask, strict=True) if m]
    assert CharacterRenderer().decode(tuple(own)).startswith(thought + LAST)


def test_a_closed_or_absent_thinking_has_no_budget() -> None:
    for text in ("<think>\nShort.\n</think>\n\nSo ", "No thinking. "):
        told = run([said(text), said(LAST, ended=True)], thinking_tokens=30, budget_sentence="!")
        assert "!" not in told.transcript.text


def failing(times: int) -> list[Completion | Execution]:
    tries: list[Completion | Execution] = []
    for number in range(times):
        tries += [said(f"try {number}\n{BAD}", stop="\n```\n"), ERROR]
    return [said(THOUGHT + BAD, stop="\n```\n"), ERROR, *tries[2:]] if times else []


def test_a_rollout_runs_its_own_programs() -> None:
    told = run([said(THOUGHT + GOOD, stop="\n```\n"), ran("408\n"), said(LAST, ended=True)])
    assert told.ending is Ending.FINISHED
    assert [step.action for step in told.steps] == ["print(12 * 34)", None]
    stream = told.transcript.stream()
    masked = [t for t, m in zip(stream.token_ids, stream.loss_mask, strict=True) if not m]
    injected = masked[stream.prompt_length :]
    assert CharacterRenderer().decode(tuple(injected)) == "```output\n408\n```\n"


def test_training_stops_at_the_first_failed_execution() -> None:
    told = run([said(THOUGHT + BAD, stop="\n```\n"), ERROR], tools=TOOLS)
    assert told.ending is Ending.EXECUTION_FAILED


def test_k_failures_then_success_say_k_plus_one_suffixes_from_one_anchored_prefix() -> None:
    """Method C8: the anchor is set once and the prompt before it stays whole."""
    for failures in (1, 2, 4):
        seen: list[Generate | Execute] = []
        told = run(
            [
                *failing(failures),
                said(f"again\n{GOOD}", stop="\n```\n"),
                ran("408\n"),
                said(LAST, ended=True),
            ],
            Correction(suffix_tokens=10),
            see=seen.append,
        )
        prompts = [r.prompt for r in seen if isinstance(r, Generate)]
        assert len(prompts) == 1 + failures + 1
        retries = {prompt.token_ids for prompt in prompts[1:-1]}
        assert len(retries) == 1
        (anchored,) = retries
        text = CharacterRenderer().decode(anchored)
        assert text == "<user>Q<assistant>" + THOUGHT[:-10]
        assert len(told.steps[0].attempts) == failures
        assert told.steps[0].outcome is Outcome.OK
        assert told.steps[0].thought == (THOUGHT[:-10] + "again\n").strip()
        assert told.steps[0].action == "print(12 * 34)"
        assert "twelve" not in told.transcript.text


def test_after_n_corr_failures_the_last_one_stands_and_the_policy_goes_on() -> None:
    told = run([*failing(5), said(LAST, ended=True)], Correction(suffix_tokens=10))
    assert told.ending is Ending.FINISHED
    assert len(told.steps[0].attempts) == 4
    assert told.steps[0].outcome is Outcome.ERROR
    assert "NameError" in told.transcript.text


def test_the_anchor_never_crosses_the_observation_before_the_step() -> None:
    told = run(
        [
            said(THOUGHT + GOOD, stop="\n```\n"),
            ran("408\n"),
            said("short\n" + BAD, stop="\n```\n"),
            ERROR,
            said("anew\n" + GOOD, stop="\n```\n"),
            ran("408\n"),
            said(LAST, ended=True),
        ],
        Correction(suffix_tokens=500),
    )
    assert told.transcript.text.startswith(THOUGHT + GOOD + "```output\n408\n```\nanew\n")


def test_retries_count_their_tokens_but_spend_no_tool_round() -> None:
    told = run(
        [*failing(2), said(f"again\n{GOOD}", stop="\n```\n"), ran("408\n"), said(LAST, ended=True)],
        Correction(suffix_tokens=10),
        tool_rounds=2,
    )
    assert told.calls == 1
    assert told.transcript.reply_tokens > len(told.transcript.text)


def test_a_program_beyond_the_budget_is_not_run_and_the_policy_is_told_so() -> None:
    """Method A24: it cannot invent the output, since the environment's words stand there."""
    seen: list[Generate | Execute] = []
    told = run(
        [
            said(THOUGHT + GOOD, stop="\n```\n"),
            ran("408\n"),
            said("Once more.\n" + GOOD, stop="\n```\n"),
            said(LAST, ended=True),
        ],
        see=seen.append,
        tool_rounds=1,
    )
    assert told.ending is Ending.FINISHED
    assert [step.action for step in told.steps] == ["print(12 * 34)", None]
    assert "Once more." in told.steps[1].thought
    injected = render_output(NO_MORE_PROGRAMS)
    last = seen[-1]
    assert isinstance(last, Generate)
    assert last.prompt.reply.endswith(GOOD + injected)
    stream = told.transcript.stream()
    own = "".join(
        chr(t) for t, m in zip(stream.token_ids, stream.loss_mask, strict=True) if m and t
    )
    assert own == THOUGHT + GOOD + "Once more.\n" + GOOD + LAST
    assert sum(step.policy_tokens for step in told.steps) == len(own) + 1


def test_a_policy_that_ends_its_turn_with_a_program_beyond_the_budget_is_finished() -> None:
    told = run([said(THOUGHT + GOOD, ended=True)], tool_rounds=0)
    assert told.ending is Ending.FINISHED
    assert told.calls == 0


def test_each_rollout_has_its_own_budget() -> None:
    """Method D6: one counter for a batch let a sample spend what was another's."""
    for _ in range(2):
        told = run(
            [said(THOUGHT + GOOD, stop="\n```\n"), ran("408\n"), said(LAST, ended=True)],
            tool_rounds=1,
        )
        assert told.calls == 1


def test_invented_output_is_off_format_and_on_record() -> None:
    told = run([said("It is\n```output", stop="```output")])
    assert told.ending is Ending.OFF_FORMAT
    assert "It is" in told.steps[0].thought


def test_failed_tries_are_on_record_even_if_the_policy_then_writes_no_program() -> None:
    told = run([*failing(1), said(LAST, ended=True)], Correction(suffix_tokens=10))
    assert told.ending is Ending.FINISHED
    assert [step.action for step in told.steps] == [None]
    assert [attempt.outcome for attempt in told.steps[0].attempts] == [Outcome.ERROR]


def test_failed_tries_are_on_record_even_if_the_engine_is_lost() -> None:
    told = run([*failing(2), EngineUnavailable("gone")], Correction(suffix_tokens=10))
    assert told.ending is Ending.ENGINE_ERROR
    assert len(told.steps[0].attempts) == 2


def test_every_policy_token_has_the_log_probability_it_was_sampled_with() -> None:
    told = run([*failing(2), said(LAST, ended=True)], Correction(suffix_tokens=10))
    stream = told.transcript.stream()
    for logprob, own in zip(stream.logprobs, stream.loss_mask, strict=True):
        assert (logprob is not None) == own


def test_an_empty_program_is_run_so_that_nobody_invents_its_output() -> None:
    empty = said("Let me see.\n```python\n```\n", stop="\n```\n")
    told = run([empty, ran("", Outcome.NO_OUTPUT), said(LAST, ended=True)])
    assert [step.outcome for step in told.steps] == [Outcome.NO_OUTPUT, None]
    assert "printed nothing" in told.transcript.text


def test_a_policy_that_answers_its_own_refused_program_is_off_format() -> None:
    """The refusal is the executor's word; a second output after it would be the policy's."""
    told = run(
        [
            said(THOUGHT + GOOD, stop="\n```\n"),
            said("```output\n", stop="```output"),
            said("408\n```\n", stop="\n```\n"),
        ],
        tool_rounds=0,
    )
    assert NO_MORE_PROGRAMS in told.transcript.text
    assert told.ending is Ending.OFF_FORMAT


def test_what_was_said_before_the_context_was_full_is_a_step() -> None:
    told = run([said(THOUGHT), ContextOverflow("the context is full")])
    assert told.ending is Ending.TOKEN_LIMIT
    [step] = told.steps
    assert step.thought == THOUGHT.strip()
    assert step.policy_tokens == sum(told.transcript.stream().loss_mask)
