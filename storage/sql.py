"""SQL over a store: a DuckDB session that can read its views, and nothing else.

The session uses memory up to `memory.limit` and a temporary folder beyond it. It reads only
committed files of the store (`storage.lake`), its configuration is locked, and extensions are off.
Each query must be one SELECT that DuckDB accepts as the body of a view, which excludes every
statement that writes, also inside a WITH clause.

A query reads only what it names. Damage elsewhere is left out with a warning. Damage in a dataset
that the query names, or that it cannot avoid, is an error, never an answer from part of the rows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from storage import memory
from storage.damage import warn_left_out
from storage.datasets import Store
from storage.errors import Damaged, QueryError
from storage.idle import IDLE, idle_view
from storage.lake import (
    LATEST,
    PROTOCOL,
    PUBLISHED,
    ROWS,
    RUNNING,
    VERDICTS,
    Catalog,
    CatalogFileSystem,
)
from storage.macros import Published
from storage.manifest_views import manifest_view
from storage.numbered import was_removed
from storage.policies import Policies
from storage.view_meanings import VIEWS
from storage.views import beside, define, definitions, names_of, rows_of, times_of

_HINT = f"views: {', '.join(VIEWS)}; columns of one: tirgen sql 'describe trajectories'"
_CHECK = "CREATE TEMP VIEW checked AS"
_ABOUT_ALL = re.compile(
    r"\b(show|tables|views|columns|schemata|information_schema|sqlite_\w+|(duckdb|pragma)_\w+)\b",
    re.IGNORECASE,
)
"""What a query says that asks which views there are."""


def query(store: Store, sql: str) -> pa.Table:
    """Run one SELECT (or DESCRIBE, SHOW, SUMMARIZE) over the views named in `views.VIEWS`.

    Raises:
        QueryError: the SQL does not parse, does not bind, fails, or is not a single read.
        Damaged: rows of a dataset that the SQL names are missing or not what was written.
    """
    skipped: set[str] = set()
    while True:
        try:
            table = _ask(store.root, sql, skipped)
        except Damaged as damage:
            if was_removed(store.dataset_folder(damage.name or "unknown"), damage.version):
                continue  # while the query ran: it is asked of what is left
            if damage.owner in skipped or not damage.name or _names(sql, damage.name):
                raise
            warn_left_out(damage)
            skipped.add(damage.owner)
        else:
            return table.rename_columns(_distinct(table.column_names))


def _ask(root: Path, sql: str, skipped: Collection[str]) -> pa.Table:
    words = set(re.findall(r"\w+", sql.lower()))
    if not _ABOUT_ALL.search(sql):
        try:
            return _ask_over(root, sql, skipped, words)
        except QueryError:  # perhaps for a view that is not there: say what is, as DuckDB would
            pass
    return _ask_over(root, sql, skipped, None)


def _ask_over(
    root: Path, sql: str, skipped: Collection[str], words: Collection[str] | None
) -> pa.Table:
    lake = CatalogFileSystem(Catalog(root, skipped))
    try:
        with (
            TemporaryDirectory(prefix="tirgen-sql-") as spill,
            _session(_Lake(root, lake), lake, words, Path(spill)) as connection,
        ):
            _check_reads_only(connection, sql)
            table: pa.Table = connection.sql(sql).to_arrow_table()
    except (duckdb.Error, QueryError) as error:
        if lake.damage:
            raise lake.damage from error
        if isinstance(error, QueryError):
            raise
        raise QueryError(str(error), _HINT) from error
    return table


def _names(sql: str, dataset: str) -> bool:
    """The dataset stands in the query, in one of its texts."""
    texts = re.findall(r"'(?:[^']|'')*'", sql)
    return any(re.search(rf"(?<![\w.-]){re.escape(dataset)}(?![\w.-])", text) for text in texts)


def _distinct(names: list[str]) -> list[str]:
    """Two columns of one name would become one as soon as rows are objects."""
    seen: Counter[str] = Counter()
    distinct = []
    for name in names:
        seen[name] += 1
        distinct.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return distinct


class _Lake:
    """Sources of the views for a session: files under the names that the lake gives them."""

    def __init__(self, root: Path, lake: CatalogFileSystem) -> None:
        self._root = root
        self._lake = lake

    def body(self, view: str) -> str:
        match view:
            case "published_records":
                return self._versions(PUBLISHED)
            case "latest_records":
                return self._versions(LATEST)
            case "running_records":
                return self._running()
            case "idle":
                return idle_view(f"{PROTOCOL}{IDLE}/*" if self._lake.catalog.idle else None)
            case _:
                catalog = self._lake.catalog
                return manifest_view(view, catalog.published, catalog.removed, Policies(self._root))

    @property
    def names(self) -> dict[str, str]:
        return names_of(self._lake.catalog.by_dataset)

    @property
    def times(self) -> list[Published]:
        return times_of(self._lake.catalog.published)

    def _versions(self, kind: str) -> str:
        named = "'dataset': VARCHAR, 'version': VARCHAR"
        whole = [
            f"SELECT * EXCLUDE (file_row_number) FROM {read}" for read in self._reads(kind, named)
        ]
        named += ", 'part': BIGINT"
        rows, verdicts = (
            [f"FROM {read}" for read in self._reads(kind + ending, named)]
            for ending in (ROWS, VERDICTS)
        )
        place = ("dataset", "version", "part", "file_row_number")
        return rows_of(whole + ([beside(rows, verdicts, place, "part")] if rows else []))

    def _running(self) -> str:
        """Each trajectory once: of one that was made again, the one committed last."""
        named = "'dataset': VARCHAR, 'run': VARCHAR, 'commit': BIGINT, 'skip': BIGINT"
        reads = self._reads(RUNNING, named)
        rows = " UNION ALL BY NAME ".join(
            f"SELECT * FROM {read} WHERE file_row_number >= skip" for read in reads
        )
        newest = (
            "SELECT * EXCLUDE (run, commit, skip, file_row_number) "
            f"FROM ({rows}) QUALIFY row_number() OVER (PARTITION BY dataset, trajectory_id "
            "ORDER BY commit DESC, file_row_number DESC) = 1"
        )
        return rows_of([newest] if rows else [])

    def _reads(self, kind: str, named: str) -> list[str]:
        return [
            f"read_parquet('{PROTOCOL}{kind}/{schema}/*', hive_partitioning = true, "
            f"hive_types = {{{named}}}, union_by_name = {schema == 0}, file_row_number = true)"
            for schema in self._lake.schemas(kind)
        ]


def _session(
    sources: _Lake, lake: CatalogFileSystem, words: Collection[str] | None, spill: Path
) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={"temp_directory": str(spill), "memory_limit": f"{memory.limit()}B"}
    )
    connection.register_filesystem(lake)
    define(connection, definitions(sources, words))
    for setting in (
        "enable_progress_bar = false",  # on stdout, where a caller without a file is interactive
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        f"allowed_directories = ['{PROTOCOL}']",
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
