"""Curation of a whole run: every rule over every row, and the table of what each rule dropped.

Pure and deterministic: verdicts depend on the rows, the configuration and the seed, never on the
order in which rows arrive, so stored trajectories can be filtered again at no inference cost.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from storage.records import Program, Trajectory
from tirgen.filters.config import FilterConfig, Rule
from tirgen.filters.rules import accept, verdict_of


@dataclass(frozen=True, slots=True)
class YieldRow:
    """What one rule did to the rows that reached it."""

    rule: str
    entered: int
    dropped: int
    """Of those, the rows for which this was the first rule to drop them."""
    kept: int


Findings = Mapping[str, str | None]
"""Why a dataset rule drops a trajectory, by trajectory id; None keeps it."""


def curate(trajectories: Iterable[Trajectory], config: FilterConfig, seed: int) -> list[Trajectory]:
    """All rows, kept and dropped, with the verdicts of every rule that is on.

    Earlier verdicts are replaced. A dataset rule judges the rows that everything before it kept,
    so only those carry its verdict.
    """
    rows = [replace(row, filters=accept(row, config)) for row in trajectories]
    for rule, judge in _DATASET_RULES.items():
        if config.applies(rule):
            findings = judge(rows, config, seed)
            rows = [_with_finding(row, rule, findings) for row in rows]
    return rows


def yield_table(trajectories: Iterable[Trajectory]) -> list[YieldRow]:
    """From raw to kept, rule by rule; each dropped row counts at the first rule that drops it."""
    dropped: dict[str, int] = {}
    total = 0
    for row in trajectories:
        total += 1
        for verdict in row.filters:
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


def _one_per_problem(rows: list[Trajectory], config: FilterConfig, seed: int) -> Findings:
    """One trajectory a problem, drawn by the seed (spec §3.2 rule 11, D18)."""
    by_problem: dict[str, list[Trajectory]] = defaultdict(list)
    for row in rows:
        if row.kept:
            by_problem[row.problem.problem_id].append(row)
    findings: dict[str, str | None] = {}
    for siblings in by_problem.values():
        chosen = min(siblings, key=lambda row: _draw(seed, "one_per_problem", row.trajectory_id))
        for row in siblings:
            another = f"{chosen.trajectory_id} stands for this problem"
            findings[row.trajectory_id] = None if row is chosen else another
    return findings


def _cot_solvable(rows: list[Trajectory], config: FilterConfig, seed: int) -> Findings:
    """Problems that the same policy solves without tools teach no tool use (A8)."""
    baselines: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row.program is Program.COT and row.verdict is not None:
            baselines[row.problem.problem_id].append(row.correct)
    return {
        row.trajectory_id: _solved_without_tools(baselines[row.problem.problem_id], config)
        for row in rows
        if row.kept
    }


def _solved_without_tools(samples: list[bool], config: FilterConfig) -> str | None:
    if len(samples) < config.cot_minimum_samples:
        return None
    if sum(samples) < config.cot_solved_share * len(samples):
        return None
    return f"{sum(samples)} of {len(samples)} chain-of-thought samples are right"


def _call_balance(rows: list[Trajectory], config: FilterConfig, seed: int) -> Findings:
    """Down-sample by number of calls (spec §3.1 rule 3, A9)."""
    return {
        row.trajectory_id: _thinned_out(row, config.keep_share_by_calls, seed)
        for row in rows
        if row.kept
    }


def _thinned_out(row: Trajectory, shares: Mapping[int, float], seed: int) -> str | None:
    share = shares.get(len(row.calls), 1.0)
    if _draw(seed, "call_balance", row.trajectory_id) < share:
        return None
    return f"{len(row.calls)}-call trajectories are thinned to {share:g}"


def _draw(seed: int, purpose: str, name: str) -> float:
    """Uniform in [0, 1), the same for the same row in whatever order rows arrive."""
    digest = hashlib.sha256(f"{seed}\x1f{purpose}\x1f{name}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


_DATASET_RULES: Mapping[Rule, Callable[[list[Trajectory], FilterConfig, int], Findings]] = {
    Rule.ONE_PER_PROBLEM: _one_per_problem,
    Rule.COT_SOLVABLE: _cot_solvable,
    Rule.CALL_BALANCE: _call_balance,
}
