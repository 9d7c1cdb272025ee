"""The flow that makes a dataset version: shards of problems as tasks around one generation.

A task is a shard, not a problem: a task run costs the server 50 CPU-milliseconds and 20 KB.
Within a shard, and across shards, `tirgen.jobs.generate` keeps the engine full. A run that dies is
run again with the same parameters and goes on from the store.
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

from flows.service.events import DRIFTING, announce
from flows.service.figures import Figures
from flows.service.health import Alarm, Health, examine
from flows.service.hints import hinted
from flows.service.limits import ENGINE, slot
from flows.service.lineage import artifact_key, show_lineage
from flows.service.live import live_progress
from flows.service.markdown import inert
from flows.service.place import worker_store
from flows.service.summary import linked, summary
from storage.records import Problem
from tirgen.engine.errors import EngineUnavailable
from tirgen.jobs.generate import Generation, GenerationReport, generation
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.workers import task_group

SHARDS_AT_ONCE = 2
"""One that is finishing and one that fills the engine meanwhile."""

CONFIG, ALARM = GenerateConfig(), Alarm()
"""What the run form begins with."""

ShardSize = Annotated[int, Field(ge=50, le=500)]
Patience = Annotated[float, Field(ge=0, le=180)]
FIRST_WAIT, LONGEST_WAIT = 15.0, 300.0
"""Seconds between two tries of a shard: the first, and what doubling it leads to."""


@flow(name="generate", flow_run_name="generate {config.dataset}")
async def generate(
    config: GenerateConfig = CONFIG,
    alarm: Alarm = ALARM,
    shard_problems: ShardSize = 200,
    patience_minutes: Patience = 4,
    fresh_seed: bool = False,
) -> State[Any]:
    """Problems in, a verified and filtered dataset version out; run again, it goes on.

    Args:
        config: What to generate, with which models, under which bounds.
        alarm: When the version is announced as drifting instead of fit to train from.
        shard_problems: Problems in one task of this run; lost work is made again by shards.
        patience_minutes: How long to wait for an engine, sandbox or disk that fails on the way.
        fresh_seed: Add the day of the schedule to the seed, so that each night makes new rows.
    """
    with hinted():
        store = worker_store()
        resolved = _of_the_day(config) if fresh_seed else config
        async with (
            slot(ENGINE),
            live_progress() as live,
            generation(resolved, store, live.update) as opened,
        ):
            await _settle_all(opened, shard_problems, waits(patience_minutes))
            report = opened.publish()
        health = examine(report.version, alarm)
        await _show(report, Figures(store, report.version, resolved.budget.prices), health)
        await show_lineage(store, report.version)
        event = announce(report.version, health)
    name = "Drifting" if event == DRIFTING else "Completed"
    return Completed(name=name, message=f"{report.version}: {health.sentence}")


class Shard:
    """Some problems of a generation; a plain object, which Prefect does not search for futures."""

    def __init__(self, generation: Generation, problems: Sequence[Problem], first: int) -> None:
        self._generation = generation
        self._problems = problems
        self._first = first

    def __str__(self) -> str:
        return f"problems {self._first + 1} to {self._first + len(self._problems)}"

    async def settle(self) -> None:
        await self._generation.settle(self._problems)


async def _mendable(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """An engine that is down and a disk that is full may be well again in a minute."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, EngineUnavailable | OSError)


@task(
    name="shard",
    task_run_name="{shard}",
    retry_condition_fn=_mendable,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def settle_shard(shard: Shard) -> None:
    """Make what the shard's problems still lack; a retry makes only what the last try did not."""
    await shard.settle()


def waits(minutes: float) -> list[float]:
    """Seconds between tries, which double at first and add up to so many minutes."""
    found: list[float] = []
    while (left := 60 * minutes - sum(found)) > 0:
        found.append(min(FIRST_WAIT * 2 ** len(found), LONGEST_WAIT, left))
    return found


async def _settle_all(opened: Generation, size: int, delays: list[float]) -> None:
    slots = asyncio.Semaphore(SHARDS_AT_ONCE)
    patient = settle_shard.with_options(retries=len(delays), retry_delay_seconds=delays)

    async def settle(shard: Shard) -> None:
        async with slots:
            await patient(shard)

    async with task_group() as group:
        for shard in _shards(opened, size):
            group.create_task(settle(shard))


def _shards(opened: Generation, size: int) -> Iterator[Shard]:
    for first in range(0, len(opened.todo), size):
        yield Shard(opened, opened.todo[first : first + size], first)


def _of_the_day(config: GenerateConfig) -> GenerateConfig:
    """The same on every try of a run, since it is the day for which the run was scheduled."""
    day = flow_run.get_scheduled_start_time().toordinal()
    return config.model_copy(update={"seed": (config.seed + day) % 2**31})


async def _show(report: GenerationReport, figures: Figures, health: Health) -> None:
    """The artifacts of a finished run; keyed, so that the page of each shows its history."""
    key = artifact_key(report.version.dataset)
    await acreate_markdown_artifact(
        summary(report, figures, health), key=f"{key}-summary", description=health.sentence
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
