"""What was read of a problem file and what was left out, printed before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.terminal.console import say
from flows.terminal.tables import shortened
from storage.records import Problem
from tirgen.data.errors import skipped_by_reason
from tirgen.data.load import ProblemSet
from tirgen.verification import undecidable

SHOWN = 3
"""Gold answers that cannot be verified and are named; the others are only counted."""


def problems_document(found: ProblemSet) -> dict[str, Any]:
    """A problem file as one JSON document."""
    return {
        "problems": len(found.problems),
        "layout": found.layout,
        "repeated": found.repeated,
        "skipped_rows": [row._asdict() for row in found.skipped],
        "unread_columns": list(found.unread),
        "undecidable": [
            {"problem_id": problem.problem_id, "answer": problem.answer, "why": why}
            for problem, why in _undecidable(found)
        ],
        "first": {"question": found.problems[0].question, "answer": found.problems[0].answer},
    }


def say_problems(found: ProblemSet) -> None:
    """Print the same for people."""
    say(f"{len(found.problems):,} problems, read by the layout {found.layout!r}")
    first = found.problems[0]
    say(f"the first one: {_short(first.question, 300)}  [gold answer: {_short(first.answer, 60)}]")
    for sentence in skipped_by_reason(found.skipped):
        say(sentence)
    if found.repeated:
        say(f"left out {found.repeated:,} rows that repeat an earlier question")
    say_warnings(found)


def say_warnings(found: ProblemSet) -> None:
    """Warn of columns that are not read, and of gold answers that cannot be verified."""
    say_unread(found.unread)
    doubtful = _undecidable(found)
    for problem, why in doubtful[:SHOWN]:
        say(f"{problem.problem_id}: {why}")
    if doubtful:
        say(f"{len(doubtful):,} gold answers cannot be verified: their rows are never kept")


def say_unread(names: Sequence[str]) -> None:
    """Warn of unread columns of long text: one of them may hold a part of the question."""
    if names:
        say(
            f"note: the columns {', '.join(names)} hold long text that is not used; "
            "if one belongs to the question, rename it to context"
        )


def _undecidable(found: ProblemSet) -> list[tuple[Problem, str]]:
    return [(problem, why) for problem in found.problems if (why := undecidable(problem.answer))]


def _short(text: str, most: int) -> str:
    return shortened(" ".join(text.split()), most)
