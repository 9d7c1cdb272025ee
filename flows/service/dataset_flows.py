"""The flows that publish dataset versions: generation, curation and evaluation.

A task of a generation is a shard of problems, not one problem: a task run costs the server 50
CPU-milliseconds and 20 KB. Within a shard, and across shards, `tirgen.jobs.generate` keeps the
engine busy. A run that dies is run again with the same parameters and continues from the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from prefect import State, Task, flow, task
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from flows.service.dataset_summary import generation_page, linked, report_link, section
from flows.service.events import DRIFTING, DriftLimits, Health, announce, examine
from flows.service.figures import Figures
from flows.service.home import worker_store
from flows.service.lineage import artifact_key, show_lineage
from flows.service.markdown import fenced, inert, table
from flows.service.running import ENGINE, hinted, live_progress, slot
from flows.service.spread import Patience, Spread, Spreading, waits
from flows.training.models import find_model, serving
from storage.records import Problem
from tirgen.engine.errors import EngineUnavailable
from tirgen.jobs.curate import CurateConfig, curate_version
from tirgen.jobs.evaluate import EvaluationReport, SpreadEvaluation
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.generate import Generation, GenerationReport, SpreadGeneration, generation
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.spreading import here
from tirgen.jobs.workers import task_group

SHARD_PROBLEMS = 200
SHARDS_AT_ONCE = 2
"""While one shard finishes, the next one keeps the engine busy."""

GENERATE, CURATE, EVALUATE, ALARM = (
    GenerateConfig(),
    CurateConfig(),
    EvaluationConfig(),
    DriftLimits(),
)
"""Defaults of the run forms."""

ShardSize = Annotated[int, Field(ge=50, le=500)]


@flow(name="generate", flow_run_name="generate {config.dataset}")
async def generate(
    config: GenerateConfig = GENERATE,
    alarm: DriftLimits = ALARM,
    shard_problems: ShardSize = SHARD_PROBLEMS,
    patience_minutes: Patience = 4,
    fresh_seed: bool = False,
    spread: Spread = 0,
) -> State[Any]:
    """Problems in, a verified and filtered dataset version out; a repeated run continues.

    Args:
        config: What to generate, with which models and limits.
        alarm: When the version is announced as drifting instead of fit to train from.
        shard_problems: Problems in one task of this run; a failed task is tried again as a whole.
        patience_minutes: How long to wait for an engine, sandbox or disk that fails.
        fresh_seed: Add the day of the schedule to the seed, so that each night makes new rows.
        spread: Shards to work on at once as runs of their own, on any worker of the pool `shards`;
            with 0 this run works on all of them itself.
    """
    with hinted():
        store = worker_store()
        resolved = _of_the_day(config) if fresh_seed else config
        delays = waits(patience_minutes)
        async with slot(ENGINE), live_progress() as live:
            if spread:
                place = Spreading(shard_problems, spread, delays)
                report = await place(SpreadGeneration(resolved, store), live.update)
            else:
                async with generation(resolved, store, live.update) as opened:
                    await _settle_all(opened, shard_problems, delays)
                    report = opened.publish()
        health = examine(report.version, alarm)
        await _show_generation(
            report, Figures(store, report.version, resolved.budget.prices), health
        )
        await show_lineage(store, report.version)
        event = announce(report.version, health)
    name = "Drifting" if event == DRIFTING else "Completed"
    return Completed(name=name, message=f"{report.version}: {health.sentence}")


@flow(name="curate", flow_run_name="curate {dataset}")
async def curate(
    dataset: str,
    config: CurateConfig = CURATE,
    verify_again: bool = False,
    alarm: DriftLimits = ALARM,
) -> State[Any]:
    """Filter a dataset version with other settings, and publish the result as the next version.

    No inference.

    Args:
        dataset: A dataset version as NAME@v3, or the latest of a NAME.
        config: The filters; they replace those of the version.
        verify_again: First judge every answer again with the current verifier.
        alarm: When the version is announced as drifting instead of fit to train from.
    """
    with hinted():
        store = worker_store()
        source = store.version(dataset)
        curation = await curate_version(store, source, config, again=verify_again)
        version = curation.version
        assert version is not None
        health = examine(version, alarm)
        yields = Figures(store, version).yields
        lineage = f"Made from {source}, which kept {source.manifest['kept_rows']} rows."
        page = f"# {version}\n\n**{health.sentence}**\n\n{lineage}\n\n{table(yields.rows)}\n\n"
        await acreate_markdown_artifact(
            page + fenced(yields.command, "sh"), key="curation", description=health.sentence
        )
        await show_lineage(store, version)
        announce(version, health)
    return Completed(message=f"{version}: {health.sentence}")


@flow(name="evaluate", flow_run_name="evaluate {policy}")
async def evaluate(
    policy: str = "",
    config: EvaluationConfig = EVALUATE,
    patience_minutes: Patience = 4,
    spread: Spread = 0,
) -> State[Any]:
    """Sample a policy on benchmarks, judge every answer, and compute the figures.

    Args:
        policy: A policy version as NAME@v3, which the engine then loads; if empty, as configured.
        config: Which policy, on which benchmarks, with how many samples.
        patience_minutes: With `spread`: how long to wait for an engine, sandbox or disk that fails.
        spread: Shards to work on at once as runs of their own, on any worker of the pool `shards`;
            with 0 this run works on all of them itself.
    """
    with hinted():
        store = worker_store()
        resolved = await serving(config, find_model(store, policy)) if policy else config
        async with slot(ENGINE), live_progress() as live:
            place = Spreading(None, spread, waits(patience_minutes)) if spread else here
            report = await place(SpreadEvaluation(resolved, store), live.update)
        await _show_evaluation(report, Figures(store, report.version), policy)
        await show_lineage(store, report.version)
    return Completed(message=f"{report.version}: mean accuracy {report.mean_accuracy:.1%}")


class ProblemShard:
    """Some problems of a generation. Prefect does not search this plain object for futures."""

    def __init__(self, generation: Generation, problems: Sequence[Problem], first: int) -> None:
        self._generation = generation
        self._problems = problems
        self._first = first

    def __str__(self) -> str:
        return f"problems {self._first + 1} to {self._first + len(self._problems)}"

    async def settle(self) -> None:
        await self._generation.settle(self._problems)


async def _is_temporary(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """An engine that is down and a full disk may recover within minutes."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, EngineUnavailable | OSError)


