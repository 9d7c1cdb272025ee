"""The SQL views and macros over a store, as text and as the file `ROOT/tirgen.duckdb`.

The file holds definitions only, never a row, and is replaced as a whole whenever a run is opened or
a version is published. So any DuckDB client may keep it open read-only while runs write: DuckDB's
lock on a file never stands between a user and a writer. The views name absolute paths: a store that
is moved gets a new file with its next run.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

import duckdb

from storage import files
from storage.commits import BATCHES, LOG
from storage.literals import list_literal
from storage.manifest_views import datasets_view, evaluations_view, policies_view
from storage.policies import Policies
from storage.records import UNVERIFIABLE
from storage.schema import trajectory_schema
from storage.versions import DatasetVersion, versions

FILE = "tirgen.duckdb"

VIEWS = {
    "trajectories": "rows of the latest version of every dataset",
    "all_trajectories": "rows of every published version",
    "running": "rows committed by runs that are not published yet",
    "steps": "one row per step of `trajectories`",
    "failures": "what went wrong in `trajectories`: endings, steps and corrected attempts",
    "missing_modules": "modules that programs imported and the sandbox does not have, how often",
    "filters": "one row per trajectory and filter rule",
    "yields": "per version and rule: how many were judged, kept and dropped",
    "datasets": "one row per published version, with its counts",
    "policies": "one row per policy version: its parent and the dataset version it learned from",
    "evaluations": "one row per evaluated policy, benchmark and figure, with its interval",
}
"""What a user may select from, and what it holds."""

_FIRST = """trajectory_id, dataset, version, problem_id, attempt, correct, kept, ending, n_steps,
    n_calls, n_failed_calls, n_corrections, n_policy_tokens, final_answer, gold_answer, method,
    reason, error, question"""

_ENRICHED = f"""
WITH counted AS (
    SELECT * REPLACE (make_timestamp((created_at * 1e6)::BIGINT) AS created_at,
            CASE WHEN method IS DISTINCT FROM '{UNVERIFIABLE}' THEN correct END AS correct),
        coalesce(list_bool_and([f.kept for f in filters]), true) AS kept,
        len(steps) AS n_steps,
        len([s for s in steps if s.action IS NOT NULL]) AS n_calls,
        len([s for s in steps if s.outcome NOT IN ('ok', 'infra_error')]) AS n_failed_calls,
        coalesce(list_sum([len(s.attempts) for s in steps]), 0)::BIGINT AS n_corrections,
        coalesce(list_sum([s.policy_tokens for s in steps]), 0)::BIGINT AS n_policy_tokens,
        CASE WHEN len([1 for s in steps if contains(s.thought, '<think>')
                or contains(s.thought, '</think>')]) > 0
            THEN 'reasoning' ELSE 'non_reasoning' END AS mode
    FROM {{source}}
)
SELECT {_FIRST}, * EXCLUDE ({_FIRST}) FROM counted"""
"""Values that follow from a row, computed where they are asked for and never stored."""

_IDENTITY = "trajectory_id, dataset, version, problem_id, attempt"

_STEPS = f"""
SELECT {_IDENTITY}, generate_subscripts(steps, 1) AS step, n_steps,
    unnest(steps, max_depth := 2)
FROM trajectories"""

_FAILURES = f"""
SELECT {_IDENTITY}, NULL::BIGINT AS step, 'trajectory' AS level, ending AS what, error AS detail,
    NULL::VARCHAR AS action
FROM trajectories WHERE ending <> 'finished'
UNION ALL
SELECT {_IDENTITY}, step, 'step', outcome, observation, action
FROM steps WHERE outcome <> 'ok'
UNION ALL
SELECT {_IDENTITY}, step, 'attempt', attempt_.outcome, attempt_.observation, attempt_.action
FROM (SELECT * EXCLUDE (action, outcome, observation), unnest(attempts) AS attempt_ FROM steps)"""

_MISSING_MODULES = """
SELECT dataset, version, module, count(*) AS programs,
    count(DISTINCT trajectory_id) AS trajectories
FROM (
    SELECT *, regexp_extract(
        detail, '(?m)^ModuleNotFoundError: No module named ''(\\w+)[\\w.]*''', 1) AS module
    FROM failures WHERE what = 'error' AND level <> 'trajectory')
WHERE module <> '' GROUP BY ALL ORDER BY programs DESC, module"""

_FILTERS = f"""
SELECT {_IDENTITY}, generate_subscripts(filters, 1) AS position,
    unnest(filters, max_depth := 2)
