"""The flow that runs crashed runs again: from the store they go on where they were."""

from __future__ import annotations

from uuid import UUID

from prefect import flow, get_client, get_run_logger
from prefect.client.schemas.objects import StateType
from prefect.states import AwaitingRetry

MOST_STARTS = 5
"""A run that crashed so often will crash again, and a person should look."""


@flow(name="resume", flow_run_name="resume {flow_run_id}")
async def resume(flow_run_id: UUID) -> None:
    """Schedule a crashed run again, with its own parameters, unless it crashed too often.

    Args:
        flow_run_id: The run that crashed.
    """
    logger = get_run_logger()
    async with get_client() as client:
        run = await client.read_flow_run(flow_run_id)
        if run.state_type is not StateType.CRASHED:
            logger.info("%s is %s: nothing to resume", run.name, run.state_name)
        elif run.run_count >= MOST_STARTS:
            logger.error(
                "%s started %d times and crashed each time; read its log, then Retry it in the UI",
                run.name,
                run.run_count,
            )
        else:
            await client.set_flow_run_state(flow_run_id, AwaitingRetry())
            logger.info("%s runs again, from what it committed", run.name)
