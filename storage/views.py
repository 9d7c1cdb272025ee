"""The SQL views and macros over a store, as text and as the file `ROOT/tirgen.duckdb`.

The file holds definitions only, never a row, and is replaced as a whole whenever a run is opened or
a version is published. So any DuckDB client may keep it open read-only while runs write: DuckDB's
lock on a file never stands between a user and a writer. The views name absolute paths: a store that
is moved gets a new file with its next run.
"""

from __future__ import annotations

import glob
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeAlias

import duckdb

from storage import files
from storage.commits import BATCHES, LOG, read_log
from storage.errors import Damaged
from storage.idle import IDLE, idle_files, idle_view
from storage.lake import covered_commits
from storage.literals import list_literal
from storage.macros import MACRO_TEXTS, Published, filled
from storage.manifest_views import manifest_view
from storage.names import folders
from storage.numbered import whole
from storage.places import mirror_of
from storage.policies import Policies
from storage.records import SCHEMA_VERSION
from storage.schema import trajectory_schema, verdict_schema
from storage.tags import readable_tags
from storage.versions import VERDICTS, DatasetVersion, every_version, removed_versions
from storage.view_texts import DERIVED_VIEWS

FILE = "tirgen.duckdb"
Files: TypeAlias = Mapping[int, list[Path]]
"""Files by the schema version of their rows."""


class Sources(Protocol):
    """Where the rows lie: the bodies of the views that all others stand on, and the versions."""

    def body(self, view: str) -> str: ...

    @property
    def names(self) -> dict[str, str]:
        """Every name of a published version, as ``demo@v3``, ``demo@gold`` or ``demo``."""
        ...

    @property
    def times(self) -> list[Published]:
        """When each version was the latest."""
        ...


SOURCES = (
    "published_records", "latest_records", "running_records", "datasets", "tags", "policies",
    "evaluations", "origins", "prices", "idle",
)  # fmt: skip


def definitions(sources: Sources, words: Collection[str] | None = None) -> list[str]:
    """The statements that define the views and macros that occur among some words, by default all.

    A view that is not asked for costs nothing then: it is not looked at.
    """
    texts = {**DERIVED_VIEWS, **MACRO_TEXTS}
    wanted = set(texts) | set(SOURCES) if words is None else set(words)
    for name in reversed(texts):  # each stands behind those that it is made of
        if name in wanted:
            wanted |= set(re.findall(r"\b(?:FROM|JOIN) (\w+)", texts[name]))
    views = {name: sources.body(name) for name in SOURCES if name in wanted}
    views |= {name: body for name, body in DERIVED_VIEWS.items() if name in wanted}
    macros = [body for name, body in MACRO_TEXTS.items() if name in wanted]
    if any("{" in body for body in macros):
        macros = [filled(body, sources.names, sources.times) for body in macros]
    return [f"CREATE VIEW {name} AS {body}" for name, body in views.items()] + macros


def names_of(found: Iterable[Sequence[DatasetVersion]]) -> dict[str, str]:
    """Every name of each version, from the versions of each dataset, oldest first."""
    names: dict[str, str] = {}
    for versions in filter(None, found):
        dataset, latest = versions[-1].dataset, versions[-1].version
        numbers = {version.version: version.version for version in versions}
        tagged = readable_tags(versions[-1].path.parents[1])
        numbers |= {tag: number for tag, number in tagged.items() if number in numbers}
        names |= {f"{dataset}@{name}": number for name, number in numbers.items()}
        names[dataset] = latest
    return names


def times_of(published: Iterable[DatasetVersion]) -> list[Published]:
    """When each version was the latest, from all versions, those of a dataset oldest first."""
    found: list[Published] = []
    for version in published:
        created = str(version.manifest["created_at"])
        if found and found[-1].name.partition("@")[0] == version.dataset:
            found[-1] = found[-1]._replace(end=created)
        found.append(Published(str(version), created, None))
    return found


