"""The layouts in which trajectories with tools are published, recognised by their fields.

tora               question, gt, code: a list of whole responses       (microsoft/ToRA outputs)
openmathreasoning  problem, expected_answer, generated_solution        (nvidia/OpenMathReasoning)
openmathinstruct   question, expected_answer, generated_solution       (nvidia/OpenMathInstruct-1)
numinamath-tir     problem, solution, messages                         (AI-MO/NuminaMath-TIR)
retool             messages: ReTool's cold-start data, verl's multi-turn form of it with `tool`
                   turns, Qwen3's `<tool_call>` with JSON
sharegpt           conversations: the same in ShareGPT's turns, with observations
atif               agent, steps: Harbor's trajectory format, calls with their results

Each is a function from a row to responses in tirgen's markup, which `tirgen.tir.markup` parses.
NuminaMath-TIR, and conversations without an answer column, have no answer besides the solution. A
solution cannot prove itself, so these rows need gold answers from another file to be judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from tirgen.data.answers import any_of
from tirgen.data.columns import ANSWER, QUESTION, Fields, find, lookup, structured
from tirgen.data.errors import NoQuestion, ProblemsError, Unusable
from tirgen.data.questions import unwrapped
from tirgen.data.tool_marks import in_fenced_blocks, response_of, turn_role, turn_text


class ResponseFormat(StrEnum):
    """The published layouts."""

    TORA = "tora"
    OPENMATHREASONING = "openmathreasoning"
    OPENMATHINSTRUCT = "openmathinstruct"
    NUMINAMATH_TIR = "numinamath-tir"
    RETOOL = "retool"
    SHAREGPT = "sharegpt"
    ATIF = "atif"


class Foreign(NamedTuple):
    """One response of a file, in tirgen's markup."""

    question: str
    gold: str | None
    response: str
    """With programs and outputs in fenced blocks."""
    name: str | None = None
    """The publisher's id of the problem."""
    model: str | None = None
    """The model that wrote it, if the row says so."""


class UnreadableRow(ValueError):
    """The row does not have the layout of its file; the message completes "this row ..."."""


@dataclass(frozen=True, slots=True)
class LayoutReader:
    """How to read the rows of one published layout."""

    fields: frozenset[str]
    """Fields that identify the layout."""
    read: Callable[[Fields], Iterator[Foreign]]
    """Raises `UnreadableRow`."""
    stateful: bool = False
    """The programs of a response ran in one interpreter, like the cells of a notebook."""


def detect(where: str, sample: Sequence[Fields]) -> ResponseFormat:
    """The format of a file from some of its rows. Raises `ProblemsError` where none fits."""
    names = {name for row in sample for name in row}
    for name, shape in SHAPES.items():
        if shape.fields <= names:
            return name
    raise ProblemsError(
        f"{where} has no known layout; its fields are {', '.join(sorted(names))}. "
        f"Convert it to one of {', '.join(ResponseFormat)}, as docs/curation.md describes them"
    )


def _tora(row: Fields) -> Iterator[Foreign]:
    responses = row.get("code")
    if not isinstance(responses, list):
        raise UnreadableRow("has no list of responses in code")
    for response in responses:
        yield Foreign(
            _text(row, "question"), _text(row, "gt"), str(response), name=_name(row, "idx")
        )


def _generated(question: str) -> Callable[[Fields], Iterator[Foreign]]:
    """NVIDIA's sets, which differ in the question's column and in the marks of programs."""

    def read(row: Fields) -> Iterator[Foreign]:
        model = row.get("generation_model")
        yield Foreign(
            _text(row, question),
            _text(row, "expected_answer"),
            in_fenced_blocks(_text(row, "generated_solution")),
            model=str(model) if model else None,
        )

    return read


def _numinamath(row: Fields) -> Iterator[Foreign]:
    yield Foreign(_text(row, "problem"), None, _text(row, "solution"))


_ASKED = re.compile(
    r".*\*user question:\*\s*(?:Answer the following Math Problem and put the answer in the format "
    r"of \\boxed\{answer\}\s*)?(.*?)\s*(?:Remember to place the final answer in the last part.*)?",
    re.DOTALL | re.IGNORECASE,
)


def _conversation(column: str) -> Callable[[Fields], Iterator[Foreign]]:
    """One question, then turns of the assistant and its tools; an answer only in its own column."""

    def read(row: Fields) -> Iterator[Foreign]:
        yield _of_turns(_objects(row, column), row)

    return read


