"""Spreads the shards of a job over the workers of a pool, each as a run of its own.

Prefect places the runs and notices dead ones; the store's lease makes sure that one process works
on a shard. A shard whose run ended before its rows were made gets another run, on any worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from prefect import State, flow, get_client, get_run_logger
from prefect.client.schemas.objects import StateType
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelling, Completed
from pydantic import Field

from flows.service.home import worker_store
from flows.service.running import hinted, live_progress
from storage.records import Level
from tirgen.engine.errors import EngineUnavailable
from tirgen.jobs.evaluate import SpreadEvaluation
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.generate import SpreadGeneration
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.progress import P, Watch
from tirgen.jobs.rollout import SpreadRollouts
from tirgen.jobs.rollout_config import RolloutConfig
from tirgen.jobs.shards import Shard
from tirgen.jobs.spreading import POLL_SECONDS, Place, R, SpreadableJob, Wave, here, spread
from tirgen.jobs.workers import for_each
from tirgen.settings import JobSettings

DEPLOYMENT = "shard/shard"
JOBS: dict[type[JobSettings], type[SpreadableJob[Any, Any]]] = {
    job.kind: job for job in (SpreadGeneration, SpreadEvaluation, SpreadRollouts)
}
"""By the type of their configuration."""
Spread = Annotated[int, Field(ge=0, le=256)]
Patience = Annotated[float, Field(ge=0, le=180)]
FIRST_WAIT, LONGEST_WAIT = 15.0, 300.0
"""Seconds between two tries of a shard: the first wait is doubled up to the longest."""
MOST_CRASHES = 5
"""Crashed runs of one shard after which it is given up."""


@flow(name="shard", flow_run_name="{config.dataset} shard {number} of {of}")
async def shard(
    config: GenerateConfig | EvaluationConfig | RolloutConfig,
    number: int,
    of: int,
    level: Level = Level.TRAJECTORY,
    drawn: int | None = None,
) -> State[Any]:
    """Make the rows of one shard of a job; the run that asked for it publishes.

    Args:
        config: The job: a generation, an evaluation, or a round of rollouts.
        number: Which shard, from 1.
        of: How many shards the problems are divided into.
        level: What is made of a round: whole rollouts, or branches of failed steps.
        drawn: How many problems or failed steps are asked, of a round with a quota.
    """
    with hinted():
        job = JOBS[type(config)](config, worker_store())
        async with live_progress() as live:
            progress = await job.settle(Shard(number, of), live.update, Wave(level, drawn))
    return Completed(message=f"{progress.trajectories} rows made")


def waits(minutes: float) -> list[float]:
    """Seconds between tries: they double at first and add up to the given minutes."""
    found: list[float] = []
    while (left := 60 * minutes - sum(found)) > 0:
        found.append(min(FIRST_WAIT * 2 ** len(found), LONGEST_WAIT, left))
    return found


class Spreading:
    """The pool `shards` as the place of jobs."""

    def __init__(self, shard_problems: int | None, at_once: int, waits: Sequence[float]) -> None:
        """At most `at_once` shards are worked on at the same time.

        `waits`: seconds before another run of a shard whose engine, sandbox or disk failed.
        """
        self._shard_problems = shard_problems
        self._at_once = at_once
        self._waits = waits

    async def __call__(self, job: SpreadableJob[P, R], watch: Watch[P]) -> R:
        """Raises `EngineUnavailable` when the waits are used up, and when runs die too often."""

        async def make(wave: Wave, shards: Sequence[Shard]) -> None:
            work = (_Work(job, one, wave) for one in shards)
            await for_each(work, lambda one: _settled(one, self._waits), self._at_once)

        return await spread(job, watch, make, self._shard_problems)


def place_of(spread: int, patience_minutes: float) -> Place:
    """Where a flow's job is worked on: the pool, on `spread` shards at once; with 0 this run."""
    return Spreading(None, spread, waits(patience_minutes)) if spread else here


class _Work(NamedTuple):
    """One shard of a wave."""

    job: SpreadableJob[Any, Any]
    shard: Shard
    wave: Wave

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "config": self.job.config.model_dump(mode="json"),
            **asdict(self.shard),
            "level": self.wave.level.value,
            "drawn": self.wave.drawn,
        }

    @property
    def name(self) -> str:
        """Unique in a run that spreads several jobs."""
        return f"{self.job.config.fingerprint()}/{self.wave.name}/{self.shard.name}"


async def _settled(work: _Work, waits: Sequence[float]) -> None:
    """Ask for runs of a shard until one completes."""
    left, crashes, name = iter(waits), 0, work.shard.name
    for attempt in count():
        state = await _run(work, attempt)
        if state.is_completed():
            return
        get_run_logger().warning("shard %s ended as %s: %s", name, state.name, state.message)
        if state.type is StateType.CRASHED and (crashes := crashes + 1) < MOST_CRASHES:
            continue
        wait = next(left, None)
        if wait is None or state.is_cancelled():
            raise EngineUnavailable(
                f"shard {name} ended as {state.name} in {attempt + 1} runs: {state.message}; "
                "read their logs, then run this again: it makes what is missing"
            )
        await asyncio.sleep(wait)


async def _run(work: _Work, attempt: int) -> State[Any]:
    """One run of a shard, to its end; cancelled with the run that asked for it.

    The run that asks finds its runs again when it was resumed after a crash.
    """
    started = await arun_deployment(
        DEPLOYMENT,
        parameters=work.parameters,
        timeout=0,
        as_subflow=True,
        idempotency_key=f"{flow_run.get_id()}/{work.name}/{attempt}",
    )
    try:
        return await _ended(started.id)
    except asyncio.CancelledError:
        async with get_client() as client:
            with suppress(ObjectNotFound):
                await client.set_flow_run_state(started.id, Cancelling())
        raise


async def _ended(run_id: UUID) -> State[Any]:
    async with get_client() as client:
        while True:
            run = await client.read_flow_run(run_id)
            if run.state is not None and run.state.is_final():
                return run.state
            await asyncio.sleep(POLL_SECONDS)
