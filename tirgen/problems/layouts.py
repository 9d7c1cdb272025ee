"""The layouts data sets are published in, told apart by their fields.

gsm8k          question, answer ending in "#### N"
gsm_hard       input, code, target                         (a float)
math           problem, solution ending in a box           (MATH, Minerva; no answer column)
olympiadbench  question, context, final_answer             (a list)
deepmath       question, final_answer, difficulty          (DeepMath-103K)
verl           prompt as chat messages, reward_model       (DAPO, ToRL)
plain          one question column, one answer column      (AIME, AMC, DeepScaleR, your own)
named          the columns the user named
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from tirgen.problems import answers
from tirgen.problems.errors import ProblemsError
from tirgen.problems.questions import from_chat, question_text

Fields: TypeAlias = Mapping[str, Any]

QUESTION_NAMES = ("problem", "question", "input", "prompt", "query")
ANSWER_NAMES = ("answer", "final_answer", "target", "ground_truth", "expected_answer", "gold")
ID_NAMES = ("id", "problem_id", "unique_id", "idx", "index", "extra_info.index")
DIFFICULTY_NAMES = ("level", "difficulty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How to read the rows of one kind of data set."""

    name: str
    question: Callable[[Fields], str]
    """Raises `NoQuestion`."""
    answer: Callable[[Fields], str]
    """Raises `NoAnswer`."""


def detect(
    where: str, sample: list[Fields], question_field: str | None, answer_field: str | None
) -> Layout:
    """The layout of a file, from a sample of its rows.

    Raises `ProblemsError` when the fields do not tell, or a named field is in no row.
    """
    names = sorted({name for row in sample for name in row})
    for field in (question_field, answer_field):
        if field is not None and all(lookup(row, field) is None for row in sample):
            raise ProblemsError(f"{where} has no field {field!r}; it has {', '.join(names)}")
    if question_field and answer_field:
        return _columns("named", question_field, answers.from_any, answer_field)
    published = None if question_field or answer_field else _published(where, set(names), sample)
    return published or _columns(
        "named" if question_field or answer_field else "plain",
        question_field or _only(where, "question", QUESTION_NAMES, sample),
        answers.from_any if answer_field else answers.plain,
        answer_field or _only(where, "answer", ANSWER_NAMES, sample),
    )


def lookup(row: Fields, field: str) -> Any:
    """A field by name, or by a dotted path into nested ones; None where it is missing."""
    if field in row:
        return row[field]
    head, dot, rest = field.partition(".")
    inner = row.get(head)
    return lookup(inner, rest) if dot and isinstance(inner, Mapping) else None


def _published(where: str, names: set[str], sample: list[Fields]) -> Layout | None:
    if {"canonical_solution", "test"} <= names:
        raise ProblemsError(
            f"{where} is code generation judged by tests (HumanEval): its tasks have no answer to "
            "verify, so no trajectories can be made from them; choose problems with answers"
        )
    if {"prompt", "reward_model"} <= names:
        return Layout(
            name="verl",
            question=lambda row: from_chat(row.get("prompt")),
            answer=lambda row: answers.plain(lookup(row, "reward_model.ground_truth")),
        )
    if {"question", "final_answer", "answer_type"} <= names:
        return _columns("olympiadbench", "question", answers.plain, "final_answer", "context")
    if {"question", "final_answer", "difficulty"} <= names:
        return _columns("deepmath", "question", answers.plain, "final_answer")
    if {"input", "target"} <= names:
        return _columns("gsm_hard", "input", answers.plain, "target")
    if "####" in "".join(str(row.get("answer")) for row in sample if "question" in row):
        return _columns("gsm8k", "question", answers.after_hashes, "answer")
    if {"problem", "solution"} <= names and not names & set(ANSWER_NAMES):
        return _columns("math", "problem", answers.last_box, "solution")
    return None


def _columns(
    name: str,
    question: str,
    read_answer: Callable[[object], str],
    answer: str,
    context: str | None = None,
) -> Layout:
    """Question and answer in a column each; a context, where there is one, opens the question."""

    def ask(row: Fields) -> str:
        text = question_text(lookup(row, question))
        opening = str(row.get(context) or "").strip() if context else ""
        return f"{opening}\n\n{text}" if opening else text

    return Layout(name=name, question=ask, answer=lambda row: read_answer(lookup(row, answer)))


def _only(where: str, what: str, known: tuple[str, ...], sample: list[Fields]) -> str:
    """The one column of `known` names; several will do if they never differ (AIME, AMC)."""
    present = [name for name in known if any(name in row for row in sample)]
    same = all(len({str(row.get(name)) for name in present}) == 1 for row in sample)
    if len(present) == 1 or (present and same):
        return present[0]
    names = ", ".join(present or sorted({name for row in sample for name in row}))
    raise ProblemsError(
        f"{where}: cannot tell which field holds the {what} ({names}); name it with --{what}-field"
    )
