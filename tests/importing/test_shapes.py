"""Every published shape is told by its fields and read into our own markup."""

from __future__ import annotations

import pytest
from foreign_rows import ROWS, TORA

from tirgen.importing.shapes import SHAPES, Format, Unreadable, detect
from tirgen.problems.errors import ProblemsError
from tirgen.tir.markup import ParsedStep, parse_trajectory


@pytest.mark.parametrize("shape", Format)
def test_a_shape_is_told_by_its_fields(shape: Format) -> None:
    assert detect("file", [ROWS[shape]]) is shape


def test_an_unknown_shape_is_refused_with_its_fields() -> None:
    with pytest.raises(ProblemsError, match="its fields are prompt, reply"):
        detect("file", [{"prompt": "?", "reply": "!"}])


@pytest.mark.parametrize("shape", Format)
def test_question_program_and_output_are_found(shape: Format) -> None:
    foreign = next(SHAPES[shape].read(ROWS[shape]))
    assert foreign.question == "What is 2+2?"
    code = "x = 2\nx + 2" if shape is Format.OPENMATHREASONING else "print(2+2)"
    first, last = parse_trajectory(foreign.response)
    assert (first.action, first.observation) == (code, "4")
    assert last == ParsedStep(last.thought, None, None)
    assert "\\boxed{4}" in last.thought


def test_only_shapes_with_an_answer_of_their_own_have_a_gold() -> None:
    golds = {shape: next(SHAPES[shape].read(row)).gold for shape, row in ROWS.items()}
    assert golds == {
        Format.TORA: "4",
        Format.OPENMATHREASONING: "4",
        Format.NUMINAMATH_TIR: None,
        Format.RETOOL: None,
    }


def test_every_response_of_a_tora_row_counts() -> None:
    assert [foreign.name for foreign in SHAPES[Format.TORA].read(TORA)] == ["3", "3"]


@pytest.mark.parametrize("shape", Format)
def test_a_row_of_another_kind_is_named(shape: Format) -> None:
    with pytest.raises(Unreadable, match="has no"):
        list(SHAPES[shape].read({"problem": "p", "question": "q"}))
