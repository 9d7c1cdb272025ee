"""Why the store could not do what it was asked.

StoreError
 ├── InvalidName      a dataset name or configuration hash that is no safe path component
 ├── NotFound         no such dataset, version or trajectory
 ├── SchemaTooNew     written by a newer tirgen than this one
 ├── Damaged          a file is not what was written, or is gone
 ├── QueryError       DuckDB refused the SQL
 └── ExportRefused    the rows or the file cannot take the format that was asked for
"""

from __future__ import annotations

from pathlib import Path


class StoreError(Exception):
    """Base of everything the store raises on purpose: what went wrong, and what to do next."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}; {hint}")
        self.message = message
        self.hint = hint


class InvalidName(StoreError):
    """A name that cannot become a folder of the store."""


class NotFound(StoreError):
    """What was asked for is not in the store (exit code 3)."""


class SchemaTooNew(StoreError):
    """The file's records have fields this version does not know."""


class Damaged(StoreError):
    """A file of the store is missing, cut, or not what was written (exit code 1)."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why
        self.kind, self.name, self.version = _place(path)
        super().__init__(f"{path} {why}", f"see what is damaged: {self.command}")

    @property
    def owner(self) -> str:
        """The version or the run that the file belongs to, e.g. ``demo@v2``."""
        return f"{self.name}@{self.version}" if self.version else self.name

    @property
    def command(self) -> str:
        """What tells all damage there."""
        return f"tirgen {self.kind} check {self.owner}"


def _place(path: Path) -> tuple[str, str, str]:
    """Whether a file belongs to a dataset or a policy, to which, and to which version if any."""
    parts = path.parts
    for folder, kind in (("policies", "policy"), ("datasets", "dataset")):
        if folder in parts[:-1]:
            at = len(parts) - 1 - parts[::-1].index(folder)
            below = (*parts[at + 1 :], "", "", "")
            return kind, below[0], below[2] if below[1] == "versions" else ""
    return "dataset", "", ""


class QueryError(StoreError):
    """The SQL does not parse, does not bind, fails, or is not a read."""


class ExportRefused(StoreError):
    """A format needs what the rows do not have, or a kind of file cannot hold it."""
