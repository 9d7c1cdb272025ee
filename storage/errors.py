"""Why the store could not do what it was asked.

StoreError
 ├── InvalidName      a dataset name or configuration hash that is no safe path component
 ├── NotFound         no such dataset, version or trajectory
 ├── SchemaTooNew     written by a newer tirgen than this one
 ├── QueryError       DuckDB refused the SQL
 └── ExportError      an export to a file of no format that is written here
"""


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


class QueryError(StoreError):
    """The SQL does not parse, does not bind, fails, or is not a read."""


class ExportError(StoreError):
    """The rows cannot be written into such a file."""
