"""What a run holds of the very problems that a call asks for, and the version that has it all.

A problem whose question or gold answer was changed since is another problem under the same name:
what was made of it before counts as not made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from storage.records import Level, Problem, Trajectory
from storage.runs import Run
from storage.versions import DatasetVersion

_COLUMNS = [
    "trajectory_id", "level", "created_at",
    "problem_id", "source", "question", "gold_answer", "difficulty",
]  # fmt: skip


def rows_of(run: Run | None, problems: Mapping[str, Problem]) -> Iterator[Trajectory]:
    """The committed rows whose problem reads today as it did then, of `problems` by id."""
    committed = run.read() if run else ()
    return (row for row in committed if problems.get(row.problem.problem_id) == row.problem)


def version_of(run: Run, problems: Mapping[str, Problem] | None = None) -> DatasetVersion | None:
    """The run's newest version, if its trajectories are those the run holds now of `problems`.

    A call that was killed between its last commit and its publication leaves rows that no version
    has; one that asked for other problems, a version of other rows. By default all count.
    """
    found = run.published
    if found is None:
        return None
    held = _trajectories(run.every_row(_COLUMNS), problems)
    return found if held == _trajectories(found.table(_COLUMNS), None) else None


def _trajectories(table: pa.Table, problems: Mapping[str, Problem] | None) -> dict[str, float]:
    """When each trajectory was made; of one that was made again, the last time."""
    made = {row["trajectory_id"]: row for row in table.to_pylist()}
    return {
        name: row["created_at"]
        for name, row in made.items()
        if row["level"] == Level.TRAJECTORY
        and (problems is None or problems.get(row["problem_id"]) == _problem(row))
    }


def _problem(row: Mapping[str, Any]) -> Problem:
    names = ("problem_id", "source", "question", "difficulty")
    return Problem(answer=row["gold_answer"], **{name: row[name] for name in names})
