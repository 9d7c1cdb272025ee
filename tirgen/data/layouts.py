"""The layouts in which data sets are published, recognised by their columns.

gsm8k          question, answer ending in "#### N"
gsm_hard       input, code, target                         (a float)
math           problem, solution ending in a box           (MATH, Minerva; no answer column)
olympiadbench  question, context, final_answer             (a list)
deepmath       question, final_answer, difficulty          (DeepMath-103K)
verl           prompt as chat messages, reward_model       (DAPO, ToRL, Skywork-OR1, Eurus-2)
chat           a conversation alone, or beside an answer   (ORZ, ShareGPT)
choices        a question, choices, the right one          (MMLU, AQuA, Gaokao, AGIEval)
plain          one question column, one answer column      (AIME, NuminaMath, DeepScaleR, yours)
named          the columns the user named

In all of them, the context of the question (`columns.CONTEXT`) is put before it, instructions
around it are removed, and rows that the publisher marks as unanswerable (proofs, code) are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tirgen.data import answers, columns
from tirgen.data.choices import choices_of, chosen, lettered_columns, with_choices
from tirgen.data.columns import Fields, find, is_empty, lookup, structured
from tirgen.data.errors import LeftOut, NoAnswer, ProblemsError, Unusable
from tirgen.data.questions import (
    question_text,
    shared_instructions,
    single_question,
    turns,
)

ReadText = Callable[[Any], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How to read the rows of one kind of data set."""

    name: str
    question_column: str
    answer_column: str
    """May be a dotted path."""
    read_question: ReadText = question_text
    """Raises `NoQuestion`."""
    read_answer: ReadText = answers.plain
    """Raises `NoAnswer` and `LeftOut`."""
    context: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    """The columns of the choices: one for each, or one for all."""
    without_instructions: Callable[[str], str] = field(default=lambda question: question)

    def question(self, row: Fields) -> str:
        """The question with its context and choices. Raises `NoQuestion`."""
        asked = self.without_instructions(self.read_question(lookup(row, self.question_column)))
        held = [lookup(row, name) for name in self.context]
        opening = [value.strip() for value in held if isinstance(value, str) and value.strip()]
        return with_choices("\n\n".join([*opening, asked]), choices_of(row, self.choices))

    def answer(self, row: Fields) -> str:
        """The gold answer. Raises `NoAnswer` and `LeftOut`."""
        _refuse_marked(row)
        offered = choices_of(row, self.choices)
        if offered:
            return chosen(_first(row, (self.answer_column, *_chosen_columns(row))), offered)
        return self.read_answer(lookup(row, self.answer_column))

    def unread(self, sample: list[Fields]) -> list[str]:
        """Columns of long text that no question uses."""
        used = (self.question_column, self.answer_column, *self.context, *self.choices)
        return columns.unread_long_text(sample, used)


def detect(
    where: str, sample: list[Fields], question_field: str | None, answer_field: str | None
) -> Layout:
    """The layout of a file, from a sample of its rows.

    Raises `ProblemsError` if the fields do not decide it, or a named field is in no row.
    """
    names = list(dict.fromkeys(name for row in sample for name in row))
    for named in (question_field, answer_field):
        if named is not None:
            require_field(where, named, sample)
    named_by_user = question_field or answer_field
    layout = (None if named_by_user else _published(where, names, sample)) or _by_roles(
        where, names, sample, question_field, answer_field
    )
    context = [name for name in find(names, columns.CONTEXT) if name != layout.question_column]
    layout = replace(layout, context=tuple(context))
    return replace(layout, without_instructions=_instructions(layout, sample))


def require_field(where: str, named: str, sample: list[Fields]) -> None:
    """Raises `ProblemsError` where no row of the sample has the field."""
    if all(lookup(row, named) is None for row in sample):
        names = ", ".join(sorted({name for row in sample for name in row}))
        raise ProblemsError(f"{where} has no field {named!r}; it has {names}")


