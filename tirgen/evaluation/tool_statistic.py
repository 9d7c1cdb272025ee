"""Whether answers are more often right when all of their code ran (method E12).

Needs rows made with `loop.stop_at_failure = false`: a rollout that stops at its first failed
program has no answer, and the table would be empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, sqrt

from storage.datasets import Store
from storage.literals import literal
from storage.sql import query
from storage.versions import DatasetVersion

TOOL_STATISTIC = """
SELECT
    count(*) FILTER (WHERE is_right AND all_ran) AS right_ran,
    count(*) FILTER (WHERE is_right AND NOT all_ran) AS right_failed,
    count(*) FILTER (WHERE NOT is_right AND all_ran) AS wrong_ran,
    count(*) FILTER (WHERE NOT is_right AND NOT all_ran) AS wrong_failed
FROM (
    SELECT correct OR coalesce(judge_correct, false) AS is_right, n_failed_calls = 0 AS all_ran
    FROM all_trajectories
    WHERE level = 'trajectory' AND n_calls > 0 AND correct IS NOT NULL
        AND dataset = {dataset} AND version = {version}
)"""
"""Counts of the 2 x 2 table of one dataset version, over its answers with code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolTable:
    """Answers by whether they are right and whether all of their code ran."""

    right_ran: int
    right_failed: int
    wrong_ran: int
    wrong_failed: int

    @property
    def accuracy_all_ran(self) -> float | None:
        """P(right | all code ran); None without such an answer."""
        total = self.right_ran + self.wrong_ran
        return self.right_ran / total if total else None

    @property
    def accuracy_some_failed(self) -> float | None:
        """P(right | some code failed); None without such an answer."""
        total = self.right_failed + self.wrong_failed
        return self.right_failed / total if total else None

    @property
    def chi_square(self) -> float | None:
        """Pearson's statistic with one degree of freedom, without Yates's correction.

        None if a row or a column of the table is empty.
        """
        a, b, c, d = self.right_ran, self.right_failed, self.wrong_ran, self.wrong_failed
        margins = (a + b) * (c + d) * (a + c) * (b + d)
        return (a + b + c + d) * (a * d - b * c) ** 2 / margins if margins else None

    @property
    def p_value(self) -> float | None:
        """The probability of such a table if failing code made no difference."""
        statistic = self.chi_square
        return None if statistic is None else erfc(sqrt(statistic / 2))


def tool_table(store: Store, version: DatasetVersion) -> ToolTable:
    """The table of one published version, counted by SQL."""
    dataset, name = literal(version.dataset), literal(version.version)
    (row,) = query(store, TOOL_STATISTIC.format(dataset=dataset, version=name)).to_pylist()
    return ToolTable(**row)
