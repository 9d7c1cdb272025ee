"""The viewer's logs, read back through the API of the viewer's makers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from inspect_ai.log import EvalLog, EvalSample, read_eval_log
from inspect_ai.model import ChatMessageAssistant, ChatMessageTool, ContentReasoning, ContentText

from storage.exports.inspect_log import ALL_ROWS, SHOWN_ROWS, write_logs
from storage.find import Found
from storage.records import (
    UNVERIFIABLE,
    Attempt,
    Ending,
    FilterVerdict,
    Outcome,
    Program,
    Step,
    Trajectory,
    Verdict,
)

ACCURACY = {("demo@v1", "tirgen", "pocket"): 0.25}


def read(folder: Path, *rows: Trajectory) -> list[EvalLog]:
    found = [Found(r, "v1") for r in rows]
    return [read_eval_log(str(path)) for path in write_logs(folder, found, ACCURACY, "all")]


def sample(folder: Path, row: Trajectory) -> EvalSample:
    [log] = read(folder, row)
    [found] = log.samples or []
    return found


def test_a_log_holds_one_version_program_and_policy(
    tmp_path: Path, make_trajectory: Callable[..., Trajectory]
) -> None:
    plain = make_trajectory("p1")
    again = make_trajectory("p1", 1)
    thought = dataclasses.replace(make_trajectory("p2"), program=Program.COT)
    learned = dataclasses.replace(plain.provenance, policy_version="pupil@v2")
    logs = read(tmp_path, plain, thought, again, dataclasses.replace(plain, provenance=learned))
    assert [(log.eval.task, log.eval.model, len(log.samples or [])) for log in logs] == [
        ("demo@v1 cot", "pocket", 1),
        ("demo@v1 tirgen", "pocket", 2),
        ("demo@v1 tirgen", "pupil@v2", 1),
    ]
    assert len({log.location for log in logs}) == 3


def test_the_same_attempt_of_two_runs_is_two_samples(
    tmp_path: Path, make_trajectory: Callable[..., Trajectory]
) -> None:
    row = make_trajectory("p1")
    [log] = read(tmp_path, row, dataclasses.replace(row, trajectory_id="tother"))
    assert {(one.uuid, one.epoch) for one in log.samples or []} == {
        (row.trajectory_id, 1),
        ("tother", 2),
    }


def test_thought_code_and_output_are_told_apart(
    tmp_path: Path, make_trajectory: Callable[..., Trajectory]
) -> None:
    row = make_trajectory()
    found = sample(tmp_path, row)
    asked, first, output, last = found.messages
    assert (found.input, found.target, asked.text) == ("What is 6 times 7?", "42", found.input)
    assert isinstance(first, ChatMessageAssistant)
    assert first.tool_calls
    assert (first.text, first.tool_calls[0].arguments) == (
        "Let me compute it.",
        {"code": "print(6 * 7)"},
    )
    assert isinstance(output, ChatMessageTool)
    assert (output.text, output.error, output.tool_call_id) == ("42", None, first.tool_calls[0].id)
    assert last.text == "So the answer is \\boxed{42}."
    assert found.metadata["drafts"] == {"step 1": "6 times 7 is 43."}
    assert found.metadata["trajectory"] == found.uuid == row.trajectory_id


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Outcome.OK, None),
        (Outcome.NO_OUTPUT, None),
        (Outcome.ERROR, "unknown"),
        (Outcome.TIMEOUT, "timeout"),
        (Outcome.OOM, "limit"),
        (Outcome.INFRA_ERROR, "sandbox_unavailable"),
    ],
)
def test_what_failed_is_an_error_of_its_call(
    tmp_path: Path, make_trajectory: Callable[..., Trajectory], outcome: Outcome, error: str | None
) -> None:
    step = Step(thought="t", action="a", observation="o", outcome=outcome)
    tool = sample(tmp_path, make_trajectory(steps=(step,))).messages[2]
    assert isinstance(tool, ChatMessageTool)
    assert (tool.error and tool.error.type) == error
    assert tool.text == "o"


def test_what_self_correction_replaced_is_shown_before_what_replaced_it(
    tmp_path: Path, make_trajectory: Callable[..., Trajectory]
) -> None:
    failed = Attempt(thought="first", action="1/0", observation="no", outcome=Outcome.ERROR)
    step = Step(thought="then", action="1", observation="1", outcome=Outcome.OK, attempts=(failed,))
    messages = sample(tmp_path, make_trajectory(steps=(step,))).messages
    assert ["first" in messages[1].text, messages[2].text] == [True, "no"]
    assert [message.text for message in messages[3:]] == ["then", "1"]


def test_thinking_is_reasoning_and_what_follows_it_is_text(
    tmp_path: Path, make_trajectory: Callable[..., Trajectory]
) -> None:
    steps = (Step(thought="<think>\nlong"), Step(thought="and on</think>\n\nIt is 3."))
    inside, both = sample(tmp_path, make_trajectory(steps=steps)).messages[1:]
    kinds: list[object] = [ContentReasoning, ContentReasoning, ContentText]
    assert [type(part) for part in (*inside.content, *both.content)] == kinds
    assert both.text == "It is 3."


@pytest.mark.parametrize(
    ("verdict", "letter"),
    [
        (Verdict(correct=True, method="m", reason="r"), "C"),
        (Verdict(correct=False, method="m", reason="r"), "I"),
        (Verdict(correct=False, method=UNVERIFIABLE, reason="r"), "N"),
        (None, "N"),
    ],
)
def test_scores_say_what_the_store_says(
    tmp_path: Path, make_trajectory: Callable[..., Trajectory], verdict: Verdict | None, letter: str
) -> None:
    dropped = FilterVerdict(rule="boxed", kept=False, reason="no box")
    ending = {} if verdict else {"ending": Ending.ENGINE_ERROR}
    row = make_trajectory(verdict=verdict, filters=(dropped,), **ending)
    scores = sample(tmp_path, row).scores or {}
    assert scores["correct"].value == letter
    assert (scores["kept"].value, scores["kept"].explanation) == (0, "boxed: no box")
    assert (scores["calls"].value, scores["exec_pass"].value) == (1, 1.0)


def test_tokens_of_actor_and_critic_are_counted_per_model(
    tmp_path: Path, make_trajectory: Callable[..., Trajectory]
) -> None:
    [log] = read(tmp_path, make_trajectory("p1"), make_trajectory("p2"))
    usage = log.stats.model_usage
    assert (usage["pocket"].output_tokens, usage["c"].total_tokens) == (32, 0)


def test_the_accuracy_is_that_of_all_rows_not_of_those_that_are_shown(
    tmp_path: Path, make_trajectory: Callable[..., Trajectory]
) -> None:
    [log] = read(tmp_path, make_trajectory("p1"), make_trajectory("p2"))
    assert log.results
    [metric] = log.results.scores[0].metrics.values()
    assert (metric.name, metric.value) == (ALL_ROWS, 0.25)
    assert log.eval.tags == ["shown: all"]


def test_the_accuracy_of_a_selection_is_named_so(
    tmp_path: Path, make_trajectory: Callable[..., Trajectory]
) -> None:
    right, wrong = make_trajectory("p1"), make_trajectory("p2")
    assert wrong.verdict
    wrong = dataclasses.replace(wrong, verdict=dataclasses.replace(wrong.verdict, correct=False))
    lost = make_trajectory("p3", verdict=None, ending=Ending.ENGINE_ERROR)
    found = [Found(row, None) for row in (right, wrong, lost)]
    [log] = [read_eval_log(str(path)) for path in write_logs(tmp_path, found, ACCURACY, "all")]
    assert log.results
    [metric] = log.results.scores[0].metrics.values()
    assert (metric.name, metric.value) == (SHOWN_ROWS, 0.5)
