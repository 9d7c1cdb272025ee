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


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolTable:
    """Answers by whether they are right and whether all of their code ran."""

    right_ran: int = 0
    right_failed: int = 0
    wrong_ran: int = 0
    wrong_failed: int = 0

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
    counts = query(
        store,
        "SELECT right_ran, right_failed, wrong_ran, wrong_failed FROM tool_use "
        f"WHERE dataset = {literal(version.dataset)} AND version = {literal(version.version)}",
    ).to_pylist()
    return ToolTable(**counts[0]) if counts else ToolTable()
