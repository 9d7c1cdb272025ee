"""What the commands that train and evaluate share."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from flows.tables import show_rows
from tirgen.evaluation.estimates import Estimate
from tirgen.evaluation.results import BenchmarkResult


class TrainingNotInstalled(Exception):
    """The train extra is not there (exit code 4)."""

    fix = "pip install torch==2.13.0, then pip install 'tirgen[train]'"


def require_training(what: str) -> None:
    """Raises `TrainingNotInstalled`."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("matplotlib") is None:
        raise TrainingNotInstalled(f"{what} needs torch, which the core install leaves out")


def show_results(title: str, results: Sequence[tuple[str, BenchmarkResult]]) -> None:
    """One line for each name and benchmark."""
    spared = ("unverifiable", "lost", "tokens", "problems")
    show_rows([_line(name, result) for name, result in results], title, spared)


def _line(name: str, result: BenchmarkResult) -> dict[str, Any]:
    figures = {
        "accuracy %": result.accuracy,
        **{f"pass@{k}": value for k, value in result.pass_at.items() if k > 1},
        **{f"maj@{k}": value for k, value in result.majority_at.items() if k > 1},
        "best of N": result.best_of,
        "used code": result.code_ratio,
        "ran": result.execution_pass,
    }
    cost = result.tokens_per_sample
    return {
        "policy": name,
        "benchmark": result.benchmark,
        "problems": result.problems,
        **{name: percent(value) for name, value in figures.items()},
        "tokens": cost and round(cost.value),
        "lost": result.lost,
        "unverifiable": result.unverifiable,
    }


def percent(estimate: Estimate | None) -> str:
    """A share with its confidence interval, in per cent."""
    if estimate is None:
        return ""
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{100 * estimate.value:.1f} [{low:.0f}-{high:.0f}]"
