"""The flow that evaluates a policy: benchmarks in, accuracies with their intervals out."""

from __future__ import annotations

from typing import Any

from prefect import State, flow
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.concurrency.asyncio import concurrency
from prefect.states import Completed

from flows.service.hints import hinted
from flows.service.limits import ENGINE
from flows.service.live import live_progress
from flows.service.markdown import fenced, table
from flows.service.place import worker_store
from flows.training.names import find_model
from flows.training.serving import serving
from tirgen.evaluation.config import EvaluationConfig
from tirgen.evaluation.evaluate import EvaluationReport
from tirgen.evaluation.evaluate import evaluate as run_evaluation

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
        async with concurrency(ENGINE, occupy=1), live_progress() as live:
            report = await run_evaluation(resolved, store, live.update)
        await _show(report, policy)
    return Completed(message=f"{report.version}: mean accuracy {report.mean_accuracy:.1%}")


async def _show(report: EvaluationReport, policy: str) -> None:
    rows = [_row(result.model_dump(mode="json")) for result in report.results]
    command = f"tirgen dataset show {report.version}"
    page = f"# {policy or 'Policy'}: {report.mean_accuracy:.1%}\n\n{table(rows)}"
    await acreate_markdown_artifact(
        f"{page}\n\n{fenced(command, 'sh')}", key="evaluation", description=str(report.version)
    )
    await acreate_table_artifact(rows, key="evaluation-results", description=str(report.version))


def _row(result: dict[str, Any]) -> dict[str, Any]:
    """One benchmark in a line; an estimate becomes its value and its interval."""
    return {name: _flat(value) for name, value in result.items()}


def _flat(value: Any) -> Any:
    if isinstance(value, dict) and "value" in value:
        return ", ".join(f"{name} {part:.4g}" for name, part in value.items() if part is not None)
    return str(value) if isinstance(value, dict | list) else value
