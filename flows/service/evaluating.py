"""The flow that evaluates a policy: benchmarks in, accuracies with their intervals out."""

from __future__ import annotations

from typing import Any

from prefect import State, flow
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.states import Completed

from flows.service.figures import Figures
from flows.service.hints import hinted
from flows.service.limits import ENGINE, slot
from flows.service.lineage import show_lineage
from flows.service.live import live_progress
from flows.service.markdown import inert
from flows.service.place import worker_store
from flows.service.summary import section
from flows.training.names import find_model
from flows.training.serving import serving
from tirgen.jobs.evaluate import EvaluationReport
from tirgen.jobs.evaluate import evaluate as run_evaluation
from tirgen.jobs.evaluate_config import EvaluationConfig

CONFIG = EvaluationConfig()
"""What the run form begins with."""


@flow(name="evaluate", flow_run_name="evaluate {policy}")
async def evaluate(policy: str = "", config: EvaluationConfig = CONFIG) -> State[Any]:
    """Sample a policy on benchmarks, judge every answer, and sum up.

    Args:
        policy: A policy version as NAME@v3, which the engine then loads; empty: as configured.
        config: Which policy, on which benchmarks, with how many samples.
    """
    with hinted():
        store = worker_store()
        resolved = await serving(config, find_model(store, policy)) if policy else config
        async with slot(ENGINE), live_progress() as live:
            report = await run_evaluation(resolved, store, live.update)
        await _show(report, Figures(store, report.version), policy)
        await show_lineage(store, report.version)
    return Completed(message=f"{report.version}: mean accuracy {report.mean_accuracy:.1%}")


async def _show(report: EvaluationReport, figures: Figures, policy: str) -> None:
    found = figures.evaluation
    parts = [
        f"# {policy or 'Policy'}: {report.mean_accuracy:.1%}",
        *map(section, (found, figures.worst, figures.interesting)),
    ]
    page = "\n\n".join(parts)
    await acreate_markdown_artifact(page, key="evaluation", description=str(report.version))
    await acreate_table_artifact(
        inert(found.rows),
        key="evaluation-results",
        description=f"{report.version}: `{found.command}`",
    )
