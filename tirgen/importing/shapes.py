"""The shapes in which tool-integrated reasoning data is published, told apart by their fields.

tora               question, gt, code: a list of whole responses       (microsoft/ToRA outputs)
openmathreasoning  problem, expected_answer, generated_solution        (nvidia/OpenMathReasoning)
numinamath-tir     problem, solution, messages                         (AI-MO/NuminaMath-TIR)
retool             messages alone                                      (ReTool's cold-start data)

Each is a function from a row to responses in our own markup; `tirgen.tir.markup` parses those.
NuminaMath-TIR and ReTool name no answer beside the solution: what a solution says of itself proves
nothing, so their rows need answers from elsewhere to be judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from tirgen.problems.columns import Fields
from tirgen.problems.errors import ProblemsError


class Format(StrEnum):
    """The published shapes."""

    TORA = "tora"
    OPENMATHREASONING = "openmathreasoning"
    NUMINAMATH_TIR = "numinamath-tir"
    RETOOL = "retool"


class Foreign(NamedTuple):
    """One response as somebody else recorded it."""

    question: str
    gold: str | None
    response: str
    """With programs and outputs in our blocks."""
    name: str | None = None
    """The publisher's own id of the problem."""
    model: str | None = None
    """Who wrote it, if the row says so."""


class Unreadable(ValueError):
    """The row has not the shape of its file; the message completes "this row ..."."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How to read the rows of one published format."""

    fields: frozenset[str]
    """What tells it from the others."""
    read: Callable[[Fields], Iterator[Foreign]]
    """Raises `Unreadable`."""
    stateful: bool = False
    """Its programs ran in one interpreter per response, notebook cell by cell."""


def detect(where: str, sample: Sequence[Fields]) -> Format:
    """The format of a file from some of its rows. Raises `ProblemsError` where none fits."""
    names = {name for row in sample for name in row}
    for name, shape in SHAPES.items():
        if shape.fields <= names:
            return name
    raise ProblemsError(
        f"{where} has none of the shapes known here; its fields are {', '.join(sorted(names))}. "
        f"Convert it to one of {', '.join(Format)}, as docs/curation.md describes them"
    )


def _tora(row: Fields) -> Iterator[Foreign]:
    responses = row.get("code")
    if not isinstance(responses, list):
        raise Unreadable("has no list of responses in code")
    for response in responses:
        yield Foreign(
            _text(row, "question"), _text(row, "gt"), str(response), name=_name(row, "idx")
        )


_TOOL_CALL = re.compile(r"<tool_call>\n?(.*?)\n?</tool_call>", re.DOTALL)


def _openmathreasoning(row: Fields) -> Iterator[Foreign]:
    response = _TOOL_CALL.sub(_as_program, _text(row, "generated_solution"))
    model = row.get("generation_model")
    yield Foreign(
        _text(row, "problem"),
        _text(row, "expected_answer"),
        response,
        model=str(model) if model else None,
    )


def _numinamath(row: Fields) -> Iterator[Foreign]:
    yield Foreign(_text(row, "problem"), None, _text(row, "solution"))


_CODE = re.compile(r"<code>\s*(?:```(?:python|py)?\s*\n)?(.*?)\n?(?:```\s*)?</code>", re.DOTALL)
_INTERPRETER = re.compile(r"<interpreter>\n?(.*?)\n?</interpreter>", re.DOTALL)
_ASKED = re.compile(
    r".*\*user question:\*\s*(?:Answer the following Math Problem and put the answer in the format "
    r"of \\boxed\{answer\}\s*)?(.*?)\s*(?:Remember to place the final answer in the last part.*)?",
    re.DOTALL | re.IGNORECASE,
)


def _retool(row: Fields) -> Iterator[Foreign]:
    said = {str(turn["role"]): turn.get("content") for turn in _turns(row)}
    asked = _text(said, "user")
    question = _ASKED.fullmatch(asked)
    response = _CODE.sub(_as_program, _text(said, "assistant"))
    response = _INTERPRETER.sub(lambda found: f"```output\n{found[1]}\n```", response)
    yield Foreign(question[1] if question else asked, None, response)


def _as_program(found: re.Match[str]) -> str:
    return f"```python\n{found[1]}\n```"


def _turns(row: Fields) -> list[Mapping[str, Any]]:
    turns = row.get("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise Unreadable("has no messages")
    roles = [turn.get("role") for turn in turns]
    if [role for role in roles if role != "system"] != ["user", "assistant"]:
        raise Unreadable("is not one question and one response")
    return turns


def _text(row: Fields, field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str | int | float) or not str(value).strip():
        raise Unreadable(f"has no {field}")
    return str(value)


def _name(row: Fields, field: str) -> str | None:
    value = row.get(field)
    return None if value is None else str(value)


SHAPES: Mapping[Format, Shape] = {
    Format.TORA: Shape(frozenset({"question", "gt", "code"}), _tora),
    Format.OPENMATHREASONING: Shape(
        frozenset({"problem", "expected_answer", "generated_solution"}),
        _openmathreasoning,
        stateful=True,
    ),
    Format.NUMINAMATH_TIR: Shape(frozenset({"problem", "solution", "messages"}), _numinamath),
    Format.RETOOL: Shape(frozenset({"messages"}), _retool),
}
