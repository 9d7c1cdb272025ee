"""Finding single trajectories: one by its id, or a list by a condition."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

from storage.datasets import Store
from storage.errors import NotFound
from storage.literals import literal
from storage.records import Trajectory
from storage.schema import from_batch, trajectory_schema
from storage.sql import query
from storage.view_texts import BEST, COMPARED, GROUP, REWARD, WORST

_LISTED = """trajectory_id, dataset, version, problem_id, attempt, correct, kept, ending, n_calls,
    n_failed_calls, final_answer, gold_answer"""
_HINT = "list them: tirgen traj list --limit 5"


class Pick(StrEnum):
    """Which attempts of each problem, or branches of each prefix, are picked."""

    EXTREMES = "extremes"
    """The worst and the best."""
    BEST = "best"
    WORST = "worst"
    ALL = "all"


class Found(NamedTuple):
    """A trajectory and its dataset version."""

    trajectory: Trajectory
    version: str | None
    """``v3``; None where its run is not published yet."""


def find_trajectory(store: Store, reference: str) -> Trajectory:
    """The trajectory whose id begins with the reference: of the newest version that has it, or of
    a run; with ``ID@v2`` of this version.

    Raises:
        NotFound: no id begins with it, or several do.
    """
    prefix, _, version = reference.partition("@")
    chosen = f" AND version = {literal(version)}" if version else ""
    columns = ", ".join(trajectory_schema().names)
    table = query(
        store,
        f"SELECT {columns} FROM records "
        f"WHERE starts_with(trajectory_id, {literal(prefix)}){chosen} "
        "QUALIFY row_number() OVER (PARTITION BY trajectory_id "
        "ORDER BY version[2:]::INTEGER DESC NULLS LAST) = 1 LIMIT 2",
    )
    if table.num_rows == 0:
        raise NotFound(f"no trajectory {reference!r} in {store}", _HINT)
    if table.num_rows > 1:
        raise NotFound(
            f"several trajectories begin with {prefix!r}", f"give more of the id, or {_HINT}"
        )
    [trajectory] = from_batch(table.cast(trajectory_schema()).to_batches()[0], Trajectory)
    return trajectory


class AttemptAt(NamedTuple):
    """One of several attempts that can be compared."""

    trajectory_id: str
    attempt: int
    reward: float | None
    """As `Trajectory.reward`."""


def attempts_at(store: Store, trajectory: Trajectory) -> list[AttemptAt]:
    """All attempts at the trajectory's problem, or at its step's prefix, in order: those of the
    same run and program, published or not, so that they can be compared."""
    same = {
        "dataset": trajectory.dataset,
        "run_id": trajectory.provenance.run_id,
        "program": trajectory.program.value,
        "problem_id": trajectory.problem.problem_id,
        GROUP: trajectory.group_id or trajectory.problem.problem_id,
    }
    condition = " AND ".join(f"{column} = {literal(value)}" for column, value in same.items())
    rows = query(
        store,
        f"SELECT trajectory_id, attempt, any_value({REWARD}) AS reward "
        f"FROM (FROM latest_samples UNION ALL BY NAME FROM running_samples) WHERE {condition} "
        "GROUP BY ALL ORDER BY attempt",
    ).to_pylist()
    return [AttemptAt(**row) for row in rows]


def list_trajectories(
    store: Store,
    dataset: str | None = None,
    where: str = "true",
    limit: int = 20,
    *,
    baselines: bool = False,
) -> list[dict[str, Any]]:
    """The main columns of trajectories that meet a SQL condition, failed ones first.

    Without a version (``name@v3``), those of the latest versions and of runs not yet published.
    With `baselines`, the samples that measure the problems instead.

    Raises:
        NotFound: the dataset or version does not exist.
        QueryError: the condition is not valid SQL over the columns of `trajectories`.
    """
    source, condition = _condition(store, dataset, where, baselines)
    rows: list[dict[str, Any]] = query(
        store,
        f"SELECT {_LISTED} FROM {source} WHERE {condition} ORDER BY {WORST} LIMIT {limit}",
    ).to_pylist()
    return rows


def matching_ids(store: Store, dataset: str, where: str) -> set[str]:
    """The ids of the trajectories of a version (``name@v3``) that meet a SQL condition.

    Raises:
        NotFound: the dataset or version does not exist.
        QueryError: the condition is not valid SQL over the columns of `trajectories`.
    """
    source, condition = _condition(store, dataset, where, baselines=False)
    table = query(store, f"SELECT trajectory_id FROM {source} WHERE {condition}")
    return {str(found) for found in table.column(0).to_pylist()}


def pick_trajectories(
    store: Store,
    dataset: str | None,
    where: str,
    limit: int,
    *,
    pick: Pick,
    baselines: bool = False,
) -> list[Found]:
    """Whole trajectories that meet a SQL condition, as `list_trajectories` chooses and orders them.

    Of each group, which is one problem's attempts or the branches of one prefix, those of `pick`;
    where there are too many, of groups drawn evenly.

    Raises:
        NotFound: the dataset or version does not exist.
        QueryError: the condition is not valid SQL over the columns of `trajectories`.
    """
    source, condition = _condition(store, dataset, where, baselines)
    choice, order = "", WORST
    if pick is not Pick.ALL:
        among = f"PARTITION BY {COMPARED} ORDER BY"
        orders = {Pick.WORST: (WORST,), Pick.BEST: (BEST,), Pick.EXTREMES: (WORST, BEST)}[pick]
        first = (f"row_number() OVER ({among} {order}) = 1" for order in orders)
        choice = f"QUALIFY {' OR '.join(first)}"
        order = f"hash({GROUP}), {WORST}"
    columns = ", ".join(f"records.{name}" for name in trajectory_schema().names)
    table = query(
        store,
        "WITH chosen AS (SELECT trajectory_id, dataset, version, "
        f"row_number() OVER (ORDER BY {order}) AS place "
        f"FROM (FROM {source} WHERE {condition} {choice}) ORDER BY place LIMIT {limit}) "
        f"SELECT {columns}, records.version FROM records JOIN chosen "
        "ON records.trajectory_id = chosen.trajectory_id AND records.dataset = chosen.dataset "
        "AND records.version IS NOT DISTINCT FROM chosen.version ORDER BY place",
    )
    versions = table.column("version").to_pylist()
    records = table.drop_columns("version").cast(trajectory_schema())
    found = [
        trajectory for batch in records.to_batches() for trajectory in from_batch(batch, Trajectory)
    ]
    return [Found(*each) for each in zip(found, versions, strict=True)]


def accuracies(store: Store) -> dict[tuple[str, str, str], float]:
    """The share of judged rows that are right, by dataset version, program and policy.

    Versions without a judged row are left out.
    """
    table = query(
        store,
        "SELECT dataset || '@' || version AS version, program, policy, "
        "sum(correct) / sum(judged) AS accuracy FROM all_accuracy "
        "GROUP BY ALL HAVING sum(judged) > 0",
    )
    return {
        (row["version"], row["program"], row["policy"]): float(row["accuracy"])
        for row in table.to_pylist()
    }


def _condition(store: Store, dataset: str | None, where: str, baselines: bool) -> tuple[str, str]:
    """The source and the condition of a query. The user's text has its own lines, so that an error
    message quotes only it."""
    source = "(FROM latest_samples UNION ALL BY NAME FROM running_samples)"
    condition = "true"
    if dataset is not None:
        name, _, version = dataset.partition("@")
        condition = f"dataset = '{name}'"
        if version or not store.has_runs(name):
            source = "all_samples"
            condition += f" AND version = '{store.version(dataset).version}'"
    kind = "baseline" if baselines else "NOT baseline"
    return source, f"{condition} AND {kind} AND (\n{where or 'true'}\n)"
