"""Curation of a whole run: every rule over every row, and the table of what each rule dropped.

Pure and deterministic: verdicts depend on the rows, the configuration and the seed, never on the
order in which rows arrive, so stored trajectories can be filtered again at no inference cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from storage.records import BASELINE_RULE, Trajectory
from tirgen.filters.config import FilterConfig, Rule
from tirgen.filters.dataset_rules import DATASET_RULES, Findings
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
    rows = [replace(row, filters=accept(row, config)) for row in trajectories]
    for rule, judge in DATASET_RULES.items():
        if config.applies(rule):
            findings = judge(rows, config, seed)
            rows = [_with_finding(row, rule, findings) for row in rows]
    return rows


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
