"""The errors of the store.

StoreError
 ├── InvalidName      a dataset name or configuration hash that is no safe folder name
 ├── NotFound         no such dataset, version or trajectory
 ├── ObjectStoreError  a store in a bucket could not be asked
 │    ├── NoBucket       there is no such bucket
 │    ├── AccessRefused  no credentials, wrong ones, or ones that do not allow it
 │    ├── ClockWrong     the clock of this machine is wrong
 │    └── Unreachable    no answer, also after repeating for a while
 ├── SchemaTooNew     written by a newer tirgen than this one
 ├── Damaged          a file was changed after it was written, or is missing
 ├── QueryError       DuckDB refused the SQL
 └── ExportRefused    the rows or the kind of file do not allow the requested format
"""

from __future__ import annotations

from pathlib import Path


class StoreError(Exception):
    """Base of all errors of the store: what went wrong, and a hint what to do next."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}; {hint}")
        self.message = message
        self.hint = hint


class InvalidName(StoreError):
    """A name that cannot become a folder of the store."""


class NotFound(StoreError):
    """The requested dataset, version, policy or trajectory does not exist (exit code 3)."""


class ObjectStoreError(StoreError):
    """A store in a bucket could not be asked, or an operation is not possible there."""


class NoBucket(ObjectStoreError):
    """There is no such bucket."""


class AccessRefused(ObjectStoreError):
    """No credentials were found, or they are wrong or do not allow what was asked."""


class ClockWrong(ObjectStoreError):
    """The clock of this machine is so wrong that the server refuses its signatures."""


class Unreachable(ObjectStoreError):
    """The server did not answer, although it was asked again for a while."""


class SchemaTooNew(StoreError):
    """A newer tirgen wrote the file, with fields that this one does not know."""


class Damaged(StoreError):
    """A file of the store is missing, truncated or changed (exit code 1)."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why
        self.kind, self.name, self.version = _place(path)
        # Whose addresses raise errors of this module.
        from storage.places import mirror_of, shown

        hint = f"see what is damaged: {self.command}" if self.name else "remove it"
        if mirror := mirror_of(path):
            hint += f"; if only the copy on this machine is damaged, remove {mirror.root}"
        super().__init__(f"{shown(path)} {why}", hint)

    @property
    def owner(self) -> str:
        """The version that the file belongs to, e.g. ``demo@v2``, or the dataset for a run."""
        return f"{self.name}@{self.version}" if self.version else self.name

    @property
    def command(self) -> str:
        """The command that lists all damage there."""
        return f"tirgen {self.kind} check {self.owner}"


def _place(path: Path) -> tuple[str, str, str]:
    """What a path belongs to: ``dataset`` or ``policy``, its name, and its version or ''."""
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
    """The rows lack what the format needs, or the kind of file cannot hold it."""
