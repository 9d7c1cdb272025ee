"""What a generation prints at its end: yield, one trajectory, the next command, and the folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from rich.text import Text

from flows.terminal.console import command, say, show, store_option
from flows.terminal.tables import show_rows
from storage.datasets import Store
from storage.find import find_trajectory
from storage.literals import literal
from storage.objects.address import address_of
from storage.places import shown
from storage.records import Ending, Trajectory, Verdicts
from storage.render import render_trajectory
from storage.sql import query
from tirgen.data.errors import skipped_by_reason
from tirgen.filters.filter_config import Rule
from tirgen.jobs.estimate import CostEstimate
from tirgen.jobs.generate import GenerationReport
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.idle import SlotUsage

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
        "path": shown(report.version.path),
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
        "engines": {
            name: {"busy": round(usage.busy, 4), "idle": dict(usage.reasons())}
            for name, usage in progress.idle.items()
        },
        "stopped": report.stopped,
        "advice": advice(report),
        "seconds": round(report.seconds, 3),
        "skipped_rows": [row._asdict() for row in report.skipped],
        "repeated_rows": report.repeated,
        "yield": [asdict(row) for row in report.yields],
    }


def advice(report: GenerationReport) -> list[str]:
    """Why nothing was kept and what to do about it; empty if something was kept."""
    if report.version.manifest["kept_rows"]:
        return []
    return explained(report.version.found(), str(report.version))


def show_report(report: GenerationReport, store: Path) -> None:
    """Print the report for people: data on stdout, messages on stderr."""
    for sentence in skipped_by_reason(report.skipped):
        say(sentence)
    if report.repeated:
        say(f"left out {report.repeated} rows that repeat an earlier question")
    show_rows(_yield_rows(report), f"Yield of {report.version}")
    example = _example(report, store)
    if example is not None:
        show(render_trajectory(example))
    option = store_option(store)
    query = NEXT_QUERY.format(dataset=report.version.dataset)
    show(Text(f'\nGo on:     {command()} sql "{query}"{option}'))
    if example is not None:
        show(Text(f"           {command()} traj show {example.trajectory_id}{option}"))
    show(Text(f"Dataset:   {report.version} in {shown(report.version.path)}"))
    if address_of(str(store)) is None:
        views = store.absolute() / "tirgen.duckdb"
        show(Text(f"SQL views: {views} (any DuckDB client, read-only)"))
    say(_last_line(report))
    for sentence in engine_sentences(report.progress.idle):
        say(sentence)
    for sentence in advice(report):
        say(sentence)
    if report.stopped:
        progress = report.progress
        say(
            f"stopped by the budget: {report.stopped} in all calls of this run; another attempt "
            f"would exceed it. {progress.settled} of {progress.problems} problems are settled. "
            "What is finished is published; a higher budget continues from here"
        )


def engine_sentences(idle: Mapping[str, SlotUsage]) -> list[str]:
    """How busy each engine was, and why not more; empty if the job asked none."""
    found = []
    for name, usage in idle.items():
        reasons = [f"{what.replace('_', ' ')} {share:.0%}" for what, share in usage.reasons()[:4]]
        because = f"; idle for {', '.join(reasons)}" if reasons else ""
        found.append(f"engine of {name}: {usage.busy:.0%} of its slots were busy{because}")
    return found


def show_estimate(found: CostEstimate, config: GenerateConfig) -> None:
    """Print what a run will cost, for people."""
    low, high = (seconds / 60 for seconds in found.seconds)
    row = {
        "": "whole run",
        "tokens": f"{found.tokens:,.0f} ± {found.tokens_error:,.0f}",
        "minutes left": f"{low:,.1f} to {high:,.1f}",
        "money": f"{found.money:,.4g}" if config.budget.prices else "no prices given",
    }
    spent = {
        "": "spent so far",
        "tokens": f"{found.spent_tokens:,}",
        "minutes left": "",
        "money": f"{found.spent_money:,.4g}" if config.budget.prices else "",
    }
    show_rows([row, spent], f"Estimate for {found.problems} problems")
    say(
        f"estimated from {found.sampled} problems that were run; their rows are committed, and the "
        "same command without --estimate reuses them"
    )


def _yield_rows(report: GenerationReport) -> list[dict[str, Any]]:
    """A row for each rule in the order of their evaluation; before them the number of all rows."""
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


def _example(report: GenerationReport, store: Path) -> Trajectory | None:
    """A kept trajectory of the highest difficulty with the most calls, up to 3."""
    version, opened = report.version, Store(store)
    found = query(
        opened,
        "SELECT trajectory_id FROM all_trajectories WHERE kept "
        f"AND dataset = {literal(version.dataset)} AND version = {literal(version.version)} "
        "ORDER BY coalesce(difficulty, '') DESC, least(n_calls, 3) DESC, problem_id, attempt "
        "LIMIT 1",
    ).to_pylist()
    return find_trajectory(opened, found[0]["trajectory_id"]) if found else None


def _last_line(report: GenerationReport) -> str:
    progress = report.progress
    if report.reused_version:
        return (
            f"reused {report.version}: all {progress.reused_rows} trajectories were made before; "
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


class Advice(NamedTuple):
    """The likely cause of one kind of failure, and the command that shows or removes it."""

    cause: str
    command: str


_DOCTOR = "tirgen doctor with the same engine flags names tokenizer and prompt set"
_READ = 'tirgen traj list {dataset} --where "not kept", then tirgen traj show ID'
_SQL = (
    'tirgen sql "select outcome, error, count(*) as n from failures group by all order by n desc"'
)

ADVICE = {
    Rule.INFRASTRUCTURE: Advice("engine or sandbox failed", "tirgen doctor"),
    Rule.VERIFIABLE: Advice(
        "the gold answers cannot be verified", "tirgen generate --dry-run names some"
    ),
    Rule.FORMAT: Advice("a model does not write the requested format", _DOCTOR),
    Rule.UNTOUCHED: Advice("the critic changes text that computes nothing", _READ),
    Rule.FINISHED: Advice(
        "answers are cut off: the model does not finish, or the limits are too low", _READ
    ),
    Rule.BOXED: Advice(
        "the actor does not follow its prompt, or has the prompt of another model", _DOCTOR
    ),
    Rule.CORRECT: Advice(
        "the actor is too weak for these problems, or its prompt is not the one it was trained on",
        _READ,
    ),
    Rule.USES_TOOL: Advice("the critic writes no programs", _DOCTOR),
    Rule.EXECUTED: Advice("the critic's programs fail", _SQL),
}
"""By the filter rule that drops most rows. The other rules are settings: the table names them."""


def explained(rows: Iterable[Trajectory | Verdicts], dataset: str) -> list[str]:
    """Sentences about a run that kept nothing: what most of its attempts have in common, and what
    to do about it. `rows` are all rows of the run."""
    endings, rules = Counter[Ending](), Counter[str]()
    for row in rows:
        first = _first_rule(row)
        if first != Rule.PROGRAM.value:
            endings[row.ending] += 1
            rules.update([first] if first else [])
    if not endings:
        return ["no problem was attempted: raise the limits or the budget"]
    ending, ended = endings.most_common(1)[0]
    rule, dropped = rules.most_common(1)[0]
    total = endings.total()
    said = [
        f"no trajectory was kept: {ended} of {total} attempts end as {ending.value}, and the rule "
        f"{rule} drops {dropped}"
    ]
    stopped = rule == Rule.FINISHED.value and ending is Ending.EXECUTION_FAILED
    cause = Rule.EXECUTED.value if stopped else rule
    advice = next((advice for known, advice in ADVICE.items() if known.value == cause), None)
    if advice is None:
        return [*said, f"next: {_READ.format(dataset=dataset)}; docs/filters.md has the rules"]
    return [
        f"{said[0]}; likely {advice.cause}",
        f"next: {advice.command.format(dataset=dataset)}",
    ]


def _first_rule(row: Trajectory | Verdicts) -> str | None:
    return next((verdict.rule for verdict in row.filters if not verdict.kept), None)
