"""The markdown page of a published dataset version, built from `flows.service.figures` alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from flows.page import charts
from flows.service.events import Health
from flows.service.figures import Figure, Figures
from flows.service.home import page_of, report_of
from flows.service.markdown import Link, fenced, table
from flows.terminal.plots import data_uri
from storage.places import shown
from tirgen.jobs.generate import GenerationReport


def generation_page(report: GenerationReport, figures: Figures, health: Health) -> str:
    """The page of a generation; after every table stands the command that prints it again."""
    return "\n\n".join(_sections(report, figures, health))


def section(figure: Figure) -> str:
    """A figure with its title, and the command that prints it again."""
    rows = linked(figure.rows) if figure.rows and "trajectory_id" in figure.rows[0] else figure.rows
    return f"## {figure.title}\n\n{table(rows)}\n\n{fenced(figure.command, 'sh')}"


def captioned(figure: Figure) -> str:
    """The text above a table of its own: its title, and the command that prints it again."""
    return f"{figure.title}\n\n{fenced(figure.command, 'sh')}"


def linked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with each trajectory as a link to its page, if this service has pages."""
    return [{**row, "trajectory_id": _link(row["trajectory_id"])} for row in rows]


def report_link(name: str) -> Iterator[str]:
    """A link to the report of a version, if this service has pages."""
    if address := report_of(name):
        yield f"[Report of {name}: charts, each with its SQL]({address})"


def facts_table(facts: dict[str, str]) -> str:
    """Names and values as a table of two columns."""
    return table([{"what": what, "which": which} for what, which in facts.items()])


def _sections(report: GenerationReport, figures: Figures, health: Health) -> Iterator[str]:
    manifest = report.version.manifest
    kept = f"{manifest['kept_rows']} kept of {report.version.samples} trajectories"
    yield f"# {report.version}: {kept}"
    yield f"**{health.sentence}**"
    yield _counts(report)
    yield from report_link(str(report.version))
    yield _drawn(figures.yields, charts.kept_and_dropped(figures.yields.rows, "rule"))
    yield _drawn(figures.outcomes, _outcomes_chart(figures.outcomes))
    yield _drawn(figures.executions, charts.outcomes_of_programs(figures.executions.rows))
    yield section(figures.cost)
    for figure in (figures.worst, figures.interesting):
        yield section(figure) + "\n\n" + _to_read(figure)
    yield "The best and the worst attempt at each problem, in a browser (`tirgen[view]`):"
    yield fenced(f"tirgen view {report.version} {_store(figures.worst)}", "sh")
    yield "## Made from\n\n" + _origin(report)


def _drawn(figure: Figure, chart: str) -> str:
    """A figure as a chart instead of a table, with the command that prints its rows."""
    if not figure.rows:
        return section(figure)
    image = f"![{figure.title}]({data_uri(chart)})"
    return f"## {figure.title}\n\n{image}\n\n{fenced(figure.command, 'sh')}"


def _outcomes_chart(figure: Figure) -> str:
    """Endings, kept and dropped; those of each program apart where there are several."""
    several = len({row["program"] for row in figure.rows}) > 1
    rows = [
        {
            "ending": f"{row['ending']} ({row['program']})" if several else row["ending"],
            "kept": row["kept"],
            "dropped": row["rows"] - row["kept"],
        }
        for row in figure.rows
    ]
    return charts.kept_and_dropped(rows, "ending")


def _counts(report: GenerationReport) -> str:
    progress = report.progress
    made = (
        f"All {progress.reused_rows} trajectories were made before."
        if report.reused_version
        else f"Made {progress.trajectories} trajectories and reused {progress.reused_rows} in "
        f"{report.seconds:.0f} s, {progress.tokens / max(report.seconds, 1e-3):,.0f} tokens/s."
    )
    spend = progress.account.spend
    made += f" All calls together took {spend.tokens:,} tokens"
    made += f" and {spend.money:,.4g} in money." if progress.account.budget.prices else "."
    left_out = f" Left out {len(report.skipped)} bad and {report.repeated} repeated problems."
    return made + (left_out if report.skipped or report.repeated else "")


def _origin(report: GenerationReport) -> str:
    """What the version was made from, down to the models, and its names."""
    manifest = report.version.manifest
    config = manifest["config"]
    return facts_table(
        {
            "dataset version": str(report.version),
            "previous version": manifest["parent"] or "none",
            "problems": config["problems"]["path"],
            "actor": _engine(config["actor"]),
            "critic": _engine(config["critic"]),
            "run": manifest["run_id"],
            "configuration": manifest["config_hash"],
            "code": ", ".join(manifest["code_versions"]),
            "files": shown(report.version.path),
        }
    )


def _engine(engine: dict[str, Any]) -> str:
    addresses = ", ".join(engine["base_urls"])
    return f"{engine['model']} at {addresses}" if addresses else str(engine["model"])


def _link(trajectory_id: str) -> Link | str:
    page = page_of(trajectory_id)
    return Link(trajectory_id, page) if page else trajectory_id


def _to_read(figure: Figure) -> str:
    commands = [f"tirgen traj show {row['trajectory_id']} {_store(figure)}" for row in figure.rows]
    return "Read them:\n\n" + fenced("\n".join(commands) or "# none", "sh")


def _store(figure: Figure) -> str:
    return f"--store {shlex.quote(shown(figure.store))}"
