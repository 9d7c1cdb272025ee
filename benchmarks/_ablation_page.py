"""The page docs/ablation.md, written from the results alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEAD = """\
# The ablation, on the pocket

What each part of the method adds, measured by `python -m benchmarks ablation` on {problems}
held-out problems (`pocket:test`) and {seeds} seeds, in {minutes} minutes of wall time and
{cpu_minutes} of CPU on {machine}. Written by that command, which also leaves
[results/ablation.json](results/ablation.json) and every sample in `test-output/ablation`, open to
`tirgen sql --store test-output/ablation`. The pocket is a model of a million parameters on problem
families of our own: it proves the machinery, not the science. The settings were chosen in trials
with one seed on the first 500 problems of the list ([experiments.md](experiments.md)); these are
those after them, on which nothing was chosen.

"""
BETWEEN = """
![Accuracy and programs that ran, by stage](images/ablation.svg)

Intervals are percentile bootstraps (95 %) over problems, with all samples of all seeds of a problem
drawn together. A sample is one answer at temperature 0.6; a failed program ends nothing. Best-of-8
pays for all eight candidates.

## What was expected, and what came

Paired differences over the same problems.

"""
TOOLS = """
## Does failing code mean a wrong answer?

Over the {answers} answers of T3 that ran code, all seeds: {all_ran:.1f} % are right where all of it
ran, {failed:.1f} % where some failed; chi-square {chi:.1f} with one degree of freedom, p = {p:.1e}
(the paper's Table 4: 336.294, p = 4.09e-75). Counted by SQL (`tirgen.evaluation.tool_statistic`).

The pocket has never learned to go on after a program that gave no result, hence the 0.

The settings are in `benchmarks/ablation.toml`. T5 goes on from T4, as the official script begins
its step-level training from a checkpoint without it, and T4+ is the control: as many rounds on the
same problems, without branches. Both levels share one token mean (`mixed_token_mean`); with a mean
each, step-level RL cost accuracy in every trial.
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
