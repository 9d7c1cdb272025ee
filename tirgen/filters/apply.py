"""Applies every rule to all rows of a run, and counts what each rule dropped.

Pure and deterministic: verdicts depend on the rows, the configuration and the seed, not on the
order of the rows. So stored trajectories can be filtered again without inference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from storage.records import BASELINE_RULE, Cost, FilterVerdict, Step, TokenStream, Trajectory
from tirgen.filters.dataset_rules import DATASET_RULES, Findings
from tirgen.filters.filter_config import FilterConfig, Rule
from tirgen.filters.rules import accept, verdict_of


@dataclass(frozen=True, slots=True)
class YieldRow:
    """How many rows reached a rule, and how many it dropped."""

    rule: str
    entered: int
    dropped: int
    """Rows that this rule was the first to drop."""
    kept: int


def filter_rows(
    trajectories: Iterable[Trajectory], config: FilterConfig, seed: int
) -> list[Trajectory]:
    """All rows, kept and dropped, with the verdicts of every rule that is on.

    Earlier verdicts are replaced. A dataset rule judges only the rows that all rules before it
    kept, so only those have its verdict.
    """
    rows = list(trajectories)
    return list(filter_stream(lambda: rows, config, seed).rows())


Read = Callable[[], Iterable[Trajectory]]
"""Returns the same rows each time it is called."""


@dataclass(frozen=True, slots=True)
class Filtered:
    """The verdicts of all rows, without the rows."""

    yields: list[YieldRow]
    count: int
    problems: int
    _read: Read
    _verdicts: Mapping[str, tuple[FilterVerdict, ...]]

    def rows(self) -> Iterator[Trajectory]:
        """Read all rows again, each with its verdicts."""
        for row in self._read():
            yield replace(row, filters=self._verdicts[row.trajectory_id])


def filter_stream(read: Read, config: FilterConfig, seed: int) -> Filtered:
    """As `filter_rows`, for rows that do not fit into memory: they are read twice."""
    known: dict[Any, Any] = {}
    rows = [_without_text(row, accept(row, config), known) for row in read()]
    for rule, judge in DATASET_RULES.items():
        if config.applies(rule):
            findings = judge(rows, config, seed)
            rows = [_with_finding(row, rule, findings) for row in rows]
    verdicts = {row.trajectory_id: row.filters for row in rows}
    problems = len({row.problem.problem_id for row in rows})
    return Filtered(yield_table(rows), len(rows), problems, read, verdicts)


def _without_text(
    row: Trajectory, filters: tuple[FilterVerdict, ...], known: dict[Any, Any]
) -> Trajectory:
    """The row as the dataset rules need it: its problem, verdicts and number of calls.

    Values that rows share are in memory once, in `known`.
    """

    def shared(value: Any) -> Any:
        return known.setdefault(value, value)

    return replace(
        row,
        steps=shared(tuple(_CALL for _ in row.calls)),
        tokens=_NO_TOKENS,
        cost=_NO_COST,
        problem=shared(row.problem),
        provenance=shared(row.provenance),
        verdict=shared(row.verdict),
        filters=shared(tuple(map(shared, filters))),
    )


_CALL, _NO_TOKENS, _NO_COST = Step(thought="", action=""), TokenStream(), Cost()


def yield_table(trajectories: Iterable[Trajectory]) -> list[YieldRow]:
    """Rows from raw to kept, rule by rule; a dropped row counts at the first rule that drops it.

    Baselines are not counted. The view `yields` of the store has the same numbers.
    """
    dropped: dict[str, int] = {}
    total = 0
    for row in trajectories:
        if row.is_baseline:
            continue
        total += 1
        for verdict in row.filters:
            if verdict.rule != BASELINE_RULE:
                dropped.setdefault(verdict.rule, 0)
        first = next((verdict.rule for verdict in row.filters if not verdict.kept), None)
        if first is not None:
            dropped[first] += 1
    order = {rule.value: place for place, rule in enumerate(Rule)}
    table: list[YieldRow] = []
    for rule in sorted(dropped, key=lambda name: (order.get(name, len(order)), name)):
        table.append(YieldRow(rule, total, dropped[rule], total - dropped[rule]))
        total -= dropped[rule]
    return table


def _with_finding(row: Trajectory, rule: Rule, findings: Findings) -> Trajectory:
    if row.trajectory_id not in findings:
        return row
    verdict = verdict_of(rule, findings[row.trajectory_id])
    return replace(row, filters=(*row.filters, verdict))
