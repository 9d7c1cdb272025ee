"""The page docs/ablation.md, written from docs/results/ablation.json only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEAD = """\
# The ablation, on the pocket

What each part of the method adds. Written by `python -m benchmarks ablation` on {date}: {problems}
held-out problems (`pocket:test`), {seeds} seeds, {minutes} minutes on {machine}. {note}
The figures are in [results/ablation.json](results/ablation.json), every sample is in
`test-output/ablation`. The pocket has a million parameters: this proves the machinery, not the
science. Settings were chosen on other problems ([experiments](experiments.md)).

"""
BETWEEN = """
![Accuracy and programs that ran, by stage](images/ablation.svg)

A sample is one answer at temperature 0.6. Brackets: 95 % bootstrap intervals over problems, all
samples of a problem drawn together. BoN@8 pays for all eight candidates. T5 continues from T4; T4+
is its control, with as many rounds on the same problems without branches. Both levels share one
token mean (`step_weight = 1`). The settings are in `benchmarks/ablation.toml`.

## What was expected, and what came

Paired differences over the same problems.

"""
TOOLS = """
## Does failing code mean a wrong answer?

Of the {answers} answers of T3 that ran code, {all_ran:.1f} % are right where all of it ran and
{failed:.1f} % where some failed: the pocket never learned to continue after a failed program.
Chi-square {chi:.1f} with one degree of freedom, p = {p:.1e}; the paper's Table 4 has 336.294,
p = 4.09e-75 (`tirgen.evaluation.tool_statistic`).
"""


def page(found: Mapping[str, Any]) -> str:
    """The whole page."""
    statistic = found["tool_statistic"]
    parts = [
        HEAD.format(**found),
        "| stage | | accuracy | by seed | programs that ran | used code | tokens a sample |\n",
        "|---|---|---|---|---|---|---|\n",
        *map(_row, found["stages"]),
        BETWEEN,
        *(f"- {each['sentence']}\n" for each in found["expectations"]),
        TOOLS.format(
            answers=statistic["answers"],
            all_ran=100 * (statistic["accuracy_all_ran"] or 0),
            failed=100 * (statistic["accuracy_some_failed"] or 0),
            chi=statistic["chi_square"] or 0,
            p=1.0 if statistic["p_value"] is None else statistic["p_value"],
        ),
    ]
    return "".join(parts)


def _row(row: Mapping[str, Any]) -> str:
    seeds = ", ".join(f"{100 * value:.1f}" for value in row["accuracy_by_seed"])
    cells = (
        row["stage"],
        row["name"],
        _percent(row, "accuracy"),
        seeds,
        _percent(row, "execution_pass"),
        _percent(row, "code_ratio"),
        f"{row['tokens_per_sample']:.0f}",
    )
    return f"| {' | '.join(cells)} |\n"


def _percent(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return "–"
    value, low, high = (100 * row[f"{name}{suffix}"] for suffix in ("", "_low", "_high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"
