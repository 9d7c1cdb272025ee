"""Why problems could not be loaded: one exception, raised before anything runs."""

from __future__ import annotations

from typing import NamedTuple

NAMED_ROWS = 5
"""How many bad rows a message names; the rest is counted."""


class BadRow(NamedTuple):
    """A row that cannot be used as a problem."""

    file: str
    line: int
    """Line of a text file, else the row's number; both count from 1."""
    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.why}"


class ProblemsError(ValueError):
    """The problems cannot be used as they are; the message says why and what to do next."""

    def __init__(self, message: str, bad_rows: tuple[BadRow, ...] = ()) -> None:
        super().__init__(message)
        self.bad_rows = bad_rows
        """Every bad row, where rows were the reason."""


def describe(bad_rows: tuple[BadRow, ...]) -> str:
    """The bad rows in one sentence: how many, the first few by name."""
    files = {row.file for row in bad_rows}
    named = "; ".join(
        str(row) if len(files) == 1 else f"{row.file} {row}" for row in bad_rows[:NAMED_ROWS]
    )
    more = len(bad_rows) - NAMED_ROWS
    count = "1 row" if len(bad_rows) == 1 else f"{len(bad_rows)} rows"
    where = f" of {min(files)}" if len(files) == 1 else ""
    return f"{count}{where} cannot be used ({named}{f'; and {more} more' if more > 0 else ''})"
