"""Loads problems from a path: finds the rows, detects their layout, names the bad ones.

A problem's id does not depend on its place in the file: it is the name of the source and the
publisher's id, or without one a hash of the question.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import cast

from storage.records import Problem
from tirgen.data import columns
from tirgen.data.columns import Fields, find, lookup
from tirgen.data.errors import BadRow, ProblemsError, Unusable, describe
from tirgen.data.files import Row, Rows, is_readable, known_endings, read_rows
from tirgen.data.folders import split_files
from tirgen.data.layouts import Layout, detect, require_field
from tirgen.data.text_files import stem_of
from tirgen.embedded.pocket import problems as packaged
from tirgen.verification import same_answer

SAMPLE_ROWS = 100
"""How many rows decide the layout; all their fields count, since single rows may lack some."""
BAD_SHARE = 0.05
"""Largest share of bad rows. Published data stays below it; above it the layout was probably
misread."""
POCKET = "pocket:"
POCKET_PROBLEMS = 200
"""How many packaged problems are read without a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemSet:
    """The problems that were loaded, and the rows that were not."""

    problems: tuple[Problem, ...]
    skipped: tuple[BadRow, ...]
    """Bad rows, and rows that their publisher marks as no question with an answer."""
    repeated: int
    """Rows left out because the same question with the same answer came before."""
    layout: str
    """Name of the layout in `tirgen.data.layouts`, or `pocket`."""
    unread: tuple[str, ...] = ()
    """Columns of long text that no question or answer uses."""


def load_problems(
    path: str,
    *,
    question_field: str | None = None,
    answer_field: str | None = None,
    id_field: str | None = None,
    difficulty_field: str | None = None,
    split: str | None = None,
    skip: int = 0,
    limit: int | None = None,
    skip_bad_rows: bool = False,
) -> ProblemSet:
    """The problems of a JSONL, JSON, CSV, TSV, Parquet or Arrow file, a Hugging Face datasets
    folder, or `pocket:train` and `pocket:test`.

    `skip` leaves out that many good rows at the start; `limit` keeps that many after them, and the
    rest is not read. Raises `ProblemsError` when there is nothing to load, the layout is unclear,
    or more than `BAD_SHARE` of the rows are bad and `skip_bad_rows` is off.
    """
    if path.startswith(POCKET):
        return _packaged(path, skip, limit)
    rows, sample = _opened(path, split)
    layout = detect(path, sample, question_field, answer_field)
    for field in filter(None, (id_field, difficulty_field)):
        require_field(path, field, sample)
    source = _source(Path(path).expanduser(), split)
    reader = ProblemReader(source, layout, id_field, difficulty_field)
    reader.take(rows, None if limit is None else skip + limit)
    _refuse_too_many(reader, skip_bad_rows)
    kept = tuple(reader.problems.values())[skip:]
    if not kept:
        raise ProblemsError(
            f"{path} holds {len(reader.problems)} problems, none after the first {skip}; skip fewer"
        )
    return ProblemSet(
        problems=kept,
        skipped=tuple(reader.bad),
        repeated=reader.repeated,
        layout=layout.name,
        unread=tuple(layout.unread(sample)),
    )


def _opened(path: str, split: str | None) -> tuple[Rows, list[Fields]]:
    """All rows, and the fields of the first ones. Raises `ProblemsError` where there are none."""
    rows = chain.from_iterable(map(read_rows, _files(Path(path).expanduser(), split)))
    head = list(islice(rows, SAMPLE_ROWS))
    sample: list[Fields] = [row.fields for row in head if isinstance(row, Row)]
    if not sample:
        bad = tuple(row for row in head if isinstance(row, BadRow))
        raise ProblemsError(f"{path} holds no rows" if not bad else describe(bad), bad)
    return chain(head, rows), sample


def _refuse_too_many(reader: ProblemReader, skip_bad_rows: bool) -> None:
    """Raises `ProblemsError` where no problem is left, or too many rows are bad."""
    bad = tuple(row for row in reader.bad if not row.by_rule)
    if reader.bad and not reader.problems:
        hint = "no row is left; name the fields with --question-field and --answer-field"
        raise ProblemsError(f"{describe(reader.bad)}; {hint}", tuple(reader.bad))
    read = len(reader.problems) + reader.repeated + len(bad)
    if not skip_bad_rows and len(bad) > BAD_SHARE * read:
        raise ProblemsError(
            f"{describe(bad)}, more than {BAD_SHARE:.0%} of the rows; "
            "repair them, or go on without them with --skip-bad-rows",
            bad,
        )


