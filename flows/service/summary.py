"""What a finished generation says of itself: one markdown page, built from figures alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from flows.service.chart import Bar, bar_chart, data_uri
from flows.service.figures import Figure, Figures
from flows.service.health import Health
from flows.service.markdown import Link, fenced, table
from flows.service.place import page_of
from tirgen.jobs.generate import GenerationReport


def summary(report: GenerationReport, figures: Figures, health: Health) -> str:
    """The page; every table is followed by the command that gives its rows again."""
    return "\n\n".join(_sections(report, figures, health))


def _yield_chart(figures: Figures) -> str:
    """How many rows came to each rule and passed it, as an address of an SVG picture."""
    bars = [Bar(row["rule"], row["kept"], row["entered"]) for row in figures.yields.rows]
    return data_uri(bar_chart("Rows kept by each rule", bars))


def _sections(report: GenerationReport, figures: Figures, health: Health) -> Iterator[str]:
    manifest = report.version.manifest
    kept = f"{manifest['kept_rows']} kept of {report.version.samples} trajectories"
    yield f"# {report.version}: {kept}"
    yield f"**{health.sentence}**"
    yield _facts(report)
    for figure in (figures.yields, figures.outcomes, figures.executions, figures.cost):
        yield section(figure)
    yield f"![Rows kept by each rule]({_yield_chart(figures)})"
    for figure in (figures.worst, figures.interesting):
        yield section(figure) + "\n\n" + _to_read(figure)
    yield "The best and the worst attempt at each problem, in a browser (`tirgen[view]`):"
    yield fenced(f"tirgen view {report.version} {_store(figures.worst)}", "sh")
    yield "## Made from\n\n" + table(_origin(report))


def linked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose trajectory is a link to its page, where this service has pages."""
    return [{**row, "trajectory_id": _link(row["trajectory_id"])} for row in rows]


def _link(trajectory_id: str) -> Link | str:
    page = page_of(trajectory_id)
    return Link(trajectory_id, page) if page else trajectory_id


def _origin(report: GenerationReport) -> list[dict[str, Any]]:
    """Where the version came from, down to the models, and what names it."""
    manifest = report.version.manifest
    config = manifest["config"]
    facts = {
        "dataset version": str(report.version),
        "previous version": manifest["parent"] or "none",
        "problems": config["problems"]["path"],
        "actor": _engine(config["actor"]),
        "critic": _engine(config["critic"]),
        "run": manifest["run_id"],
        "configuration": manifest["config_hash"],
        "code": ", ".join(manifest["code_versions"]),
        "files": str(report.version.path),
    }
    return [{"what": what, "which": which} for what, which in facts.items()]


def _engine(engine: dict[str, Any]) -> str:
    where = f" at {engine['base_url']}" if engine["base_url"] else ""
    return f"{engine['model']}{where}"


def _facts(report: GenerationReport) -> str:
    progress = report.progress
    made = (
        f"All {progress.reused_rows} trajectories were there already."
        if report.reused_version
        else f"Made {progress.trajectories} trajectories and reused {progress.reused_rows} in "
        f"{report.seconds:.0f} s, {progress.tokens / max(report.seconds, 1e-3):,.0f} tokens/s."
    )
    spend = progress.account.spend
    made += f" All calls together took {spend.tokens:,} tokens"
    made += f" and {spend.money:,.4g} in money." if progress.account.budget.prices else "."
    left_out = f" Left out {len(report.skipped)} bad and {report.repeated} repeated problems."
    return made + (left_out if report.skipped or report.repeated else "")


def section(figure: Figure) -> str:
    """A figure under its title, and how to get it again."""
    rows = linked(figure.rows) if figure.rows and "trajectory_id" in figure.rows[0] else figure.rows
    return f"## {figure.title}\n\n{table(rows)}\n\n{fenced(figure.command, 'sh')}"


def _to_read(figure: Figure) -> str:
    commands = [f"tirgen traj show {row['trajectory_id']} {_store(figure)}" for row in figure.rows]
    return "Read them:\n\n" + fenced("\n".join(commands) or "# none", "sh")


def _store(figure: Figure) -> str:
    return f"--store {shlex.quote(str(figure.store))}"