def _published(where: str, names: list[str], sample: list[Fields]) -> Layout | None:
    """A layout that is more than a question column and an answer column; else None."""
    has = {columns.plain_name(name) for name in names}
    if {"canonical_solution", "test"} <= has:
        raise ProblemsError(
            f"{where} is code generation judged by tests (HumanEval): its tasks have no answer to "
            "verify, so no trajectories can be made from them; choose problems with answers"
        )
    if {"prompt", "reward_model"} <= has:
        return Layout(
            name="verl",
            question_column=find(names, ["prompt"])[0],
            answer_column="reward_model.ground_truth",
            read_answer=answers.any_of,
        )
    if {"question", "final_answer"} <= has and has & {"answer_type", "difficulty"}:
        name = "olympiadbench" if "answer_type" in has else "deepmath"
        return Layout(name=name, question_column="question", answer_column="final_answer")
    if {"input", "target"} <= has and not has & {"question", "problem", "prompt"}:
        return Layout(name="gsm_hard", question_column="input", answer_column="target")
    if "####" in "".join(str(row.get("answer")) for row in sample if "question" in row):
        return Layout(
            name="gsm8k",
            question_column="question",
            answer_column="answer",
            read_answer=answers.after_hashes,
        )
    if {"problem", "solution"} <= has and not find(names, columns.ANSWER):
        return Layout(
            name="math",
            question_column="problem",
            answer_column="solution",
            read_answer=answers.last_box,
        )
    return None


def _by_roles(
    where: str,
    names: list[str],
    sample: list[Fields],
    question_field: str | None,
    answer_field: str | None,
) -> Layout:
    """A layout from the roles of the columns, or from the columns that the user named."""
    chat = [] if find(names, columns.QUESTION) else find(names, columns.CHAT)
    choices = find(names, columns.CHOICES)[:1] or lettered_columns(names)
    if question_field is None and chat:
        question, read_question, name = chat[0], single_question, "chat"
    else:
        question = question_field or _only(
            where, "question", find(names, columns.QUESTION), sample, question_text
        )
        read_question, name = question_text, "choices" if choices else "plain"
    read_answer: ReadText = answers.from_any
    candidates = find(names, [*columns.ANSWER, *(columns.CHOSEN if choices else ())])
    if answer_field is None and chat and not candidates:
        answer, read_answer = question, _answer_of_turns
    elif answer_field is None and choices:
        answer = candidates[0] if candidates else _only(where, "answer", [], sample, str)
    else:
        answer = answer_field or _only(where, "answer", candidates, sample, answers.from_any)
    return Layout(
        name="named" if question_field or answer_field else name,
        question_column=question,
        answer_column=answer,
        read_question=read_question,
        read_answer=read_answer,
        choices=tuple(choices),
    )


def _only(where: str, what: str, present: list[str], sample: list[Fields], read: ReadText) -> str:
    """The column for a role: of several that always hold the same, the first (AIME, SimpleRL)."""

    def values(row: Fields) -> set[str]:
        found = set()
        for name in present:
            try:
                found.add(read(row.get(name)))
            except Unusable as error:
                found.add(f"unusable: {error}")
        return found

    if len(present) == 1 or (present and all(len(values(row)) == 1 for row in sample)):
        return present[0]
    names = ", ".join(present or sorted({name for row in sample for name in row}))
    raise ProblemsError(
        f"{where}: cannot tell which field holds the {what} ({names}); name it with --{what}-field"
    )


def _answer_of_turns(value: Any) -> str:
    """ORZ's `ground_truth` of the assistant's turn, else the last box of the turn."""
    for turn in structured(value) or []:
        truth = turn.get("ground_truth") if isinstance(turn, Mapping) else None
        if truth is not None:
            return answers.from_any(truth.get("value") if isinstance(truth, Mapping) else truth)
    said = [text for role, text in turns(value) if role == "assistant"]
    if not said:
        raise NoAnswer("is a conversation without an answer")
    return answers.last_box(said[-1])


def _refuse_marked(row: Fields) -> None:
    """Raise `LeftOut` for a row that its publisher marks as no question with an answer."""
    kinds = {str(row.get(name)).lower() for name in ("question_type", "problem_type", "ability")}
    if "proof" in kinds:
        raise LeftOut("asks for a proof, which has no answer to verify")
    if kinds & {"code", "coding"}:
        raise LeftOut("asks for a program, which tests judge")
    valid = row.get("problem_is_valid")
    if not is_empty(valid) and str(valid).lower() not in ("yes", "true"):
        raise LeftOut(f"is marked by its publisher (problem_is_valid: {valid})")


def _chosen_columns(row: Fields) -> list[str]:
    return find(row, [*columns.ANSWER, *columns.CHOSEN])


def _first(row: Fields, names: tuple[str, ...]) -> Any:
    """The first value that is not empty: AGIEval has an empty answer column and a label."""
    held = (lookup(row, name) for name in names)
    return next((value for value in held if not is_empty(value)), None)


def _instructions(layout: Layout, sample: list[Fields]) -> Callable[[str], str]:
    questions = []
    for row in sample:
        try:
            questions.append(layout.read_question(lookup(row, layout.question_column)))
        except Unusable:
            continue
    return shared_instructions(questions)