class ProblemReader:
    """Turns rows into problems: each question once, each with a unique id."""

    def __init__(
        self, source: str, layout: Layout, id_field: str | None, difficulty_field: str | None
    ) -> None:
        self.problems: dict[str, Problem] = {}
        self.bad: list[BadRow] = []
        self.repeated = 0
        self._source = source
        self._layout = layout
        self._id_fields = (id_field,) if id_field else columns.IDS
        self._difficulty_fields = (difficulty_field,) if difficulty_field else columns.DIFFICULTY
        self._first: dict[str, tuple[int, str]] = {}
        """By question: the line where it came first, and its answer there."""

    def take(self, rows: Rows, limit: int | None) -> None:
        """Read up to `limit` problems; a row that cannot become one goes to `bad`."""
        for row in rows:
            if limit is not None and len(self.problems) >= limit:
                return
            if isinstance(row, BadRow):
                self.bad.append(row)
                continue
            try:
                self._add(row)
            except Unusable as error:
                self.bad.append(BadRow(row.file, row.line, str(error), error.by_rule))

    def _add(self, row: Row) -> None:
        """Add one row. Raises `Unusable`."""
        answer, question = self._layout.answer(row.fields), self._layout.question(row.fields)
        if not (_is_text(question) and _is_text(answer)):
            raise Unusable("holds half of a surrogate pair, which is no character")
        if question not in self._first:
            self._first[question] = (row.line, answer)
            problem = self._problem(row.fields, question, answer)
            self.problems[problem.problem_id] = problem
            return
        line, given = self._first[question]
        if given != answer and not same_answer(given, answer):
            raise Unusable(f"contradicts line {line}, which asks the same")
        self.repeated += 1

    def _problem(self, row: Fields, question: str, answer: str) -> Problem:
        source = row.get("data_source")
        source = source if isinstance(source, str) and source else self._source
        hashed = f"{source}-{hashlib.sha256(question.encode()).hexdigest()[:12]}"
        given = _first_value(row, self._id_fields)
        problem_id = f"{source}-{given}" if given else hashed
        difficulty = _first_value(row, self._difficulty_fields)
        return Problem(
            problem_id=hashed if problem_id in self.problems else problem_id,
            source=source,
            question=question,
            answer=answer,
            difficulty=difficulty or None,
        )


def _is_text(string: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in string)


def _first_value(row: Fields, names: Sequence[str]) -> str:
    """The first field that is not empty, found by name in any spelling or by dotted path."""
    values = (lookup(row, found) for name in names for found in (*find(row, [name]), name))
    return next((text for value in values if (text := _scalar_text(value))), "")


def _scalar_text(value: object) -> str:
    is_scalar = isinstance(value, str | int | float) and not isinstance(value, bool)
    text = str(value).strip() if is_scalar and value == value else ""  # not NaN
    return text if _is_text(text) else ""


def _files(where: Path, split: str | None) -> Iterator[Path]:
    if where.is_dir():
        return iter(split_files(where, split))
    if not where.exists():
        raise ProblemsError(
            f"{where} does not exist; give a file, a datasets folder or pocket:test"
        )
    if not is_readable(where):
        raise ProblemsError(f"{where} has no known format; convert it to one of {known_endings()}")
    if split is not None:
        raise ProblemsError(f"{where} is one file; --split chooses within a datasets folder")
    return iter([where])


def _source(where: Path, split: str | None) -> str:
    """The name of the source: the file, or the folder and its split."""
    name = where.resolve().name if where.is_dir() else stem_of(where)
    return f"{name}:{split}" if split else name


def _packaged(path: str, skip: int, limit: int | None) -> ProblemSet:
    split = path.removeprefix(POCKET)
    if split not in ("train", "test"):
        raise ProblemsError(f"there is no {path!r}; choose pocket:train or pocket:test")
    count = skip + (limit or POCKET_PROBLEMS)
    found = packaged.problems(cast(packaged.Split, split), count)[skip:]
    return ProblemSet(problems=tuple(found), skipped=(), repeated=0, layout="pocket")
