"""Reads recorded responses from a file, each with its problem and its trajectory id."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from storage.records import Problem, Program, trajectory_id
from storage.well_formed import well_formed
from tirgen.data.errors import BadRow, ProblemsError
from tirgen.data.files import Row, Rows, is_readable, known_endings, read_rows
from tirgen.data.load import load_problems
from tirgen.data.response_layouts import SHAPES, Foreign, ResponseFormat, UnreadableRow, detect
from tirgen.data.similarity import read as normalise

SAMPLE_ROWS = 100
"""How many rows decide the layout."""


def find_format(path: Path) -> ResponseFormat:
    """The published layout of a file. Raises `ProblemsError`."""
    rows = islice(file_rows(path), SAMPLE_ROWS)
    return detect(str(path), [row.fields for row in rows if isinstance(row, Row)])


@dataclass(frozen=True, slots=True)
class Response:
    """One response with its problem and its number among the problem's responses."""

    problem: Problem
    attempt: int
    identity: str
    """The trajectory id."""
    foreign: Foreign


@dataclass(slots=True, kw_only=True)
class ResponseReader:
    """Turns the rows of a file into responses; rows that it cannot read go to `bad`."""

    path: Path
    format: ResponseFormat
    gold: Sequence[str]
    """Problem files with the gold answers, for data that has none."""
    dataset: str
    config_hash: str
    """With `dataset`, what the trajectory ids depend on."""
    bad: list[BadRow] = field(default_factory=list)

    def responses(self) -> Iterator[Response]:
        golds = _golds(self.gold)
        attempts: Counter[str] = Counter()
        for foreign in self._foreign():
            problem = self._problem(foreign, golds)
            attempt = attempts[problem.problem_id]
            attempts[problem.problem_id] += 1
            key = (problem.problem_id, Program.IMPORTED.value, attempt)
            identity = trajectory_id(self.dataset, self.config_hash, key)
            yield Response(problem, attempt, identity, foreign)

    def _foreign(self) -> Iterator[Foreign]:
        read = SHAPES[self.format].read
        for row in file_rows(self.path):
            if isinstance(row, BadRow):
                self.bad.append(row)
                continue
            try:
                for foreign in read(row.fields):
                    yield _well_formed(foreign)
            except UnreadableRow as error:
                self.bad.append(row.bad(str(error)))

    def _problem(self, foreign: Foreign, golds: dict[tuple[str, ...], str]) -> Problem:
        source = self.path.stem
        name = foreign.name or hashlib.sha256(foreign.question.encode()).hexdigest()[:12]
        answer = foreign.gold or golds.get(normalise(foreign.question).words) or ""
        return Problem(
            problem_id=f"{source}-{name}", source=source, question=foreign.question, answer=answer
        )


def _well_formed(foreign: Foreign) -> Foreign:
    texts = {name: well_formed(text) for name, text in foreign._asdict().items() if text}
    return foreign._replace(**texts)


def _golds(paths: Iterable[str]) -> dict[tuple[str, ...], str]:
    """Answers by normalised question."""
    return {
        normalise(problem.question).words: problem.answer
        for path in paths
        for problem in load_problems(path, skip_bad_rows=True).problems
    }


def file_rows(path: Path) -> Rows:
    if not path.exists():
        raise ProblemsError(f"{path}: no such file")
    if not path.is_file() or not is_readable(path):
        raise ProblemsError(f"{path} cannot be read; known are {known_endings()}")
    return read_rows(path)
