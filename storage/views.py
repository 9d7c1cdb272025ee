"""The SQL views and macros over a store, as text and as the file `ROOT/tirgen.duckdb`.

The file holds definitions only, never a row, and is replaced as a whole whenever a run is opened or
a version is published. So any DuckDB client may keep it open read-only while runs write: DuckDB's
lock on a file never stands between a user and a writer. The views name absolute paths: a store that
is moved gets a new file with its next run.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import duckdb

from storage import files
from storage.commits import BATCHES, LOG, read_log
from storage.errors import Damaged
from storage.lake import covered_commits
from storage.literals import list_literal
from storage.manifest_views import manifest_view
from storage.names import folders
from storage.numbered import whole
from storage.policies import Policies
from storage.records import BASELINE_RULE, SCHEMA_VERSION, UNVERIFIABLE
from storage.schema import trajectory_schema
from storage.versions import DatasetVersion, every_version

FILE = "tirgen.duckdb"

VIEWS = {
    "trajectories": "rows of the latest version of every dataset, without baselines",
    "all_trajectories": "rows of every published version, without baselines",
    "baselines": "chain-of-thought samples that measure the problems of every published version",
    "all_samples": "both: rows of every published version, with a column `baseline`",
    "running": "rows committed by runs that are not published yet",
    "steps": "one row per step of `trajectories`",
    "failures": "what went wrong in `trajectories`: endings, steps and corrected attempts",
    "missing_modules": "modules that programs imported and the sandbox does not have, how often",
    "filters": "one row per trajectory and filter rule",
    "yields": "per version and rule, in their order: how many entered, were dropped and kept",
    "accuracy": "per program, policy and difficulty of the latest versions: how many are right",
    "all_accuracy": "the same of every published version",
    "datasets": "one row per published version, with its counts",
    "policies": "one row per policy version: its parent and the dataset version it learned from",
    "evaluations": "one row per evaluated policy, benchmark and figure, with its interval",
}
"""What a user may select from, and what it holds."""

DERIVED_COLUMNS = {
    "version": "the dataset version, e.g. v3; null for rows that are not published",
    "created_at": "when the row was made, UTC",
    "correct": "the answer is right; null if it was not judged or cannot be verified",
    "kept": "every filter rule kept the row; in `filters`, this rule kept it",
    "baseline": "a chain-of-thought sample that measures its problem",
    "n_steps": "number of steps",
    "n_calls": "number of programs that were run",
    "n_failed_calls": "number of programs that failed",
    "n_corrections": "number of failed attempts that self-correction replaced",
    "n_policy_tokens": "number of tokens of thoughts and actions",
    "mode": "reasoning if the trajectory has a <think> section, else non_reasoning",
    "step": "number of the step, counted from 1",
    "position": "number of the rule in the order in which rules were applied",
    "place": "number of the rule in the order in which rules were applied",
    "entered": "rows that all rules before this one kept",
    "dropped": "rows that this rule was the first to drop",
    "what": "the ending of the trajectory, or the outcome of the program",
    "level": "trajectory, step or attempt",
    "reason": "why: of the verdict, or in `filters` of the rule",
    "detail": "the error, or the output of the program",
}
"""What the columns contain that are no field of a record."""

_FIRST = """trajectory_id, dataset, version, problem_id, attempt, correct, kept, ending, n_steps,
    n_calls, n_failed_calls, n_corrections, n_policy_tokens, final_answer, gold_answer, method,
    reason, error, question"""

_ENRICHED = f"""
WITH counted AS (
    SELECT * REPLACE (make_timestamp((created_at * 1e6)::BIGINT) AS created_at,
            CASE WHEN method IS DISTINCT FROM '{UNVERIFIABLE}' THEN correct END AS correct),
        coalesce(list_bool_and([f.kept for f in filters]), true) AS kept,
        coalesce(list_bool_or([f.rule = '{BASELINE_RULE}' AND NOT f.kept for f in filters]), false)
            AS baseline,
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

_YIELDS = f"""WITH rules AS (
    SELECT dataset, version, rule, min(position) AS position FROM (
        SELECT dataset, version, generate_subscripts(filters, 1) AS position,
            unnest(filters).rule AS rule
        FROM {{source}}) WHERE rule <> '{BASELINE_RULE}' GROUP BY ALL
), firsts AS (
    SELECT dataset, version, [f.rule for f in filters if NOT f.kept][1] AS rule, count(*) AS dropped
    FROM {{source}} GROUP BY ALL
), counted AS (
    SELECT dataset, version, position, rule, coalesce(dropped, 0) AS dropped,
        row_number() OVER in_order AS place,
        (sum(coalesce(dropped, 0)) OVER in_order)::BIGINT AS dropped_so_far
    FROM rules LEFT JOIN firsts USING (dataset, version, rule)
    WINDOW in_order AS (PARTITION BY dataset, version ORDER BY position, rule)
), came_in AS (SELECT dataset, version, sum(dropped)::BIGINT AS n FROM firsts GROUP BY ALL)
SELECT dataset, version, place, rule, n - dropped_so_far + dropped AS entered, dropped,
    n - dropped_so_far AS kept
FROM counted JOIN came_in USING (dataset, version) ORDER BY dataset, version, place"""


def yields_of(source: str) -> str:
    """The yield of trajectories, as a SELECT over them.

    Each dropped row counts at the first rule that drops it, as in `tirgen.filters.curate`.
    """
    return _YIELDS.replace("{source}", source)


_ACCURACY = """
SELECT dataset, version, program, coalesce(policy_version, actor_model) AS policy, difficulty,
    count(*) AS n, count(correct) AS judged, count(*) FILTER (correct) AS correct,
    avg(correct::INTEGER) AS accuracy, avg(n_calls) AS calls
FROM {source} WHERE level = 'trajectory' GROUP BY ALL"""
"""Of the rows that were judged: what broke, or cannot be verified, is neither right nor wrong."""

_COLUMNS = ", ".join(trajectory_schema().names)

_MACROS = {
    "trajectory": """CREATE MACRO trajectory(id) AS TABLE
    SELECT step, thought, action, observation, outcome FROM (
        SELECT generate_subscripts(steps, 1) AS step, unnest(steps, max_depth := 2)
        FROM records WHERE starts_with(trajectory_id, id::VARCHAR)
        QUALIFY dense_rank() OVER (ORDER BY trajectory_id, version[2:]::INTEGER DESC NULLS LAST) = 1
    ) ORDER BY step""",
    "search": """CREATE MACRO search(words) AS TABLE
    SELECT * FROM trajectories
    WHERE contains(lower(question || steps::VARCHAR), lower(words::VARCHAR))""",
}


_DERIVED = {
    "records": "SELECT {columns}, version FROM published_records "
    "UNION ALL SELECT {columns}, version FROM running_records",
    "latest_samples": _ENRICHED.format(source="latest_records"),
    "all_samples": _ENRICHED.format(source="published_records"),
    "running_samples": _ENRICHED.format(source="running_records"),
    "trajectories": "SELECT * EXCLUDE (baseline) FROM latest_samples WHERE NOT baseline",
    "all_trajectories": "SELECT * EXCLUDE (baseline) FROM all_samples WHERE NOT baseline",
    "running": "SELECT * EXCLUDE (baseline) FROM running_samples WHERE NOT baseline",
    "baselines": "SELECT * EXCLUDE (baseline) FROM all_samples WHERE baseline",
    "steps": _STEPS,
    "failures": _FAILURES,
    "missing_modules": _MISSING_MODULES,
    "filters": _FILTERS,
    "yields": yields_of("all_trajectories"),
    "accuracy": _ACCURACY.format(source="latest_samples"),
    "all_accuracy": _ACCURACY.format(source="all_samples"),
}
"""Views over other views."""


class Sources(Protocol):
    """Where the rows lie, as the bodies of the views that all others stand on."""

    def body(self, view: str) -> str: ...


SOURCES = (
    "published_records", "latest_records", "running_records", "datasets", "policies", "evaluations",
)  # fmt: skip


def definitions(sources: Sources, words: Collection[str] | None = None) -> list[str]:
    """The statements that define the views and macros that occur among some words, by default all.

    A view that is not asked for costs nothing then: it is not looked at.
    """
    derived = {name: body.format(columns=_COLUMNS) for name, body in _DERIVED.items()}
    texts = {**derived, **_MACROS}
    wanted = set(texts) | set(SOURCES) if words is None else set(words)
    for name in reversed(texts):  # each stands behind those that it is made of
        if name in wanted:
            wanted |= set(re.findall(r"\bFROM (\w+)", texts[name]))
    views = {name: sources.body(name) for name in SOURCES if name in wanted}
    views |= {name: body for name, body in derived.items() if name in wanted}
    macros = [body for name, body in _MACROS.items() if name in wanted]
    return [f"CREATE VIEW {name} AS {body}" for name, body in views.items()] + macros


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
            case _:
                return manifest_view(view, self._published, Policies(self._root))

    @cached_property
    def _published(self) -> list[DatasetVersion]:
        return list(whole(version for found in self._every for version in found))

    def _versions(self, found: Iterable[DatasetVersion]) -> str:
        by_schema: dict[int, list[str]] = {}
        for version in found:
            paths = (glob.escape(str(file)) for file in version.files)
            by_schema.setdefault(version.manifest.get("schema_version", 0), []).extend(paths)
        place = r"regexp_extract(filename, '/versions/(v\d+)/', 1) AS version"
        return rows_of(
            f"SELECT * EXCLUDE (filename), {place} FROM "
            f"read_parquet({list_literal(paths)}, filename = true, union_by_name = {schema == 0})"
            for schema, paths in by_schema.items()
        )

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
        covered = covered_commits(v for v in self._published if v.dataset == dataset.name)
        runs = folders(dataset / "runs")
        return [run for run in runs if run.name not in covered and (run / LOG).is_file()]


def rows_of(reads: Iterable[str]) -> str:
    """The body of a view over some reads, with every column and its type also where none is."""
    nothing = "SELECT *, NULL::VARCHAR AS version FROM no_rows"
    return " UNION ALL BY NAME ".join([nothing, *reads])


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
