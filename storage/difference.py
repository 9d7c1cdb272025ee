"""What differs between two dataset versions, as the macros of SQL say it."""

from __future__ import annotations

from typing import Any, NamedTuple

from storage.datasets import Store
from storage.literals import literal
from storage.sql import query
from storage.versions import DatasetVersion

Rows = list[dict[str, Any]]


class Difference(NamedTuple):
    """What differs in a version `after` from a version `before`."""

    before: DatasetVersion
    after: DatasetVersion
    figures: Rows
    """Of the macro `compare`."""
    yields: Rows
    """Of the macro `compare_yields`."""
    counts: Rows
    """How many trajectories changed in which way, by `change`, and how many of them are kept."""
    trajectories: Rows
    """Of the macro `diff`, those whose verdict changed first, then by what is kept."""
    problems: Rows
    """Of the macro `diff_problems`."""


def difference(store: Store, before: str, after: str, limit: int) -> Difference:
    """Compare two versions, each given as ``name@v3``, by a tag, or as ``name`` for the latest.

    At most `limit` trajectories and as many problems are listed; counts and figures are of all.

    Raises:
        NotFound: no such version.
        Damaged: rows of one of them are missing or not what was written.
    """
    versions = store.version(before), store.version(after)
    pair = ", ".join(literal(str(version)) for version in versions)

    def ask(sql: str) -> Rows:
        rows: Rows = query(store, sql).to_pylist()
        return rows

    return Difference(
        *versions,
        figures=ask(f"FROM compare({pair})"),
        yields=ask(f"FROM compare_yields({pair})"),
        counts=ask(
            "SELECT change, count(*) AS trajectories, count(*) FILTER (kept_before) AS kept_before,"
            f" count(*) FILTER (kept_after) AS kept_after FROM diff({pair}) "
            "GROUP BY change ORDER BY change"
        ),
        trajectories=ask(
            f"FROM diff({pair}) ORDER BY change <> 'verdict', kept_before IS NOT DISTINCT FROM "
            f"kept_after, change, problem_id, program, attempt, trajectory_id LIMIT {limit}"
        ),
        problems=ask(f"FROM diff_problems({pair}) LIMIT {limit}"),
    )
