"""Errors of loading problems, and the rows that were left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

NAMED_ROWS = 5
"""How many bad rows a message names; the others are counted."""


class BadRow(NamedTuple):
    """A row that cannot be used as a problem."""

    file: str
    line: int
    """Line of a text file, else the row's number; both count from 1."""
    why: str
    by_rule: bool = False
    """The row is correct, but no question with one answer (a proof, a programming task). Published
    data has such rows; they are never a reason to refuse the file."""

    def __str__(self) -> str:
        return f"line {self.line}: {self.why}"


class Unusable(ValueError):
    """A row cannot become a problem; the message completes "this row ..."."""

    by_rule = False


class NoQuestion(Unusable):
    """The row has no question."""


class NoAnswer(Unusable):
    """The row has no gold answer."""


class LeftOut(Unusable):
    """The row is correct, but no question with one answer that can be verified."""

    by_rule = True


class ProblemsError(ValueError):
    """The problems cannot be used; the message says why and what to do next."""

    def __init__(self, message: str, bad_rows: tuple[BadRow, ...] = ()) -> None:
        super().__init__(message)
        self.bad_rows = bad_rows
        """Every bad row, where rows were the reason."""


def describe(bad_rows: Sequence[BadRow]) -> str:
    """The bad rows in one sentence: how many, the first few by name."""
    files = {row.file for row in bad_rows}
    named = "; ".join(
        str(row) if len(files) == 1 else f"{row.file} {row}" for row in bad_rows[:NAMED_ROWS]
    )
    more = len(bad_rows) - NAMED_ROWS
    where = f" of {min(files)}" if len(files) == 1 else ""
    return (
        f"{_rows(len(bad_rows))}{where} cannot be used "
        f"({named}{f'; and {more} more' if more > 0 else ''})"
    )


def skipped_by_reason(bad_rows: Sequence[BadRow]) -> list[str]:
    """One sentence per reason: how many rows were left out, and the first of them."""
    groups: dict[str, list[BadRow]] = defaultdict(list)
    for row in bad_rows:
        groups[row.why].append(row)
    sentences = []
    for why, rows in sorted(groups.items(), key=lambda group: -len(group[1])):
        lines = ", ".join(str(row.line) for row in rows[:NAMED_ROWS])
        more = ", …" if len(rows) > NAMED_ROWS else ""
        sentences.append(f"left out {_rows(len(rows))}: {why} (line {lines}{more})")
    return sentences


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
