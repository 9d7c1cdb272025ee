"""What each format says of a trajectory, on rows with everything in them."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from storage.errors import ExportRefused
from storage.exports.common import Texts
from storage.exports.conversations import step_messages
from storage.exports.formats import SPECS, ExportFormat
from storage.exports.tokens import IGNORED
from storage.records import (
    FilterVerdict,
    Level,
    Outcome,
    Program,
    Step,
    TokenStream,
    Trajectory,
    Verdict,
)

Make = Callable[..., Trajectory]
TEXTS = Texts(
    tool_prompt=lambda problem: f"Use programs: {problem.question}",
    plain_prompt=lambda problem: problem.question,
    response=lambda steps: "|".join(step.thought for step in steps),
)
RAN = Step(thought="Add them. ", action="print(1 + 2)", observation="3", outcome=Outcome.OK)
END = Step(thought="So \\boxed{3}.")


def rows(format: ExportFormat, *trajectories: Trajectory) -> list[dict[str, Any]]:
    return list(SPECS[format].rows(trajectories, TEXTS))


@pytest.mark.parametrize("format", [f for f in ExportFormat if SPECS[f].schema is not None])
def test_rows_have_the_columns_of_their_schema(format: ExportFormat, make_trajectory: Make) -> None:
    schema = SPECS[format].schema
    found = rows(format, *_right_and_wrong(make_trajectory), *_branches(make_trajectory))
    assert found
    assert schema
    assert all(set(row) == set(schema.names) for row in found)
    assert pa.Table.from_pylist(found, schema).num_rows == len(found)


def test_each_program_is_a_call_and_each_output_a_tool_message(make_trajectory: Make) -> None:
    [row] = rows(ExportFormat.TOOLS, make_trajectory(steps=(RAN, END)))
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "python", "arguments": {"code": "print(1 + 2)"}},
    }
    assert row["messages"] == [
        {"role": "user", "content": "What is 6 times 7?"},
        {"role": "assistant", "content": "Add them.", "tool_calls": [call]},
        {"role": "tool", "content": "3", "name": "python", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "So \\boxed{3}."},
    ]
    [tool] = json.loads(str(row["tools"]))
    assert tool["function"]["parameters"]["required"] == ["code"]


def test_what_was_thought_is_reasoning_content() -> None:
    steps = (
        Step(thought="<think>\nLet me see.", action="print(1)", observation="1"),
        Step(thought="It is 1.\n</think>\n\nThe answer is \\boxed{1}."),
    )
    first, tool, last = step_messages(steps)
    assert (first["content"], first["reasoning_content"]) == ("", "Let me see.")
    assert tool["role"] == "tool"
    assert (last["content"], last["reasoning_content"]) == (
        "The answer is \\boxed{1}.",
        "It is 1.",
    )


def test_labels_are_the_tokens_that_a_policy_wrote(make_trajectory: Make) -> None:
    stream = TokenStream(
        token_ids=(5, 6, 7, 8),
        loss_mask=(False, True, False, True),
        logprobs=(None, -0.5, None, None),
        prompt_length=1,
    )
    [row] = rows(ExportFormat.TOKENS, make_trajectory(tokens=stream))
    assert row["input_ids"] == [5, 6, 7, 8]
    assert row["labels"] == [IGNORED, 6, IGNORED, 8]


def test_rows_without_token_ids_are_refused_with_what_to_do(make_trajectory: Make) -> None:
    with pytest.raises(ExportRefused, match=r"no token ids.*--format tools"):
        rows(ExportFormat.TOKENS, make_trajectory(tokens=TokenStream()))


def test_a_pair_is_a_right_and_a_wrong_answer_to_one_problem(make_trajectory: Make) -> None:
    right, wrong = _right_and_wrong(make_trajectory)
    lonely = make_trajectory("p9")
    [row] = rows(ExportFormat.PAIRS, right, wrong, lonely)
    assert (row["trajectory_id"], row["rejected_id"]) == (right.trajectory_id, wrong.trajectory_id)
    assert row["prompt"] == [{"role": "user", "content": "Use programs: What is 6 times 7?"}]


def test_a_right_answer_that_a_filter_dropped_is_preferred_to_nothing(
    make_trajectory: Make,
) -> None:
    right, wrong = _right_and_wrong(make_trajectory)
    dropped = replace(right, filters=(FilterVerdict(rule="r", kept=False),))
    assert rows(ExportFormat.PAIRS, dropped, wrong) == []


def test_a_step_pair_has_one_prefix_and_two_suffixes(make_trajectory: Make) -> None:
    [row] = rows(ExportFormat.STEP_PAIRS, *_branches(make_trajectory))
    assert (row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) == ([1, 2], [3], [4])


def test_rl_gets_one_row_a_problem_with_its_pass_rate(make_trajectory: Make) -> None:
    found = rows(ExportFormat.VERL, *_right_and_wrong(make_trajectory), make_trajectory("p9"))
    assert [row["extra_info"]["pass_rate"] for row in found] == [0.5, 1.0]
    assert found[0]["reward_model"] == {"style": "rule", "ground_truth": "42"}


def _right_and_wrong(make: Make) -> list[Trajectory]:
    wrong = Verdict(correct=False, method="symbolic", reason="no")
    stream = TokenStream(token_ids=(1, 2), loss_mask=(False, True), logprobs=(None, -1.0))
    return [
        make(attempt=0, tokens=stream),
        make(attempt=1, tokens=stream, verdict=wrong, final_answer="41"),
    ]


def _branches(make: Make) -> list[Trajectory]:
    def branch(attempt: int, outcome: Outcome, suffix: int) -> Trajectory:
        stream = TokenStream(
            token_ids=(1, 2, suffix),
            loss_mask=(False, False, True),
            logprobs=(None, None, -1.0),
            prompt_length=2,
        )
        return make(
            attempt=attempt,
            program=Program.ROLLOUT,
            level=Level.STEP,
            group_id="t1/2",
            steps=(replace(RAN, outcome=outcome),),
            verdict=None,
            tokens=stream,
        )

    return [branch(0, Outcome.OK, 3), branch(1, Outcome.ERROR, 4)]