@task(
    name="shard",
    task_run_name="{shard}",
    retry_condition_fn=_is_temporary,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def settle_shard(shard: ProblemShard) -> None:
    """Make what the shard's problems still lack; a retry makes only what is missing then."""
    await shard.settle()


async def _settle_all(opened: Generation, size: int, delays: list[float]) -> None:
    slots = asyncio.Semaphore(SHARDS_AT_ONCE)
    retried = settle_shard.with_options(retries=len(delays), retry_delay_seconds=delays)

    async def settle(shard: ProblemShard) -> None:
        async with slots:
            await retried(shard)

    async with task_group() as group:
        for shard in _shards(opened, size):
            group.create_task(settle(shard))


def _shards(opened: Generation, size: int) -> Iterator[ProblemShard]:
    for first in range(0, len(opened.todo), size):
        yield ProblemShard(opened, opened.todo[first : first + size], first)


def _of_the_day(config: GenerateConfig) -> GenerateConfig:
    """Add the day for which the run was scheduled to the seed; it is the same on every try."""
    day = flow_run.get_scheduled_start_time().toordinal()
    return config.model_copy(update={"seed": (config.seed + day) % 2**31})


async def _show_generation(report: GenerationReport, figures: Figures, health: Health) -> None:
    """The artifacts of a generation; each has a key, so that its page shows its history."""
    key = artifact_key(report.version.dataset)
    await acreate_markdown_artifact(
        generation_page(report, figures, health), key=f"{key}-summary", description=health.sentence
    )
    for name, figure in {
        "yields": figures.yields,
        "outcomes": figures.outcomes,
        "cost": figures.cost,
        "worst": figures.worst,
        "interesting": figures.interesting,
    }.items():
        rows = linked(figure.rows) if name in ("worst", "interesting") else figure.rows
        await acreate_table_artifact(
            inert(rows),
            key=f"{key}-{name}",
            description=f"{figure.title}: `{figure.command}`",
        )


async def _show_evaluation(report: EvaluationReport, figures: Figures, policy: str) -> None:
    found = figures.evaluation
    parts = [
        f"# {policy or 'Policy'}: {report.mean_accuracy:.1%}",
        *report_link(str(report.version)),
        *map(section, (found, figures.worst, figures.interesting)),
    ]
    page = "\n\n".join(parts)
    await acreate_markdown_artifact(page, key="evaluation", description=str(report.version))
    await acreate_table_artifact(
        inert(found.rows),
        key="evaluation-results",
        description=f"{report.version}: `{found.command}`",
    )
