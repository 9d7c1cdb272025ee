"""Tables of results that several commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from flows.terminal.console import command, say, show
from flows.terminal.tables import show_rows
from flows.training.estimate import Plan
from storage.places import shown
from storage.policies import PolicyVersion
from tirgen.evaluation.estimates import Estimate
from tirgen.evaluation.results import BenchmarkResult


def show_results(title: str, results: Sequence[tuple[str, BenchmarkResult]]) -> None:
    """A row for each name and benchmark."""
    lines = [_line(name, result) for name, result in results]
    empty = [name for name in lines[0] if not any(line[name] != "" for line in lines)]
    show_rows(lines, title, (*empty, "unverifiable", "lost", "tokens", "problems"))


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
    """A share in per cent with its confidence interval."""
    if estimate is None:
        return ""
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{100 * estimate.value:.1f} [{low:.0f}-{high:.0f}]"


def show_published(policy: PolicyVersion) -> None:
    """The new version and its folder on stdout, and the next step on stderr."""
    show(Text(f"{policy} in {shown(policy.path)}"))
    say(f"evaluate it: {command()} eval {policy}")


ROUND_COLUMNS = (
    "rollouts_in",
    "sampler_gap",
    "clip_low_fraction",
    "clip_high_fraction",
    "kl",
    "branches",
    "mended",
    "entropy",
    "tokens",
    "code_ratio",
)
"""Figures of a round that a narrow terminal leaves out, in this order."""


def show_rounds(figures: Sequence[Mapping[str, Any]]) -> None:
    """A row for each round of RL."""
    show_rows(figures, "rounds", ROUND_COLUMNS)


def show_plan(plan: Plan, what: str) -> None:
    """The estimate of a training."""
    memory = plan.holding.memory
    parts = {**memory._asdict(), "total": memory.total}
    show_rows([{name: f"{value / 1e9:.1f}" for name, value in parts.items()}], "GB of a device")
    say(plan.holding.reason)
    say(
        f"{what}: {plan.rows:,} rows of {plan.mean_tokens:,.0f} tokens (from {plan.lengths_from}), "
        f"{plan.steps} steps of {plan.tokens_per_step:,.0f} tokens, "
        f"{plan.flops_per_token / 1e9:,.1f} GFLOP a token"
    )
    if plan.seconds is None:
        say("give --throughput, the tokens per second of a device, for a time")
    else:
        say(f"{plan.seconds / plan.steps:,.0f} s a step, {plan.seconds / 3600:,.1f} h in all")