def define(connection: duckdb.DuckDBPyConnection, statements: Iterable[str]) -> None:
    """Create the views and macros in an empty database."""
    connection.register("arrow_schema", trajectory_schema().empty_table())
    connection.begin()  # one commit, not one per statement
    connection.execute("CREATE TABLE no_rows AS FROM arrow_schema")
    connection.unregister("arrow_schema")
    for statement in statements:
        connection.execute(statement)
    connection.commit()


def refresh(root: Path) -> None:
    """Bring `ROOT/tirgen.duckdb` up to date, again if the store changed meanwhile.

    There is none for a store in a bucket, whose rows are fetched when `storage.sql` reads them.
    """
    if mirror_of(root):
        return
    while True:
        statements = definitions(_Paths(root))
        with files.temporary_for(root / FILE) as temporary:
            with duckdb.connect(temporary) as connection:
                define(connection, statements)
            files.replace(temporary, root / FILE)
        if definitions(_Paths(root)) == statements:
            return


class _Paths:
    """Sources for any DuckDB client: absolute paths, and the logs as they are at a query's time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._datasets = folders(root / "datasets")
        self._every = [every_version(folder) for folder in self._datasets]

    def body(self, view: str) -> str:
        match view:
            case "published_records":
                return self._versions(self._published)
            case "latest_records":
                return self._versions(whole(found[-1] for found in self._every if found))
            case "running_records":
                return self._running()
            case "idle":
                return idle_view(self._idle_place)
            case _:
                removed = [one for folder in self._datasets for one in removed_versions(folder)]
                return manifest_view(view, self._published, removed, Policies(self._root))

    @property
    def _idle_place(self) -> str | None:
        """A pattern, so that calls that begin later are found too, once there was one."""
        runs = (run for folder in self._datasets for run in folders(folder / "runs"))
        if not any(idle_files(run) for run in runs):
            return None
        return f"{glob.escape(str(self._root))}/datasets/*/runs/*/{IDLE}/*.jsonl"

    @property
    def names(self) -> dict[str, str]:
        return names_of(self._every)

    @property
    def times(self) -> list[Published]:
        return times_of(self._published)

    @cached_property
    def _published(self) -> list[DatasetVersion]:
        return list(whole(version for found in self._every for version in found))

    def _versions(self, found: Iterable[DatasetVersion]) -> str:
        whole: Files = defaultdict(list)
        rows: Files = defaultdict(list)
        verdicts: Files = defaultdict(list)
        for version in found:
            schema = version.manifest.get("schema_version", 0)
            for part in version.parts:
                (rows if part.verdicts else whole)[schema].append(part.rows.path)
                if part.verdicts:
                    own = version.manifest["verdict_schema_version"]
                    verdicts[own].append(part.verdicts.path)
        number = r"regexp_extract(filename, '/versions/(v\d+)/', 1) AS version"
        of_verdicts = rf"regexp_replace(filename, '{VERDICTS}(\d+\.parquet)$', 'part-\1')"
        reads = _reads(whole, f"EXCLUDE (filename, file_row_number), {number}")
        if rows:
            named = _reads(rows, f"EXCLUDE (filename), {number}, filename AS part")
            found_beside = _reads(verdicts, f"EXCLUDE (filename), {of_verdicts} AS part")
            reads.append(beside(named, found_beside, ("part", "file_row_number"), "part"))
        return rows_of(reads)

    def _running(self) -> str:
        """Rows that the logs name now, at the time of the query, each trajectory once: of one that
        was made again, the one committed last."""
        runs = [run for folder in self._datasets for run in self._unpublished_runs(folder)]
        reads = []
        for one_schema in (True, False):
            found = [run for run in runs if _is_of_one_schema(run) == one_schema]
            if found:
                reads.append(_read_runs(found, union_by_name=not one_schema))
        return rows_of(reads)

    def _unpublished_runs(self, dataset: Path) -> list[Path]:
        published = [v for v in self._published if v.dataset == dataset.name]
        covered = covered_commits([*removed_versions(dataset), *published])
        runs = folders(dataset / "runs")
        return [run for run in runs if run.name not in covered and (run / LOG).is_file()]


def rows_of(reads: Iterable[str]) -> str:
    """The body of a view over some reads, with every column and its type also where none is."""
    nothing = "SELECT *, NULL::VARCHAR AS version FROM no_rows"
    return " UNION ALL BY NAME ".join([nothing, *reads])


def beside(rows: Iterable[str], verdicts: Iterable[str], place: Sequence[str], extra: str) -> str:
    """The rows of some reads with the verdicts of others that have the same place.

    The result leaves out the join columns `extra` and the row's number.
    """
    changed = [name for name in verdict_schema().names if name != "trajectory_id"]
    listed = ", ".join(f"verdicts_.{name} AS {name}" for name in changed)
    nothing = f"SELECT {', '.join(changed)} FROM no_rows"
    found = " UNION ALL BY NAME ".join([nothing, *verdicts])
    return (
        f"SELECT rows_.* EXCLUDE ({extra}, file_row_number) REPLACE ({listed}) "
        f"FROM ({rows_of(rows)}) AS rows_ JOIN ({found}) "
        f"AS verdicts_ USING ({', '.join(place)})"
    )


def _reads(paths: Files, columns: str) -> list[str]:
    """The files of each schema version, as queries of `*` with these changes."""
    return [
        f"SELECT * {columns} FROM read_parquet({list_literal(glob.escape(str(p)) for p in found)}, "
        f"filename = true, file_row_number = true, union_by_name = {schema == 0})"
        for schema, found in paths.items()
    ]


def _is_of_one_schema(run: Path) -> bool:
    """All its files have the columns of today, so that DuckDB need not open each to find out."""
    try:
        return {commit.schema for commit in read_log(run / LOG).commits} == {SCHEMA_VERSION}
    except Damaged:
        return False


def _read_runs(runs: Sequence[Path], *, union_by_name: bool) -> str:
    batches = list_literal(f"{glob.escape(str(run))}/{BATCHES}/*.parquet" for run in runs)
    logs = list_literal(f"{glob.escape(str(run))}/{LOG}" for run in runs)
    return f"""SELECT * EXCLUDE (filename, file_row_number, named, first_, last_),
        NULL::VARCHAR AS version
    FROM read_parquet({batches}, filename = true, file_row_number = true,
        union_by_name = {union_by_name}) JOIN (
        WITH lines AS (
            SELECT replace(filename, '{LOG}', '{BATCHES}/') AS folder, file, first, last,
                row_number() OVER () AS line
            FROM read_json({logs}, format = 'newline_delimited', ignore_errors = true, columns = {{
                file: 'VARCHAR', first: 'VARCHAR', last: 'VARCHAR'}}, filename = true)
            WHERE file IS NOT NULL
        ), commits AS (
            SELECT folder, file, min(line) AS line FROM lines WHERE first IS NULL GROUP BY ALL
        ), files AS (
            SELECT folder, file, line AS first_, line AS last_, line FROM commits
            UNION ALL
            SELECT merged.folder, merged.file, one.line, other.line, merged.line
            FROM lines AS merged
            JOIN commits AS one ON one.folder = merged.folder AND one.file = merged.first
            JOIN commits AS other ON other.folder = merged.folder AND other.file = merged.last
        )
        SELECT folder || file AS named, first_, last_ FROM files
        WHERE NOT EXISTS (FROM files AS merged WHERE merged.folder = files.folder
            AND merged.line > files.line AND merged.first_ <> merged.last_
            AND merged.first_ <= files.first_ AND merged.last_ >= files.last_)
        ) ON filename = named
    QUALIFY row_number() OVER (
        PARTITION BY dataset, trajectory_id ORDER BY first_ DESC, file_row_number DESC) = 1"""
