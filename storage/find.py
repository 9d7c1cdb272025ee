"""Finding single trajectories: one by its id, or a list by a condition."""

from __future__ import annotations

from typing import Any

from storage.datasets import Store
from storage.errors import NotFound
from storage.records import Trajectory
from storage.schema import from_batch, trajectory_schema
from storage.sql import query

_LISTED = """trajectory_id, dataset, version, problem_id, attempt, correct, kept, ending, n_calls,
    n_failed_calls, final_answer, gold_answer"""
_HINT = "list them: tirgen traj list --limit 5"


def find_trajectory(store: Store, prefix: str) -> Trajectory:
    """The trajectory whose id begins with `prefix`, published (newest version) or still running.

    Raises:
        NotFound: no id begins so, or several do.
    """
    columns = ", ".join(trajectory_schema().names)
    literal = "'" + prefix.replace("'", "''") + "'"
    table = query(
        store,
        f"SELECT {columns} FROM records WHERE starts_with(trajectory_id, {literal}) "
        "QUALIFY row_number() OVER (PARTITION BY trajectory_id "
        "ORDER BY version[2:]::INTEGER DESC NULLS LAST) = 1 LIMIT 2",
    )
    if table.num_rows == 0:
        raise NotFound(f"no trajectory {prefix!r} in {store.root}", _HINT)
    if table.num_rows > 1:
        raise NotFound(
            f"several trajectories begin with {prefix!r}", f"give more of the id, or {_HINT}"
        )
    [trajectory] = from_batch(table.cast(trajectory_schema()).to_batches()[0])
    return trajectory


def list_trajectories(
    store: Store, dataset: str | None = None, where: str = "true", limit: int = 20
) -> list[dict[str, Any]]:
    """The main columns of trajectories that meet a SQL condition, those that went wrong first.

    Without a version (``name@v3``), those of the latest versions and of runs not yet published.

    Raises:
        NotFound: the dataset or version does not exist.
        QueryError: the condition is no SQL over the columns of `trajectories`.
    """
    source = "(FROM trajectories UNION ALL BY NAME FROM running)"
    condition = "true"
    if dataset is not None:
        name, _, version = dataset.partition("@")
        condition = f"dataset = '{name}'"
        if version or not store.has_runs(name):
            source = "all_trajectories"
            condition += f" AND version = '{store.version(dataset).version}'"
    rows: list[dict[str, Any]] = query(
        store,
        # The condition stands on a line of its own, which is the line that an error quotes.
        f"SELECT {_LISTED} FROM {source} WHERE {condition} AND (\n{where or 'true'}\n) "
        "ORDER BY correct NULLS FIRST, kept, n_failed_calls DESC, trajectory_id "
        f"LIMIT {limit}",
    ).to_pylist()
    return rows
