"""Every published shape is told by its fields and read into our own markup."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.data.foreign_rows import ATIF, CALL, QWEN3, ROWS, TORA, VERL_RETOOL
from tirgen.data.columns import Fields
from tirgen.data.errors import ProblemsError
from tirgen.data.response_layouts import SHAPES, ResponseFormat, UnreadableRow, detect
from tirgen.data.tool_marks import in_fenced_blocks
from tirgen.tir.markup import ParsedStep, parse_trajectory


@pytest.mark.parametrize("shape", ResponseFormat)
def test_a_shape_is_told_by_its_fields(shape: ResponseFormat) -> None:
    assert detect("file", [ROWS[shape]]) is shape


def test_an_unknown_shape_is_refused_with_its_fields() -> None:
    with pytest.raises(ProblemsError, match="its fields are prompt, reply"):
        detect("file", [{"prompt": "?", "reply": "!"}])


@pytest.mark.parametrize("shape", ResponseFormat)
def test_question_program_and_output_are_found(shape: ResponseFormat) -> None:
    foreign = next(SHAPES[shape].read(ROWS[shape]))
    assert foreign.question == "What is 2+2?"
    code = "x = 2\nx + 2" if SHAPES[shape].stateful else "print(2+2)"
    first, last = parse_trajectory(foreign.response)
    assert (first.action, first.observation) == (code, "4")
    assert last == ParsedStep(last.thought, None, None)
    assert "\\boxed{4}" in last.thought


def test_only_shapes_with_an_answer_of_their_own_have_a_gold() -> None:
    golds = {shape: next(SHAPES[shape].read(row)).gold for shape, row in ROWS.items()}
    assert golds == {
        ResponseFormat.TORA: "4",
        ResponseFormat.OPENMATHREASONING: "4",
        ResponseFormat.OPENMATHINSTRUCT: "4",
        ResponseFormat.NUMINAMATH_TIR: None,
        ResponseFormat.RETOOL: None,
        ResponseFormat.SHAREGPT: None,
        ResponseFormat.ATIF: None,
    }


def test_every_response_of_a_tora_row_counts() -> None:
    assert [foreign.name for foreign in SHAPES[ResponseFormat.TORA].read(TORA)] == ["3", "3"]


@pytest.mark.parametrize("row", [VERL_RETOOL, QWEN3], ids=["verl", "qwen3"])
@pytest.mark.parametrize("written", [lambda turns: turns, json.dumps], ids=["turns", "json"])
def test_turns_of_tools_are_outputs(row: Fields, written: Callable[[object], object]) -> None:
    row = {**row, "messages": written(row["messages"])}
    assert detect("file", [row]) is ResponseFormat.RETOOL
    foreign = next(SHAPES[ResponseFormat.RETOOL].read(row))
    first, last = parse_trajectory(foreign.response)
    assert (foreign.question, foreign.gold) == ("What is 2+2?", row.get("answer"))
    assert (first.action, first.observation) == ("print(2+2)", "4")
    assert "\\boxed{4}" in last.thought


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking_in_a_field_of_its_own_is_kept(name: str) -> None:
    turns = [
        {"role": "user", "content": "What is 2+2?"},
        {"role": "assistant", "content": "It is \\boxed{4}.", name: "Two and two."},
    ]
    read = next(SHAPES[ResponseFormat.RETOOL].read({"messages": turns}))
    assert read.response == "<think>\nTwo and two.\n</think>\n\nIt is \\boxed{4}."


@pytest.mark.parametrize("broken", ["tool_calls", "observation"])
@pytest.mark.parametrize("value", ["x", ["x"], {"results": "x"}, {"results": ["x"]}, 3])
def test_a_step_of_another_kind_is_no_crash(broken: str, value: object) -> None:
    steps = [*ATIF["steps"][:2], {**ATIF["steps"][2], broken: value}, ATIF["steps"][3]]
    with suppress(UnreadableRow):  # and no other error
        list(SHAPES[ResponseFormat.ATIF].read({**ATIF, "steps": steps}))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (CALL, "print(2+2)"),
        ('<tool_call>{"name": "p", "arguments": "{\\"code\\": \\"a\\"}"}</tool_call>', "a"),
        ('<tool_call>{"name": "p", "arguments": {"source": "a = 1\\nb"}}</tool_call>', "a = 1\nb"),
        ("<tool_call>\nx = {}\nx\n</tool_call>", "x = {}\nx"),
        ("<code>\n```python\nif a:\n    b\n```\n</code>", "if a:\n    b"),
        ("<llm-code>\n    a\n</llm-code>", "    a"),
    ],
)
def test_every_mark_of_a_program_gives_its_code(call: str, code: str) -> None:
    text = f"Look.\n{in_fenced_blocks(call)}\n<tool_response>\n5\n```\n</tool_response>"
    [step] = parse_trajectory(in_fenced_blocks(text))
    assert (step.action, step.observation) == (code, "5\n'''")


def test_a_second_question_is_not_one_response() -> None:
    turns = [*QWEN3["messages"], {"role": "user", "content": "And 3+3?"}]
    with pytest.raises(UnreadableRow, match="not one question and one response"):
        list(SHAPES[ResponseFormat.RETOOL].read({"messages": turns}))


@pytest.mark.parametrize("shape", ResponseFormat)
def test_a_row_of_another_kind_is_named(shape: ResponseFormat) -> None:
    with pytest.raises(UnreadableRow, match="has no"):
        list(SHAPES[shape].read({"problem": "p", "question": "q"}))
