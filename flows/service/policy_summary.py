"""The artifacts of a published policy (source, loss, every step, rounds) and of the whole loop."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from flows.service.dataset_summary import captioned, facts_table, report_link, section
from flows.service.figures import Figure, Figures
from flows.service.lineage import artifact_key, show_lineage
from flows.service.markdown import fenced, inert, table
from flows.terminal.plots import Plot, lines_plot, marks_plot
from flows.training.figures import (
    all_rounds,
    rollouts_sql,
    rounds_plot,
    stage_panels,
    steps_panels,
)
from flows.training.improve import Improvement, Stage
from storage.datasets import Store
from storage.literals import literal
from storage.places import shown
from storage.policies import Policies, PolicyVersion
from trainer.history import HISTORY, read_history

SHOWN_STEPS = 20


async def show_policy(store: Store, published: PolicyVersion) -> None:
    """The artifacts of one policy version, and the lineage of it and of its dataset."""
    history = _history(store, published)
    steps = read_history(history)
    key = artifact_key(published.policy)
    link = report_link(str(published))
    parts = [_origin(published), *link, *_steps(steps, history), *_rounds(store, published)]
    page = "\n\n".join(parts)
    await acreate_markdown_artifact(page, key=f"{key}-policy", description=str(published))
    await acreate_table_artifact(
        [_flat(step) for step in steps],
        key=f"{key}-steps",
        description=f"Every optimiser step, in any DuckDB client\n\n{fenced(_sql(history), 'sql')}",
    )
    await show_lineage(store, published)
    await show_lineage(store, store.version(published.manifest["dataset"]))


async def show_improvement(store: Store, policy: str, made: Improvement) -> None:
    """The artifacts of the whole loop, and of every policy that it published."""
    for version in (made.fine_tuned, *(each.policy for each in made.rounds)):
        await show_policy(store, version)
    key = artifact_key(policy)
    page = "\n\n".join(_stages(store, made))
    await acreate_markdown_artifact(page, key=f"{key}-stages", description=str(made.dataset))
    for stage in made.stages:
        found = _evaluation(store, stage)
        await acreate_table_artifact(
            inert(found.rows),
            key=f"{key}-{artifact_key(stage.name)}",
            description=f"{stage.name}: {captioned(found)}",
        )


def stage_line(stage: Stage) -> str:
    """One line with the accuracy of a stage on every benchmark."""
    parts = [f"{r.benchmark} {r.accuracy.value:.1%}" for r in stage.results if r.accuracy]
    return f"{stage.name}: {', '.join(parts)}"


def _stages(store: Store, made: Improvement) -> Iterator[str]:
    yield f"# {made.rounds[-1].policy}"
    yield "\n".join(f"- {stage_line(stage)}" for stage in made.stages)
    yield _image("by stage", marks_plot(stage_panels(made.stages)))
    for stage in made.stages:
        yield f"# {stage.name}\n\n{section(_evaluation(store, stage))}"


def _evaluation(store: Store, stage: Stage) -> Figure:
    return Figures(store, stage.samples).evaluation


def _origin(published: PolicyVersion) -> str:
    manifest = published.manifest
    facts = {
        "policy version": str(published),
        "made by": manifest["kind"],
        "parent": manifest["parent"],
        "dataset version": manifest["dataset"],
        "configuration": manifest["config_hash"],
        "files": shown(published.path),
    }
    return f"# {published}\n\n{facts_table(facts)}"


def _steps(steps: Sequence[dict[str, Any]], history: Path) -> Iterator[str]:
    if panels := steps_panels(steps):
        yield f"## Curves\n\n{_image('by step', lines_plot('optimiser step', panels))}"
    yield f"## Last steps\n\n{table([_flat(step) for step in steps[-SHOWN_STEPS:]])}"
    yield f"In any DuckDB client:\n\n{fenced(_sql(history), 'sql')}"


def _rounds(store: Store, published: PolicyVersion) -> Iterator[str]:
    """The rollouts of the rounds of RL that led to the policy; nothing for a fine-tuned one."""
    if rounds := all_rounds(store, published):
        plot = rounds_plot(store, published)
        drawn = f"\n\n{_image('the rounds', plot)}" if plot else ""
        yield f"## Rounds\n\n{table(rounds)}{drawn}"
        dataset, _, version = published.manifest["dataset"].partition("@")
        sql = rollouts_sql(dataset, version)
        yield fenced(Figure("Rollouts", sql, rounds, store.root).command, "sh")


def _image(title: str, plot: Plot) -> str:
    return f"![{title}]({plot.data_uri()})"


def _history(store: Store, published: PolicyVersion) -> Path:
    config_hash = published.manifest["config_hash"]
    return Policies(store.root).work(published.policy, config_hash) / HISTORY


def _sql(history: Path) -> str:
    return f"SELECT * FROM read_json({literal(str(history))}, format = 'newline_delimited')"


def _flat(step: dict[str, Any]) -> dict[str, Any]:
    """One step as a row of a table; figures by level become JSON text."""
    return {n: json.dumps(v) if isinstance(v, dict) else v for n, v in step.items()}
