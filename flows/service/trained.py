"""What a training run shows of a policy it published: where from, how the loss went, every step."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from flows.plots import Lines, lines_plot
from flows.service.chart import data_uri
from flows.service.figures import Figure
from flows.service.lineage import artifact_key, show_lineage
from flows.service.markdown import fenced, table
from flows.training.figures import all_rounds, rollouts_sql, rounds_panels
from storage.datasets import Store
from storage.literals import literal
from storage.policies import Policies, PolicyVersion
from trainer.history import HISTORY, read_history

SHOWN_STEPS = 20


async def show_policy(store: Store, published: PolicyVersion) -> None:
    """The artifacts of one policy version, and again the lineage of what it was trained on."""
    history = _history(store, published)
    steps = read_history(history)
    key = artifact_key(published.policy)
    parts = [*_origin(published), *_steps(steps, history), *_rounds(store, published)]
    page = "\n\n".join(parts)
    await acreate_markdown_artifact(page, key=f"{key}-policy", description=str(published))
    await acreate_table_artifact(
        [_flat(step) for step in steps],
        key=f"{key}-steps",
        description=f"Every optimiser step: `{_sql(history)}`",
    )
    await show_lineage(store, published)
    await show_lineage(store, store.version(published.manifest["dataset"]))


def _origin(published: PolicyVersion) -> Iterator[str]:
    manifest = published.manifest
    facts = {
        "policy version": str(published),
        "made by": manifest["kind"],
        "parent": manifest["parent"],
        "dataset version": manifest["dataset"],
        "configuration": manifest["config_hash"],
        "files": str(published.path),
    }
    yield f"# {published}"
    yield table([{"what": what, "which": which} for what, which in facts.items()])


def _steps(steps: Sequence[dict[str, Any]], history: Path) -> Iterator[str]:
    points = [(step["step"], step["loss"]) for step in steps]
    yield f"## Loss\n\n{_plot('step', [Lines(title='loss', lines={'': points})])}"
    yield f"## Last steps\n\n{table([_flat(step) for step in steps[-SHOWN_STEPS:]])}"
    yield f"In any DuckDB client:\n\n{fenced(_sql(history), 'sql')}"


def _rounds(store: Store, published: PolicyVersion) -> Iterator[str]:
    """What the rounds of RL sampled that led here; nothing for a fine-tuned policy."""
    if rounds := all_rounds(store, published):
        yield f"## Rounds\n\n{table(rounds)}\n\n{_plot('round', rounds_panels(rounds))}"
        dataset, _, version = published.manifest["dataset"].partition("@")
        sql = rollouts_sql(dataset, version)
        yield fenced(Figure("Rollouts", sql, rounds, store.root).command, "sh")


def _plot(over: str, panels: Sequence[Lines]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plot.svg"
        lines_plot(path, over, panels)
        return f"![by {over}]({data_uri(path.read_text())})"


def _history(store: Store, published: PolicyVersion) -> Path:
    config_hash = published.manifest["config_hash"]
    return Policies(store.root).work(published.policy, config_hash) / HISTORY


def _sql(history: Path) -> str:
    return f"SELECT * FROM read_json({literal(str(history))}, format = 'newline_delimited')"


def _flat(step: dict[str, Any]) -> dict[str, Any]:
    """One step as a row of a table, its figures by level as text."""
    return {n: json.dumps(v) if isinstance(v, dict) else v for n, v in step.items()}