def _atif(row: Fields) -> Iterator[Foreign]:
    """Harbor's steps as turns; the answer and the like are under `extra`, as we export them."""
    steps, extra, agent = _objects(row, "steps"), row.get("extra"), row.get("agent")
    turns = [turn for step in steps for turn in _turns_of(step)]
    model = agent.get("model_name") if isinstance(agent, Mapping) else None
    found = _of_turns(turns, extra if isinstance(extra, Mapping) else {})
    yield found._replace(model=str(model) if model else None)


def _turns_of(step: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The text of one step, then each call with its results."""
    role = "assistant" if step.get("source") == "agent" else step.get("source")
    yield {**step, "role": role, "content": step.get("message"), "tool_calls": None}
    observed = step.get("observation")
    results = _objects(observed, "results") if isinstance(observed, Mapping) else []
    for call in _objects(step, "tool_calls") if step.get("tool_calls") else ():
        named = {"name": call.get("function_name"), "arguments": call.get("arguments")}
        yield {"role": "assistant", "tool_calls": [named]}
        for result in results:
            if result.get("source_call_id") == call.get("tool_call_id"):
                yield {"role": "tool", "content": result.get("content")}


def _of_turns(turns: Sequence[Mapping[str, Any]], beside: Fields) -> Foreign:
    """One response from turns; `beside` has what is known of the problem outside of them."""
    asked, *answered = _from_question(turns)
    text = turn_text(asked).strip()
    retool = _ASKED.fullmatch(text)
    stated = (str(beside[name]).strip() for name in find(beside, QUESTION))
    question = next((alone for alone in stated if alone and alone in text), None)
    question = question or unwrapped(retool[1] if retool else text)
    return Foreign(question, _gold(beside), response_of(answered))


def _objects(row: Fields, column: str) -> list[Mapping[str, Any]]:
    """The list of objects in a column. Raises `UnreadableRow`."""
    found = structured(row.get(column))
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise UnreadableRow(f"has no {column}")
    return found


def _from_question(turns: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The turns from the question on. Raises `UnreadableRow`."""
    try:
        roles = [turn_role(turn) for turn in turns]
    except NoQuestion as error:
        raise UnreadableRow(str(error)) from None
    first = next((i for i, role in enumerate(roles) if role != "system"), len(roles))
    if roles[first : first + 1] != ["user"] or not turn_text(turns[first]).strip():
        raise UnreadableRow("has no question")
    if "assistant" not in roles[first:]:
        raise UnreadableRow("has no response")
    if others := set(roles[first + 1 :]) - {"assistant", "tool"}:
        raise UnreadableRow(f"is not one question and one response (a turn of {min(others)!r})")
    return turns[first:]


def _gold(row: Fields) -> str | None:
    """The answer column of a row with a conversation, if there is one."""
    for name in (*find(row, ANSWER), "reward_model.ground_truth"):
        try:
            return any_of(lookup(row, name))
        except Unusable:
            continue
    return None


def _text(row: Fields, field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str | int | float) or not str(value).strip():
        raise UnreadableRow(f"has no {field}")
    return str(value)


def _name(row: Fields, field: str) -> str | None:
    value = row.get(field)
    return None if value is None else str(value)


SHAPES: Mapping[ResponseFormat, LayoutReader] = {
    ResponseFormat.TORA: LayoutReader(frozenset({"question", "gt", "code"}), _tora),
    ResponseFormat.OPENMATHREASONING: LayoutReader(
        frozenset({"problem", "expected_answer", "generated_solution"}),
        _generated("problem"),
        stateful=True,
    ),
    ResponseFormat.OPENMATHINSTRUCT: LayoutReader(
        frozenset({"question", "expected_answer", "generated_solution"}),
        _generated("question"),
        stateful=True,
    ),
    ResponseFormat.NUMINAMATH_TIR: LayoutReader(
        frozenset({"problem", "solution", "messages"}), _numinamath
    ),
    ResponseFormat.RETOOL: LayoutReader(frozenset({"messages"}), _conversation("messages")),
    ResponseFormat.SHAREGPT: LayoutReader(
        frozenset({"conversations"}), _conversation("conversations")
    ),
    ResponseFormat.ATIF: LayoutReader(frozenset({"agent", "steps"}), _atif),
}
