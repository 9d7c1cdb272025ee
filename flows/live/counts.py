"""Counts over the committed rows of a run, brought up to date by reading only what is new.

Rows that were made again count too: they were paid for, and each says how it ended.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.commits import LOG, CommitLog
from storage.parquet import read_columns
from storage.records import UNVERIFIABLE, Ending, Level, Outcome, Program
from tirgen.jobs.budget import TOKEN_COLUMNS, BudgetSettings

WINDOW_SECONDS: Final = 60.0
"""Rates are also given over the rows of the last minute."""
LAST: Final = 6
"""Trajectories that are listed."""

_SUMMED = [
    "actor_calls", "critic_calls", *TOKEN_COLUMNS, "llm_seconds", "sandbox_seconds",
]  # fmt: skip
_BY = ["program", "level", "ending", "correct", "method", "actor_model", "critic_model"]
_LISTED = ["trajectory_id", "problem_id", "attempt", "final_answer", "created_at"]
_COLUMNS = [
    *_LISTED, *_BY, *_SUMMED, "filters.list.element.kept", "steps.list.element.outcome",
]  # fmt: skip
_WRITTEN = [name for name in TOKEN_COLUMNS if "completion" in name]
_RECENT = ["created_at", "llm_seconds", "sandbox_seconds"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What the rows of a stretch of time say."""

    rows_per_minute: float
    tokens_per_second: float
    """Of those that models wrote."""
    engine_calls: float
    """Requests to engines at the same time, on average."""
    programs: float
    """Programs in the sandbox at the same time, on average."""


@dataclass(slots=True)
class Counts:
    """The rows of one run."""

    folder: Path
    budget: BudgetSettings
    """Its prices."""
    cot_measures: bool = False
    """Its chain-of-thought rows are baselines, as in a generation; they are not judged here."""
    rows: int = 0
    branches: int = 0
    """Rows of step level among them."""
    baselines: int = 0
    """Chain-of-thought samples that measure problems, among them."""
    correct: int = 0
    wrong: int = 0
    unverifiable: int = 0
    kept: int = 0
    """Rows that no rule has dropped so far."""
    endings: Counter[str] = field(default_factory=Counter)
    programs: Counter[str] = field(default_factory=Counter)
    """By outcome."""
    sums: Counter[str] = field(default_factory=Counter)
    """Of the columns `_SUMMED`."""
    money: float = 0.0
    last: list[dict[str, Any]] = field(default_factory=list)
    """The rows committed last, the newest first."""
    _position: int = 0
    _log: CommitLog | None = None
    _recent: Floats = field(default_factory=lambda: np.empty((4, 0)))

    def update(self) -> None:
        """Read what was committed since the last call. Raises Damaged."""
        if self._log is None:
            self._log = CommitLog(self.folder / LOG)
        self._log.update()
        for commit, skip in self._log.after(self._position):
            self._add(read_columns(commit.file, _COLUMNS).slice(skip))
        self._position = self._log.count
        newest = self._recent[0].max(initial=time.time())
        self._recent = self._recent[:, self._recent[0] > newest - WINDOW_SECONDS]

    @property
    def commits(self) -> int:
        """How many commits were read."""
        return self._position

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens, as a budget counts them."""
        return int(sum(self.sums[name] for name in TOKEN_COLUMNS))

    @property
    def lost(self) -> int:
        """Rows that the machinery lost; the same command makes them again."""
        return sum(n for ending, n in self.endings.items() if Ending(ending).is_infrastructure)

    def overall(self, seconds: float) -> Pace:
        """Over all rows, which were made in `seconds` of work."""
        written = sum(self.sums[name] for name in _WRITTEN)
        busy = (self.sums["llm_seconds"], self.sums["sandbox_seconds"])
        return _pace(self.rows, written, *busy, seconds)

    @property
    def lately(self) -> Pace:
        """Over the last minute."""
        _, llm, sandbox, written = self._recent.sum(axis=1).tolist()
        return _pace(self._recent.shape[1], written, llm, sandbox, WINDOW_SECONDS)

    def _add(self, table: pa.Table) -> None:
        kept = _kept(table["filters"], table.num_rows)
        flat = table.select([*_BY, *_SUMMED]).append_column("kept", pa.array(kept))
        sums: list[Any] = [(name, "sum") for name in _SUMMED]
        groups = flat.group_by([*_BY, "kept"]).aggregate([*sums, ("program", "count")])
        for group in groups.to_pylist():
            self._count(group)
        outcomes = _outcomes(table["steps"])
        self.programs.update({one["values"]: one["counts"] for one in outcomes})
        written = np.sum([table[name].to_numpy() for name in _WRITTEN], axis=0)
        recent = np.stack([*(table[name].to_numpy() for name in _RECENT), written])
        self._recent = np.concatenate([self._recent, recent], axis=1)
        newest = table.slice(max(0, table.num_rows - LAST))
        listed = [_listed(row) for row in newest.to_pylist()]
        self.last = [*listed[::-1], *self.last][:LAST]

    def _count(self, group: Mapping[str, Any]) -> None:
        """Count the rows of one group, which are alike in the columns `_BY`."""
        n = group["program_count"]
        self.rows += n
        self.endings[group["ending"]] += n
        sums = {name: group[f"{name}_sum"] for name in _SUMMED}
        self.sums.update(sums)
        self.money += self.budget.price({**group, **sums})
        if group["level"] == Level.STEP:
            self.branches += n
        elif self.cot_measures and group["program"] == Program.COT:
            self.baselines += n
        elif Ending(group["ending"]).is_judged:
            verdict = _verdict(group)
            self.correct += n if verdict else 0
            self.wrong += n if verdict is False else 0
            self.unverifiable += n if verdict is None else 0
            self.kept += n if group["kept"] else 0


def _pace(rows: int, tokens: float, llm: float, sandbox: float, seconds: float) -> Pace:
    span = max(seconds, 1e-3)
    return Pace(
        rows_per_minute=60 * rows / span,
        tokens_per_second=tokens / span,
        engine_calls=llm / span,
        programs=sandbox / span,
    )


def _kept(filters: pa.ChunkedArray[Any], rows: int) -> npt.NDArray[np.bool_]:
    kept = np.ones(rows, dtype=bool)
    lists: Any = filters.combine_chunks()
    parents: Any = pc.list_parent_indices(lists)
    kept[parents.filter(pc.invert(lists.flatten().field(0))).to_numpy(zero_copy_only=False)] = False
    return kept


def _outcomes(steps: pa.ChunkedArray[Any]) -> Iterator[dict[str, Any]]:
    lists: Any = steps.combine_chunks()
    counted = pc.value_counts(lists.flatten().field(0)).to_pylist()
    return (one for one in counted if one["values"] is not None)


def _verdict(row: Mapping[str, Any]) -> bool | None:
    """None where the answer was not judged or cannot be verified."""
    if not Ending(row["ending"]).is_judged or row["method"] in (None, UNVERIFIABLE):
        return None
    return bool(row["correct"])


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    found = [step["outcome"] for step in row["steps"] if step["outcome"] is not None]
    return {
        **{name: row[name] for name in (*_LISTED, "ending", "level")},
        "correct": _verdict(row),
        "n_calls": len(found),
        "n_failed_calls": sum(Outcome(outcome).is_code_failure for outcome in found),
    }
