"""SQL over a store: a DuckDB session that can read its views, and nothing else.

The session lives in memory. It reads files below the store's `datasets/` only, its configuration is
locked, extensions are off, and each query is one SELECT that DuckDB itself accepts as the body of a
view, which no statement that writes can be, not even one hidden in a WITH clause.
"""

from __future__ import annotations

import glob
import re
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow as pa

from storage.datasets import Store
from storage.errors import QueryError
from storage.literals import list_literal
from storage.views import VIEWS, define, definitions

_HINT = f"views: {', '.join(VIEWS)}; columns of one: tirgen sql 'describe trajectories'"
_CHECK = "CREATE TEMP VIEW checked AS"


def query(store: Store, sql: str) -> pa.Table:
    """Run one SELECT (or DESCRIBE, SHOW, SUMMARIZE) over the views named in `views.VIEWS`.

    Raises:
        QueryError: the SQL does not parse, does not bind, fails, or is not a single read.
    """
    with _session(store.root) as connection:
        try:
            _check_reads_only(connection, sql)
            table: pa.Table = connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise QueryError(str(error), _HINT) from error
    return table.rename_columns(_distinct(table.column_names))


def _distinct(names: list[str]) -> list[str]:
    """Two columns of one name would become one as soon as rows are objects."""
    seen: Counter[str] = Counter()
    distinct = []
    for name in names:
        seen[name] += 1
        distinct.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return distinct


def _session(root: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"temp_directory": ""})
    define(connection, definitions(root))
    folder = str(root / "datasets")
    # DuckDB compares the pattern as written, brackets escaped, before it expands it.
    allowed = list_literal([folder, glob.escape(folder)])
    for setting in (
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        f"allowed_directories = {allowed}",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _check_reads_only(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    statements = connection.extract_statements(sql)
    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
        raise QueryError("only a single SELECT can be run here", _HINT)
    try:
        connection.execute(f"{_CHECK}\n{sql}")
    except duckdb.Error as error:
        raise QueryError(_without_first_line(str(error)), _HINT) from error
    connection.execute("DROP VIEW checked")


def _without_first_line(message: str) -> str:
    """DuckDB's message with the lines counted as the user wrote them, its mark kept in place."""

    def counted(match: re.Match[str]) -> str:
        return f"LINE {int(match[1]) - 1}:".ljust(len(match[0]))

    return re.sub(r"^LINE (\d+):", counted, message, flags=re.MULTILINE)