FROM (SELECT * EXCLUDE (kept, reason) FROM trajectories)"""

_YIELDS = """
SELECT dataset, version, min(position) AS position, rule, count(*) AS judged,
    count(*) FILTER (WHERE filters.kept) AS kept,
    count(*) FILTER (WHERE NOT filters.kept) AS dropped
FROM filters GROUP BY dataset, version, rule ORDER BY dataset, version, position"""

_MACROS = [
    """CREATE MACRO trajectory(id) AS TABLE
    SELECT step, thought, action, observation, outcome FROM (
        SELECT generate_subscripts(steps, 1) AS step, unnest(steps, max_depth := 2)
        FROM records WHERE starts_with(trajectory_id, id::VARCHAR)
        QUALIFY dense_rank() OVER (ORDER BY trajectory_id, version[2:]::INTEGER DESC NULLS LAST) = 1
    ) ORDER BY step""",
    """CREATE MACRO search(words) AS TABLE
    SELECT * FROM trajectories
    WHERE contains(lower(question || steps::VARCHAR), lower(words::VARCHAR))""",
]


def definitions(root: Path) -> list[str]:
    """The statements that define every view and macro over the store as it is now."""
    found = [v for folder in _dataset_folders(root) for v in versions(folder)]
    latest = {version.dataset: version for version in found}
    columns = ", ".join(trajectory_schema().names)
    views = {
        "published_records": _published(found),
        "latest_records": _published(latest.values()),
        "running_records": _running(root),
        "records": f"SELECT {columns}, version FROM published_records "
        f"UNION ALL SELECT {columns}, version FROM running_records",
        "trajectories": _ENRICHED.format(source="latest_records"),
        "all_trajectories": _ENRICHED.format(source="published_records"),
        "running": _ENRICHED.format(source="running_records"),
        "steps": _STEPS,
        "failures": _FAILURES,
        "missing_modules": _MISSING_MODULES,
        "filters": _FILTERS,
        "yields": _YIELDS,
        "datasets": datasets_view(found),
        "policies": policies_view(Policies(root).all()),
        "evaluations": evaluations_view(found),
    }
    return [f"CREATE VIEW {name} AS {body}" for name, body in views.items()] + _MACROS


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
    """Bring `ROOT/tirgen.duckdb` up to date, again if the store changed meanwhile."""
    while True:
        statements = definitions(root)
        temporary = files.temporary_beside(root / FILE)
        with duckdb.connect(temporary) as connection:
            define(connection, statements)
        files.replace(temporary, root / FILE)
        if definitions(root) == statements:
            return


def _dataset_folders(root: Path) -> list[Path]:
    return sorted((root / "datasets").glob("*"))


def _published(found: Iterable[DatasetVersion]) -> str:
    paths = [glob.escape(str(file)) for version in found for file in version.files]
    if not paths:
        return "SELECT *, NULL::VARCHAR AS version FROM no_rows"
    return (
        r"SELECT * EXCLUDE (filename), regexp_extract(filename, '/versions/(v\d+)/', 1) AS version "
        f"FROM read_parquet({list_literal(paths)}, filename = true, union_by_name = true) "
        "UNION ALL BY NAME SELECT * FROM no_rows"  # the columns that no file has yet
    )


def _running(root: Path) -> str:
    """Rows that the logs name now, at the time of the query, each trajectory once."""
    runs = [run for folder in _dataset_folders(root) for run in _unpublished_runs(folder)]
    if not runs:
        return "SELECT *, NULL::VARCHAR AS version FROM no_rows"
    batches = list_literal(f"{glob.escape(str(run))}/{BATCHES}/*.parquet" for run in runs)
    logs = list_literal(f"{glob.escape(str(run))}/{LOG}" for run in runs)
    return f"""SELECT * EXCLUDE (filename), NULL::VARCHAR AS version
    FROM read_parquet({batches}, filename = true, union_by_name = true)
    WHERE filename IN (
        SELECT replace(filename, '{LOG}', '{BATCHES}/') || file
        FROM read_json({logs}, format = 'newline_delimited', ignore_errors = true,
            columns = {{file: 'VARCHAR'}}, filename = true)
        WHERE file IS NOT NULL)
    QUALIFY row_number() OVER (PARTITION BY trajectory_id ORDER BY created_at DESC) = 1
    UNION ALL BY NAME SELECT * FROM no_rows"""


def _unpublished_runs(dataset: Path) -> list[Path]:
    published = {version.manifest["config_hash"] for version in versions(dataset)}
    return [
        run
        for run in sorted((dataset / "runs").glob("*"))
        if run.name not in published and (run / LOG).exists()
    ]
