"""Curation of a whole run: every rule over every row, and the table of what each rule dropped.

Pure and deterministic: verdicts depend on the rows, the configuration and the seed, never on the
order in which rows arrive, so stored trajectories can be filtered again at no inference cost.
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
    """What one rule did to the rows that reached it."""

    rule: str
    entered: int
    dropped: int
    """Of those, the rows for which this was the first rule to drop them."""
    kept: int


def curate(trajectories: Iterable[Trajectory], config: FilterConfig, seed: int) -> list[Trajectory]:
    """All rows, kept and dropped, with the verdicts of every rule that is on.

    Earlier verdicts are replaced. A dataset rule judges the rows that everything before it kept,
    so only those carry its verdict.
    """
    rows = list(trajectories)
    return list(curated(lambda: rows, config, seed).rows())


Read = Callable[[], Iterable[Trajectory]]
"""Gives the same rows each time it is called."""


@dataclass(frozen=True, slots=True)
class Curated:
    """A curation that holds verdicts, and no row."""

    yields: list[YieldRow]
    count: int
    problems: int
    _read: Read
    _verdicts: Mapping[str, tuple[FilterVerdict, ...]]

    def rows(self) -> Iterator[Trajectory]:
        """All rows with their verdicts, as they are read again."""
        for row in self._read():
            yield replace(row, filters=self._verdicts[row.trajectory_id])


def curated(read: Read, config: FilterConfig, seed: int) -> Curated:
    """What `curate` gives, for rows that do not fit into memory: they are read twice."""
    known: dict[Any, Any] = {}
    rows = [_without_text(row, accept(row, config), known) for row in read()]
    for rule, judge in DATASET_RULES.items():
        if config.applies(rule):
            findings = judge(rows, config, seed)
            rows = [_with_finding(row, rule, findings) for row in rows]
    verdicts = {row.trajectory_id: row.filters for row in rows}
    problems = len({row.problem.problem_id for row in rows})
    return Curated(yield_table(rows), len(rows), problems, read, verdicts)


def _without_text(
    row: Trajectory, filters: tuple[FilterVerdict, ...], known: dict[Any, Any]
) -> Trajectory:
    """What the dataset rules ask of a row: its problem, verdicts and number of calls.

    What rows have in common is in memory once, in `known`.
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
    """From raw to kept, rule by rule; each dropped row counts at the first rule that drops it.

    Baselines do not enter. The view `yields` of the store says the same.
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
