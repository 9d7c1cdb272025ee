"""The roles of a data set's columns, recognised by their names.

A published table has one or more columns of each role. The names below are those that publishers
use, in any case, with spaces or dashes for underscores.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

Fields: TypeAlias = Mapping[str, Any]

QUESTION = ("problem", "question", "input", "prompt", "query", "problem_text", "question_text")
CONTEXT = ("context", "body", "passage", "table")
"""Text that the question refers to, in its own column (ASDiv, SVAMP, AGIEval, TabMWP). It is put
before the question, which cannot be answered without it."""
CHOICES = ("choices", "options")
"""The choices of the question (MMLU, AQuA, Gaokao), put after it."""
LETTERED = ("a", "b", "c", "d", "e")
"""A column for each choice (MMLU as CSV, C-Eval); the first four are always there."""
ANSWER = (
    "answer",
    "final_answer",
    "target",
    "ground_truth",
    "expected_answer",
    "gold",
    "gt_answer",
    "ground_truth_answer",
    "reference_answer",
    "correct_answer",
    "final_ans",
)
CHOSEN = ("label", "correct", "answer_key", "answerkey", "correct_option")
"""The right choice, where the answer column is empty or missing (AGIEval, AQuA)."""
CHAT = ("conversations", "conversation", "messages")
"""The question as turns of a conversation (ShareGPT, ORZ), where no column holds it alone."""
IDS = ("id", "problem_id", "unique_id", "idx", "index", "question_id", "uuid", "extra_info.index")
DIFFICULTY = ("level", "difficulty", "extra_info.level", "extra_info.difficulty")
SOLUTION_WORDS = (
    "solution",
    "rationale",
    "explanation",
    "response",
    "reasoning",
    "generation",
    "completion",
    "answer",
    "cot",
    "code",
    "messages",
    "conversations",
    "prompt",
)
"""Parts of names of columns with a solution or another form of the question; that such a column is
not read needs no warning."""
LONG_TEXT = 60
"""Mean length in characters from which an unread column gets a warning: the context of a question
is a sentence or more, labels and sources are words."""


def find(names: Iterable[str], roles: Sequence[str]) -> list[str]:
    """The columns with one of these names, in the order of `roles`."""
    by_name: dict[str, list[str]] = {}
    for name in names:
        by_name.setdefault(plain_name(name), []).append(name)
    return [name for role in roles for name in by_name.get(role, [])]


def plain_name(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def lookup(row: Fields, field: str) -> Any:
    """A field by name, or by a dotted path into nested fields; None where it is missing.

    A column on the path may hold its object as JSON text.
    """
    if field in row:
        return row[field]
    head, dot, rest = field.partition(".")
    inner = structured(row.get(head)) if dot else None
    return lookup(inner, rest) if isinstance(inner, Mapping) else None


def structured(value: Any) -> Any:
    """The list or object that a column holds as JSON text, or as printed by Python into a CSV."""
    text = value.strip() if isinstance(value, str) else ""
    if not text or text[0] + text[-1] not in ("[]", "{}"):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list | dict) else value
    return value


def is_empty(value: Any) -> bool:
    return value is None or value == "" or value == []


def unread_long_text(sample: Sequence[Fields], used: Iterable[str]) -> list[str]:
    """Columns of long text that have no role and whose names are not those of solutions."""
    heads = {name.partition(".")[0] for name in used}
    names = {name for row in sample for name in row} - heads
    return sorted(
        name
        for name in names
        if not any(word in plain_name(name) for word in SOLUTION_WORDS)
        and _mean_length([row.get(name) for row in sample]) >= LONG_TEXT
    )


def _mean_length(values: Sequence[Any]) -> float:
    texts = [value for value in values if isinstance(value, str) and value]
    return sum(map(len, texts)) / len(texts) if texts else 0.0
