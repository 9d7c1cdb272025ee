"""Spreads the shards of a generation over the workers of a pool, each as a run of its own.

Prefect places the runs and notices dead ones; the store's lease makes sure that one process works
on a shard. A shard whose run ended before its rows were made gets another run, on any worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any
from uuid import UUID

from prefect import State, flow, get_client, get_run_logger
from prefect.client.schemas.objects import StateType
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelling, Completed

from flows.service.home import worker_store
from flows.service.running import hinted, live_progress
from storage.datasets import Store
from tirgen.engine.errors import EngineUnavailable
from tirgen.jobs.generate import generation
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.progress import GenerationProgress, Watch
from tirgen.jobs.shards import Shard
from tirgen.jobs.spreading import POLL_SECONDS, Spread
from tirgen.jobs.workers import for_each

DEPLOYMENT = "shard/shard"
MOST_CRASHES = 5
"""Crashed runs of one shard after which it is given up."""


@flow(name="shard", flow_run_name="{config.dataset} shard {number} of {of}")
async def shard(config: GenerateConfig, number: int, of: int) -> State[Any]:
    """Make the rows of one shard of a generation; the run that asked for it publishes.

    Args:
        config: The generation.
        number: Which shard, from 1.
        of: How many shards the problems are divided into.
    """
    with hinted():
        store = worker_store()
        async with (
            live_progress() as live,
            generation(config, store, live.update, Shard(number, of)) as opened,
        ):
            await opened.settle(opened.todo)
        made = opened.progress.trajectories
    return Completed(message=f"{made} rows made")


async def spread_out(
    config: GenerateConfig,
    store: Store,
    shard_problems: int,
    at_once: int,
    waits: Sequence[float],
    watch: Watch[GenerationProgress],
) -> None:
    """Have every unsettled shard worked on, at most `at_once` at the same time.

    `waits`: seconds before another run of a shard whose engine, sandbox or disk failed. Raises
    `EngineUnavailable` when they are used up, and when a shard's runs die too often.
    """
    spread = Spread.divided(config, store, shard_problems)
    async with spread.shown(watch):
        await for_each(spread.shards, lambda one: _settled(config, one, waits), at_once)


async def _settled(config: GenerateConfig, shard: Shard, waits: Sequence[float]) -> None:
    """Ask for runs of a shard until one completes."""
    left, crashes = iter(waits), 0
    for attempt in count():
        state = await _run(config, shard, attempt)
        if state.is_completed():
            return
        get_run_logger().warning("shard %s ended as %s: %s", shard.name, state.name, state.message)
        if state.type is StateType.CRASHED and (crashes := crashes + 1) < MOST_CRASHES:
            continue
        wait = next(left, None)
        if wait is None or state.is_cancelled():
            raise EngineUnavailable(
                f"shard {shard.name} ended as {state.name} in {attempt + 1} runs: {state.message}; "
                "read their logs, then run the generation again: it makes what is missing"
            )
        await asyncio.sleep(wait)


async def _run(config: GenerateConfig, shard: Shard, attempt: int) -> State[Any]:
    """One run of a shard, to its end; cancelled with the run that asked for it.

    The run that asks finds its runs again when it was resumed after a crash.
    """
    started = await arun_deployment(
        DEPLOYMENT,
        parameters={
            "config": config.model_dump(mode="json"), "number": shard.number, "of": shard.of,
        },
        timeout=0,
        as_subflow=True,
        idempotency_key=f"{flow_run.get_id()}/{shard.name}/{attempt}",
    )  # fmt: skip
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
