"""What a run has committed, in the few columns that a job needs to go on, read in one pass.

A problem whose question or gold answer was changed since is another problem under the same name:
what was made of it before counts as not made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storage.records import UNVERIFIABLE, Ending, Level, Outcome, Problem, Program, Trajectory
from storage.runs import Run
from storage.versions import DatasetVersion
from tirgen.jobs.budget import COST_COLUMNS, BudgetSettings, Spend

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
_FAULTLESS = [outcome.value for outcome in Outcome if not outcome.is_code_failure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One committed row, as far as it decides what is still to be made."""

    trajectory_id: str
    problem: Problem
    program: Program
    attempt: int
    level: Level
    group_id: str | None
    created_at: float
    kept: bool
    reward: float | None
    failed_code: bool
    """Some program of it failed, and the code is to blame."""
    is_lost: bool
    """To be made again: the machinery broke, or an earlier tirgen failed on it."""

    @classmethod
    def of(cls, row: Trajectory) -> Done:
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
    """Whether a row counts as not made.

    What made this very tirgen fail would make it fail again, and cost the same once more.
    """
    if ending is Ending.INTERNAL_ERROR:
        return code_version != CODE_VERSION
    return ending.is_infrastructure


class Committed:
    """The committed rows of a run, or of none."""

    def __init__(self, run: Run | None) -> None:
        self._run = run
        self._costs: list[list[dict[str, Any]]] = []
        self._newest: dict[str, Done] = {}
        """By trajectory; of one that was made again, the newest row."""
        for table in run.columns(_COLUMNS) if run else ():
            self._costs.append(table.select(COST_COLUMNS).to_pylist())
            for done in _rows(table):
                self._newest.pop(done.trajectory_id, None)
                self._newest[done.trajectory_id] = done

    def rows(self, problems: Mapping[str, Problem] | None = None) -> Iterator[Done]:
        """Each trajectory once, of `problems` (by id) as they read today; by default of all."""
        for done in self._newest.values():
            if problems is None or problems.get(done.problem.problem_id) == done.problem:
                yield done

    def spend(self, budget: BudgetSettings, began: float) -> Spend:
        """What all calls before this one have cost, rows that were made again since included.

        This one `began` at a time of the monotonic clock.
        """
        earlier = self._run.seconds() if self._run else 0.0
        spend = Spend(earlier_seconds=earlier, started=began)
        for costs in self._costs:
            for cost in costs:
                spend.add(cost, budget)
        return spend

    def version(self, problems: Mapping[str, Problem] | None = None) -> DatasetVersion | None:
        """The run's newest version, if its trajectories are those that the run holds of `problems`.

        A call that was killed between its last commit and its publication leaves rows that no
        version has; one that asked for other problems, a version of other rows.
        """
        found = self._run.published if self._run else None
        if found is None:
            return None
        held = {
            done.trajectory_id: done.created_at
            for done in self.rows(problems)
            if done.level is Level.TRAJECTORY
        }
        return found if held == _trajectories(found.table(_IDENTITY)) else None


def by_id(problems: Iterable[Problem]) -> dict[str, Problem]:
    return {problem.problem_id: problem for problem in problems}


def rows_of(run: Run, problems: Mapping[str, Problem]) -> Iterator[Trajectory]:
    """The whole rows that `Committed.rows` has, for publication."""
    return asked_for(run.read(), problems)


def asked_for(rows: Iterable[Trajectory], problems: Mapping[str, Problem]) -> Iterator[Trajectory]:
    """Those of the rows whose problem reads today as it did then."""
    return (row for row in rows if problems.get(row.problem.problem_id) == row.problem)


def _trajectories(table: pa.Table) -> dict[str, float]:
    """When each trajectory was made."""
    columns = zip(*(table[name].to_pylist() for name in _IDENTITY), strict=True)
    return {name: made for name, level, made in columns if level == Level.TRAJECTORY}


def _rows(table: pa.Table) -> Iterator[Done]:
    dropped = _rows_with(table["filters"], lambda kept: pc.invert(kept))
    failed = _rows_with(
        table["steps"],
        lambda outcome: pc.and_(
            pc.is_valid(outcome), pc.invert(pc.is_in(outcome, pa.array(_FAULTLESS)))
        ),
    )
    columns = (table[name].to_pylist() for name in _DECIDING)
    for number, row in enumerate(zip(*columns, strict=True)):
        yield _done(row, number in dropped, number in failed)


def _rows_with(nested: Any, holds: Any) -> set[int]:
    """The rows in whose list some element's only field makes `holds` true."""
    lists = nested.combine_chunks()
    rows = pc.list_parent_indices(lists)
    return set(rows.filter(holds(lists.flatten().field(0))).to_pylist())


def _done(row: tuple[Any, ...], dropped: bool, failed: bool) -> Done:
    """From the values of `_DECIDING`."""
    (
        trajectory_id, level, created_at, program, attempt, group_id, ending, correct, method,
        code_version, problem_id, source, question, answer, difficulty,
    ) = row  # fmt: skip
    ended = Ending(ending)
    scored = ended.is_judged and method != UNVERIFIABLE and level == Level.TRAJECTORY
    return Done(
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
