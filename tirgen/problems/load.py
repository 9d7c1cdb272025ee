"""One function from a path to problems: find the rows, tell their layout, name what is wrong.

A problem's id does not depend on its place in the file: it is the publisher's id where there is
one, else a hash of the question, after the name of the source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import cast

from storage.records import Problem
from tirgen.pocket import problems as packaged
from tirgen.problems.answers import NoAnswer
from tirgen.problems.errors import BadRow, ProblemsError, describe
from tirgen.problems.files import READERS, Row, Rows, read_rows
from tirgen.problems.folders import split_files
from tirgen.problems.layouts import DIFFICULTY_NAMES, ID_NAMES, Fields, Layout, detect, lookup
from tirgen.problems.questions import NoQuestion

SAMPLE_ROWS = 100
"""How many rows decide on the layout; their fields together, since any one may lack some."""
POCKET = "pocket:"
POCKET_PROBLEMS = 200
"""How many packaged problems there are to those who set no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemSet:
    """What was loaded, and what was not."""

    problems: tuple[Problem, ...]
    skipped: tuple[BadRow, ...]
    repeated: int
    """Rows left out because the same question with the same answer came before."""
    layout: str
    """Which of the layouts in `tirgen.problems.layouts` the rows were read by, or `pocket`."""


def load_problems(
    path: str,
    *,
    question_field: str | None = None,
    answer_field: str | None = None,
    id_field: str | None = None,
    split: str | None = None,
    skip: int = 0,
    limit: int | None = None,
    skip_bad_rows: bool = False,
) -> ProblemSet:
    """The problems of a JSONL, JSON, CSV, Parquet or Arrow file, a Hugging Face datasets folder,
    or `pocket:train` and `pocket:test`.

    `skip` leaves out the first so many good rows; `limit` keeps so many after them and reads no
    further. Raises `ProblemsError` when there is nothing to load, the layout is unclear, or a row
    is bad and `skip_bad_rows` is off.
    """
    if path.startswith(POCKET):
        return _packaged(path, skip, limit)
    where = Path(path).expanduser()
    source = _source(where, split)
    rows = chain.from_iterable(map(read_rows, _files(where, split)))
    head = list(islice(rows, SAMPLE_ROWS))
    sample: list[Fields] = [row.fields for row in head if isinstance(row, Row)]
    if not sample:
        bad = tuple(row for row in head if isinstance(row, BadRow))
        raise ProblemsError(f"{path} holds no rows" if not bad else describe(bad), bad)
    layout = detect(path, sample, question_field, answer_field)
    intake = Intake(source, layout, id_field)
    intake.take(chain(head, rows), None if limit is None else skip + limit)
    if intake.bad and not (skip_bad_rows and intake.problems):
        hint = "mend them, or go on without them with --skip-bad-rows"
        if skip_bad_rows:
            hint = "no row is left; name the fields with --question-field and --answer-field"
        raise ProblemsError(f"{describe(tuple(intake.bad))}; {hint}", tuple(intake.bad))
    kept = tuple(intake.problems.values())[skip:]
    if not kept:
        raise ProblemsError(
            f"{path} holds {len(intake.problems)} problems, none after the first {skip}; skip fewer"
        )
    return ProblemSet(
        problems=kept,
        skipped=tuple(intake.bad),
        repeated=intake.repeated,
        layout=layout.name,
    )


class Intake:
    """Turns rows into problems, each question once and each under an id of its own."""

    def __init__(self, source: str, layout: Layout, id_field: str | None) -> None:
        self.problems: dict[str, Problem] = {}
        self.bad: list[BadRow] = []
        self.repeated = 0
        self._source = source
        self._layout = layout
        self._id_fields = (id_field,) if id_field else ID_NAMES
        self._first: dict[str, tuple[int, str]] = {}
        """By question: the line that asked it first, and the answer it gave."""

    def take(self, rows: Rows, limit: int | None) -> None:
        for row in rows:
            if limit is not None and len(self.problems) >= limit:
                return
            why = row.why if isinstance(row, BadRow) else self._add(row)
            if why:
                self.bad.append(BadRow(row.file, row.line, why))

    def _add(self, row: Row) -> str | None:
        """Take one row in; why it cannot be, or None."""
        try:
            question, answer = self._layout.question(row.fields), self._layout.answer(row.fields)
        except (NoQuestion, NoAnswer) as error:
            return str(error)
        if not (_is_text(question) and _is_text(answer)):
            return "holds half of a surrogate pair, which is no character"
        if question in self._first:
            line, given = self._first[question]
            self.repeated += given == answer
            return None if given == answer else f"contradicts line {line}, which asks the same"
        self._first[question] = (row.line, answer)
        problem = self._problem(row.fields, question, answer)
        self.problems[problem.problem_id] = problem
        return None

    def _problem(self, row: Fields, question: str, answer: str) -> Problem:
        source = row.get("data_source")
        source = source if isinstance(source, str) and source else self._source
        hashed = f"{source}-{hashlib.sha256(question.encode()).hexdigest()[:12]}"
        given = _first_value(row, self._id_fields)
        problem_id = f"{source}-{given}" if given else hashed
        difficulty = _first_value(row, DIFFICULTY_NAMES)
        return Problem(
            problem_id=hashed if problem_id in self.problems else problem_id,
            source=source,
            question=question,
            answer=answer,
            difficulty=difficulty or None,
        )


def _is_text(string: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in string)


def _first_value(row: Fields, names: tuple[str, ...]) -> str:
    values = (lookup(row, name) for name in names)
    return next(
        (str(v).strip() for v in values if isinstance(v, str | int | float) and v != ""), ""
    )


def _files(where: Path, split: str | None) -> Iterator[Path]:
    if where.is_dir():
        return iter(split_files(where, split))
    if not where.exists():
        raise ProblemsError(
            f"{where} does not exist; give a file, a datasets folder or pocket:test"
        )
    if where.suffix.lower() not in READERS:
        formats = ", ".join(sorted(READERS))
        raise ProblemsError(f"{where} is of no format known here; convert it to one of {formats}")
    if split is not None:
        raise ProblemsError(f"{where} is one file; --split chooses within a datasets folder")
    return iter([where])


def _source(where: Path, split: str | None) -> str:
    """What the problems are said to come from: the name of the file, or folder and split."""
    name = where.resolve().name if where.is_dir() else where.stem
    return f"{name}:{split}" if split else name


def _packaged(path: str, skip: int, limit: int | None) -> ProblemSet:
    split = path.removeprefix(POCKET)
    if split not in ("train", "test"):
        raise ProblemsError(f"there is no {path!r}; choose pocket:train or pocket:test")
    count = skip + (limit or POCKET_PROBLEMS)
    found = packaged.problems(cast(packaged.Split, split), count)[skip:]
    return ProblemSet(problems=tuple(found), skipped=(), repeated=0, layout="pocket")
