"""The page docs/yields.md, written from the figures in docs/results only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tirgen.filters.filter_config import Rule

HEAD = """# Yield in both modes, rule by rule

Written by `python -m benchmarks yields` from `docs/results/yield-*.json`, measured on {date}. Each
run is `tirgen generate --problems pocket:train --limit 2000` with default settings, the second with
`--set mode=reasoning`. {note}
These shares describe the pocket only, not models of useful size.
"""

DROPPED = """
[yield-dropped.json](results/yield-dropped.json) has for each rule a trajectory that it dropped.
"""


def page(results: Path) -> str:
    """The whole text."""
    reports = [_read(results / f"yield-{mode}.json") for mode in ("non-reasoning", "reasoning")]
    head = HEAD.format(date=reports[0]["date"], note=reports[0]["note"])
    return f"{head}\n{_overview(reports)}\n\n{_yields(reports)}\n{DROPPED}"


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _overview(reports: list[dict[str, Any]]) -> str:
    figures = {
        "problems": "problems",
        "trajectories": "TIRGen attempts",
        "correct": "of these right",
        "baselines": "chain-of-thought samples",
        "baselines_correct": "of these right",
        "kept": "trajectories kept",
        "problems_kept": "problems with a trajectory kept",
        "policy_tokens_of_kept": "policy tokens of a kept trajectory",
        "calls_of_kept": "kept by number of programs",
    }
    lines = [f"| | {' | '.join(report['mode'] for report in reports)} |", "|---|---|---|"]
    for name, meaning in figures.items():
        cells = " | ".join(_cell(report[name]) for report in reports)
        lines.append(f"| {meaning} | {cells} |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{calls}: {count:,}" for calls, count in value.items())
    return f"{value:,}"


def _yields(reports: list[dict[str, Any]]) -> str:
    """One row a rule: in each mode how many it was first to drop, and how many were left."""
    tables = [{row["rule"]: row for row in report["yield"]} for report in reports]
    heads = " | ".join(f"{report['mode']}: dropped | kept" for report in reports)
    lines = [f"| rule | {heads} |", "|---|" + "---:|" * 4]
    for rule in Rule:
        if any(rule.value in table for table in tables):
            cells = [cell for table in tables for cell in _counts(table.get(rule.value))]
            lines.append(f"| `{rule.value}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _counts(row: dict[str, int] | None) -> Iterator[str]:
    if row is None:
        yield from ("–", "–")
    else:
        yield from (f"{row[name]:,}" for name in ("dropped", "kept"))
