"""Which rows a run has committed, in the columns that a job needs to continue.

A problem whose question or gold answer has changed is another problem under the same id: its old
rows do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storage.records import UNVERIFIABLE, Ending, Level, Outcome, Problem, Program, Trajectory
from storage.runs import Run
from storage.versions import DatasetVersion
from tirgen.jobs.budget import COST_COLUMNS, TOKEN_COLUMNS, Amount, BudgetSettings, RunCost

CODE_VERSION = version("tirgen")
_IDENTITY = ["trajectory_id", "level", "created_at"]
_DECIDING = [
    *_IDENTITY, "program", "attempt", "group_id", "ending", "correct", "method",
    "code_version", "problem_id", "source", "question", "gold_answer", "difficulty",
]  # fmt: skip
_COLUMNS = [
    *dict.fromkeys([*_DECIDING, *COST_COLUMNS]),
    "filters.list.element.kept", "steps.list.element.outcome",
]  # fmt: skip
AT_ONCE = 5_000
"""Rows that are converted at once."""
_NOT_FAILED = [outcome.value for outcome in Outcome if not outcome.is_code_failure]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedRow:
    """The facts of one committed row that decide which rows are still missing."""

    trajectory_id: str
    problem: Problem
    program: Program
    attempt: int
    level: Level
    group_id: str | None
    created_at: float
    kept: bool
    reward: float | None
    """None for rows of step level too."""
    failed_code: bool
    """One of its programs failed because of its code."""
    is_lost: bool
    """The row has to be made again; see `is_lost`."""

    @classmethod
    def of(cls, row: Trajectory) -> CommittedRow:
        return cls(
            trajectory_id=row.trajectory_id,
            problem=row.problem,
            program=row.program,
            attempt=row.attempt,
            level=row.level,
            group_id=row.group_id,
            created_at=row.created_at,
            kept=row.kept,
            reward=row.reward if row.level is Level.TRAJECTORY else None,
            failed_code=any(
                step.outcome is not None and step.outcome.is_code_failure for step in row.steps
            ),
            is_lost=is_lost(row.ending, row.provenance.code_version),
        )


def is_lost(ending: Ending, code_version: str) -> bool:
    """Whether a row counts as not made: the machinery broke, or an older tirgen failed on it.

    A row on which this version of tirgen failed is not made again: it would fail again.
    """
    if ending is Ending.INTERNAL_ERROR:
        return code_version != CODE_VERSION
    return ending.is_infrastructure


class CommittedRows:
    """The committed rows of a run; empty without a run. They are read for each use, never held.

    A run can have millions, of which a shard needs few: rows of other problems never become
    objects, and costs are added up in their columns.
    """

    def __init__(self, run: Run | None) -> None:
        self._run = run

    def rows(self, problems: Mapping[str, Problem] | None = None) -> Iterator[CommittedRow]:
        """The newest row of each trajectory of `problems` (by id, unchanged); by default of all."""
        names = None if problems is None else pa.array(list(problems), pa.string())
        for table in self._run.newest_columns(_COLUMNS) if self._run else ():
            found = table if names is None else table.filter(pc.is_in(table["problem_id"], names))
            for row in _rows(found):
                if problems is None or problems.get(row.problem.problem_id) == row.problem:
                    yield row

    def made(self, ids: Collection[str]) -> Iterator[str]:
        """Those of these trajectories that are committed and not to be made again."""
        columns = ["trajectory_id", "ending", "code_version"]
        for table in self._run.newest_columns(columns) if self._run and ids else ():
            found = table.filter(pc.is_in(table["trajectory_id"], pa.array(list(ids), pa.string())))
            for row in found.to_pylist():
                if not is_lost(Ending(row["ending"]), row["code_version"]):
                    yield row["trajectory_id"]

    def spend(self, budget: BudgetSettings, began: float) -> RunCost:
        """What all earlier calls have cost, rows that were made again included.

        `began`: when the present call began, by the monotonic clock in seconds.
        """
        earlier = self._run.seconds() if self._run else 0.0
        spend = RunCost(earlier_seconds=earlier, started=began)
        for table in self._run.columns(COST_COLUMNS) if self._run else ():
            _add(table, spend, budget)
        spend.before = spend.total
        return spend

    def version(self, problems: Mapping[str, Problem] | None = None) -> DatasetVersion | None:
        """The run's newest version, if it holds exactly the committed trajectories of `problems`.

        It does not after a call that was killed between its last commit and its publication, or
        after a call for other problems.
        """
        found = self._run.published if self._run else None
        if found is None:
            return None
        held = _fingerprint(
            (row.trajectory_id, row.created_at)
            for row in self.rows(problems)
            if row.level is Level.TRAJECTORY
        )
        return found if held == _fingerprint(_trajectories(found)) else None


def _fingerprint(rows: Iterable[tuple[str, float]]) -> tuple[int, int]:
    """Number and digest of the rows, in any order."""
    count = total = 0
    for trajectory_id, created_at in rows:
        digest = hashlib.sha256(f"{trajectory_id} {created_at!r}".encode()).digest()
        count, total = count + 1, total + int.from_bytes(digest) & (1 << 256) - 1
    return count, total


def _add(costs: pa.Table, spend: RunCost, budget: BudgetSettings) -> None:
    """Count the attempts of a table in a spend."""
    if budget.prices:  # they depend on the models of a row
        for batch in costs.to_batches(max_chunksize=AT_ONCE):
            for cost in batch.to_pylist():
                spend.add(cost, budget)
        return
    tokens = reduce(pc.add, (costs[name] for name in TOKEN_COLUMNS))
    table = pa.table([costs["program"], tokens, costs["wall_seconds"]], ["program", "n", "s"])
    found = table.group_by("program").aggregate(
        [("n", "sum"), ("n", "max"), ("s", "sum"), ("s", "max")]
    )
    for row in found.to_pylist():
        spend.total = spend.total.plus(Amount(row["n_sum"], 0.0, row["s_sum"]))
        most = Amount(row["n_max"], 0.0, row["s_max"])
        spend.highest[row["program"]] = most.at_least(spend.highest.get(row["program"], most))


def by_id(problems: Iterable[Problem]) -> dict[str, Problem]:
    return {problem.problem_id: problem for problem in problems}


def rows_of(run: Run, problems: Mapping[str, Problem]) -> Iterator[Trajectory]:
    """The whole rows of `CommittedRows.rows`, for publication."""
    return asked_for(run.read(), problems)


def asked_for(rows: Iterable[Trajectory], problems: Mapping[str, Problem]) -> Iterator[Trajectory]:
    """The rows of these problems; a problem that has changed since does not count."""
    return (row for row in rows if problems.get(row.problem.problem_id) == row.problem)


def _trajectories(version: DatasetVersion) -> Iterator[tuple[str, float]]:
    """The id of each trajectory and when it was made."""
    for part in version.parts:
        table = part.columns(_IDENTITY)
        for name, level, made in zip(*(table[c].to_pylist() for c in _IDENTITY), strict=True):
            if level == Level.TRAJECTORY:
                yield name, made


def _rows(table: pa.Table) -> Iterator[CommittedRow]:
    for start in range(0, len(table), AT_ONCE):
        yield from _some_rows(table.slice(start, AT_ONCE))


def _some_rows(table: pa.Table) -> Iterator[CommittedRow]:
    dropped = _rows_with(table["filters"], lambda kept: pc.invert(kept))
    failed = _rows_with(
        table["steps"],
        lambda outcome: pc.and_(
            pc.is_valid(outcome), pc.invert(pc.is_in(outcome, pa.array(_NOT_FAILED)))
        ),
    )
    columns = (table[name].to_pylist() for name in _DECIDING)
    for number, row in enumerate(zip(*columns, strict=True)):
        yield _row(row, number in dropped, number in failed)


def _rows_with(nested: Any, holds: Any) -> set[int]:
    """The rows in whose list at least one element's only field makes `holds` true."""
    lists = nested.combine_chunks()
    rows = pc.list_parent_indices(lists)
    return set(rows.filter(holds(lists.flatten().field(0))).to_pylist())


def _row(values: tuple[Any, ...], dropped: bool, failed: bool) -> CommittedRow:
    """From the values of the columns `_DECIDING`."""
    (
        trajectory_id, level, created_at, program, attempt, group_id, ending, correct, method,
        code_version, problem_id, source, question, answer, difficulty,
    ) = values  # fmt: skip
    ended = Ending(ending)
    scored = ended.is_judged and method != UNVERIFIABLE and level == Level.TRAJECTORY
    return CommittedRow(
        trajectory_id=trajectory_id,
        problem=Problem(
            problem_id=problem_id,
            source=source,
            question=question,
            answer=answer,
            difficulty=difficulty,
        ),
        program=Program(program),
        attempt=attempt,
        level=Level(level),
        group_id=group_id,
        created_at=created_at,
        kept=not dropped,
        reward=float(bool(correct)) if scored else None,
        failed_code=failed,
        is_lost=is_lost(ended, code_version),
    )
