"""The flows that publish dataset versions: generation, curation and evaluation.

A task of a generation is a shard of problems, not one problem: a task run costs the server 50
CPU-milliseconds and 20 KB. Within a shard, and across shards, `tirgen.jobs.generate` keeps the
engine busy. A run that dies is run again with the same parameters and continues from the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from prefect import State, Task, flow, task
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from flows.service.dataset_summary import (
    captioned,
    generation_page,
    linked,
    report_link,
    section,
)
from flows.service.events import DRIFTING, DriftLimits, Health, announce, examine
from flows.service.figures import Figures
from flows.service.forms import filled_in, form_of
from flows.service.home import worker_store
from flows.service.lineage import artifact_key, show_lineage
from flows.service.markdown import fenced, inert, table
from flows.service.running import ENGINE, hinted, live_progress, slot
from flows.service.spread import Patience, Spread, Spreading, place_of, waits
from flows.training.models import find_model, serving
from storage.records import Problem
from tirgen.engine.engine_config import engine_settings
from tirgen.engine.errors import EngineUnavailable
from tirgen.jobs.curate import CurateConfig, curate_version
from tirgen.jobs.evaluate import EvaluationReport, SpreadEvaluation
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.generate import Generation, GenerationReport, SpreadGeneration, generation
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.workers import task_group
from tirgen.settings import load_settings

SHARD_PROBLEMS = 200
SHARDS_AT_ONCE = 2
"""While one shard finishes, the next one keeps the engine busy."""

if TYPE_CHECKING:
    GenerateForm: TypeAlias = Any
    CurateForm: TypeAlias = Any
    EvaluationForm: TypeAlias = Any
else:
    GenerateForm, CurateForm = form_of(GenerateConfig), form_of(CurateConfig)
    EvaluationForm = form_of(EvaluationConfig)

EMBEDDED = "embedded"
Name = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$")]
Limit = Annotated[int, Field(ge=0)]
ShardSize = Annotated[int, Field(ge=50, le=500)]
Samples = Annotated[int, Field(ge=0, le=1024)]


def _generate_name() -> str:
    """The name of the run, from the dataset wherever it was filled in."""
    given = flow_run.get_parameters()
    folded = filled_in(given.get("config")).get("dataset")
    return f"generate {given.get('dataset') or folded or GenerateConfig().dataset}"


@flow(name="generate", flow_run_name=_generate_name)
async def generate(
    dataset: Name = "",
    problems: str = "",
    limit: Limit = 0,
    actor: str = EMBEDDED,
    actor_model: str = "",
    critic: str = EMBEDDED,
    critic_model: str = "",
    config: GenerateForm | None = None,
    alarm: DriftLimits | None = None,
    shard_problems: ShardSize = SHARD_PROBLEMS,
    patience_minutes: Patience = 4,
    fresh_seed: bool = False,
    spread: Spread = 0,
) -> State[Any]:
    """Problems in, a verified and filtered dataset version out; a repeated run continues.

    Args:
        dataset: Name of the dataset; each finished run publishes its next version. Empty: tir.
        problems: A file or folder of problems on the worker's machine. Empty: pocket:test.
        limit: Only this many problems, the first ones; 0 for all.
        actor: The model that reasons: embedded, or the address of a server such as vLLM.
        actor_model: The name that the server lists, or for embedded a model's folder. Empty: the
            pocket.
        critic: The model that writes programs, as for the actor.
        critic_model: As for the actor.
        config: All other settings, by the names of `tirgen generate --set`; what is filled in
            above wins.
        alarm: When the version is announced as drifting instead of fit to train from.
        shard_problems: Problems in one task of this run; a failed task is tried again as a whole.
        patience_minutes: How long to wait for an engine, sandbox or disk that fails.
        fresh_seed: Add the day of the schedule to the seed, so that each night makes new rows.
        spread: Shards to work on at once as runs of their own, on any worker of the pool `shards`;
            with 0 this run works on all of them itself.
    """
    above = {
        "dataset": dataset,
        "problems.path": problems,
        "problems.limit": limit,
        **engine_settings("actor", [actor] if actor else None, actor_model),
        **engine_settings("critic", [critic] if critic else None, critic_model),
    }
    with hinted():
        store = worker_store()
        chosen = filled_in(config) | {name: value for name, value in above.items() if value}
        resolved = load_settings(GenerateConfig, None, chosen)
        resolved = _of_the_day(resolved) if fresh_seed else resolved
        delays = waits(patience_minutes)
        async with slot(ENGINE), live_progress() as live:
            if spread:
                place = Spreading(shard_problems, spread, delays)
                report = await place(SpreadGeneration(resolved, store), live.update)
            else:
                async with generation(resolved, store, live.update) as opened:
                    await _settle_all(opened, shard_problems, delays)
                    report = opened.publish()
        health = examine(report.version, alarm or DriftLimits())
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
    verify_again: bool = False,
    config: CurateForm | None = None,
    alarm: DriftLimits | None = None,
) -> State[Any]:
    """Filter a dataset version with other settings, and publish the result as the next version.

    No inference.

    Args:
        dataset: A dataset version as NAME@v3, or the latest of a NAME.
        verify_again: First judge every answer again with the current verifier.
        config: The filters; they replace those of the version.
        alarm: When the version is announced as drifting instead of fit to train from.
    """
    with hinted():
        store = worker_store()
        source = store.version(dataset)
        settings = load_settings(CurateConfig, None, filled_in(config))
        curation = await curate_version(store, source, settings, again=verify_again)
        version = curation.version
        assert version is not None
        health = examine(version, alarm or DriftLimits())
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
    problems: str = "",
    limit: Limit = 0,
    samples: Samples = 0,
    patience_minutes: Patience = 4,
    spread: Spread = 0,
    config: EvaluationForm | None = None,
) -> State[Any]:
    """Sample a policy on benchmarks, judge every answer, and compute the figures.

    Args:
        policy: A policy version as NAME@v3, which the engine then loads; if empty, as configured.
        problems: A benchmark: a file or folder of problems on the worker's machine. Empty: those
            of `config`, else pocket:test.
        limit: Only this many of these problems, the first ones; 0 for all.
        samples: Samples of each problem; 0 for those of `config`, else 4.
        patience_minutes: With `spread`: how long to wait for an engine, sandbox or disk that fails.
        spread: Shards to work on at once as runs of their own, on any worker of the pool `shards`;
            with 0 this run works on all of them itself.
        config: All other settings, by the names of `tirgen eval --set`.
    """
    with hinted():
        store = worker_store()
        settings = filled_in(config)
        if samples:
            settings["samples"] = samples
        if problems:
            settings["benchmarks"] = [{"path": problems, "limit": limit or None}]
        resolved = load_settings(EvaluationConfig, None, settings)
        if policy:
            resolved = await serving(resolved, find_model(store, policy))
        async with slot(ENGINE), live_progress() as live:
            place = place_of(spread, patience_minutes)
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
    for name, figure in {"worst": figures.worst, "interesting": figures.interesting}.items():
        await acreate_table_artifact(
            inert(linked(figure.rows)), key=f"{key}-{name}", description=captioned(figure)
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
        description=captioned(found),
    )
