"""What a generation prints when it is done: yield, one trajectory, the next command, the places."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text

from flows.commands.common import DEFAULT_STORE
from flows.console import command, say, show
from flows.nothing_kept import explained
from flows.tables import show_rows
from storage.records import Trajectory
from storage.render import render_trajectory
from tirgen.data.errors import skipped_by_reason
from tirgen.jobs.estimate import Estimate
from tirgen.jobs.generate import GenerationReport
from tirgen.jobs.generate_config import GenerateConfig

NEXT_QUERY = (
    "select difficulty, program, n, accuracy, calls from accuracy "
    "where dataset = '{dataset}' order by all"
)


def report_document(report: GenerationReport) -> dict[str, Any]:
    """The report as one JSON document."""
    progress = report.progress
    return {
        "dataset": report.version.dataset,
        "version": report.version.version,
        "path": str(report.version.path),
        "reused_version": report.reused_version,
        "reused_rows": progress.reused_rows,
        "problems": progress.problems,
        "trajectories": report.version.samples,
        "baselines": report.version.baselines,
        "kept": report.version.manifest["kept_rows"],
        "made_now": progress.trajectories,
        "failed_executions": progress.failed_executions,
        "infrastructure": progress.infrastructure,
        "internal_errors": progress.internal_errors,
        "tokens": progress.tokens,
        "spent": {
            "tokens": progress.account.spend.tokens,
            "money": progress.account.spend.money,
            "seconds": round(progress.account.spend.seconds, 3),
        },
        "settled": progress.settled,
        "stopped": report.stopped,
        "advice": advice(report),
        "seconds": round(report.seconds, 3),
        "skipped_rows": [row._asdict() for row in report.skipped],
        "repeated_rows": report.repeated,
        "yield": [asdict(row) for row in report.yields],
    }


def advice(report: GenerationReport) -> list[str]:
    """Why nothing was kept and what to do; nothing where something was."""
    if report.version.manifest["kept_rows"]:
        return []
    return explained(list(report.version.read()), str(report.version))


def show_report(report: GenerationReport, store: Path) -> None:
    """The report for people: data on stdout, narration on stderr."""
    for sentence in skipped_by_reason(report.skipped):
        say(sentence)
    if report.repeated:
        say(f"left out {report.repeated} rows that repeat an earlier question")
    show_rows(_yield_rows(report), f"Yield of {report.version}")
    example = _example(report)
    if example is not None:
        show(render_trajectory(example))
    option = "" if store == DEFAULT_STORE else f" --store {shlex.quote(str(store))}"
    query = NEXT_QUERY.format(dataset=report.version.dataset)
    show(Text(f'\nGo on:     {command()} sql "{query}"{option}'))
    if example is not None:
        show(Text(f"           {command()} traj show {example.trajectory_id}{option}"))
    show(Text(f"Dataset:   {report.version} in {report.version.path}"))
    show(Text(f"SQL views: {store.absolute() / 'tirgen.duckdb'} (any DuckDB client, read-only)"))
    say(_last_line(report))
    for sentence in advice(report):
        say(sentence)
    if report.stopped:
        progress = report.progress
        say(
            f"stopped by the budget: {report.stopped} in all calls of this run, and no other "
            f"attempt is covered; {progress.settled} of {progress.problems} problems are settled. "
            "What is finished is published; a higher budget goes on from here"
        )


def show_estimate(found: Estimate, config: GenerateConfig) -> None:
    """What a run will cost, for people."""
    low, high = (seconds / 60 for seconds in found.seconds)
    row = {
        "": "whole run",
        "tokens": f"{found.tokens:,.0f} ± {found.tokens_error:,.0f}",
        "minutes to come": f"{low:,.1f} to {high:,.1f}",
        "money": f"{found.money:,.4g}" if config.budget.prices else "no prices given",
    }
    spent = {
        "": "spent so far",
        "tokens": f"{found.spent_tokens:,}",
        "minutes to come": "",
        "money": f"{found.spent_money:,.4g}" if config.budget.prices else "",
    }
    show_rows([row, spent], f"Estimate for {found.problems} problems")
    say(
        f"told from {found.sampled} problems, run for this; their rows are committed, and the same "
        "command without --estimate goes on from them"
    )


def _yield_rows(report: GenerationReport) -> list[dict[str, Any]]:
    """One row a rule, in the order in which they ask; above them what came in."""
    came_in = report.yields[0].entered if report.yields else 0
    raw = {"filter": "raw", "entered": None, "dropped": None, "kept": came_in}
    rows = [
        {
            "filter": row.rule,
            "entered": row.entered,
            "dropped": row.dropped,
            "kept": row.kept,
        }
        for row in report.yields
    ]
    return [raw, *rows]


def _example(report: GenerationReport) -> Trajectory | None:
    """A kept trajectory of the hardest kind with the most calls: where the method shows best."""
    kept = (trajectory for trajectory in report.version.read() if trajectory.kept)
    return max(
        kept, key=lambda row: (row.problem.difficulty or "", min(len(row.calls), 3)), default=None
    )


def _last_line(report: GenerationReport) -> str:
    progress = report.progress
    if report.reused_version:
        return (
            f"reused {report.version}: all {progress.reused_rows} trajectories were there already; "
            f"{report.seconds:.1f} s"
        )
    lost = (
        f"; {progress.infrastructure} attempts were lost to infrastructure, "
        "the same command makes them again"
        if progress.infrastructure
        else ""
    )
    if progress.internal_errors:
        lost += (
            f"; tirgen itself failed on {progress.internal_errors}: please report the error of "
            "rows that ended as internal_error"
        )
    return (
        f"made {progress.trajectories} trajectories and reused {progress.reused_rows} "
        f"in {report.seconds:.1f} s ({progress.tokens / max(report.seconds, 1e-3):,.0f} tokens/s)"
        f"{lost}"
    )
