"""Writes pools, limits, deployments and automations to the server; safe to repeat.

``python -m flows.service.apply`` does it for the server that PREFECT_API_URL names, from any
machine that can reach it; `tirgen up` does it for the server that it started.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import yaml
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from flows.service.automations import apply_automations
from flows.service.home import CLIENT_AUTH
from flows.service.ports import ServiceFailed
from flows.service.running import LIMITS
from tirgen.settings import ConfigError

DEPLOYMENTS = Path(__file__).with_name("prefect.yaml")
POOLS = {
    "cpu": "Generation, curation, evaluation.",
    "shards": "Shards of a generation that is spread over workers, one at a time in each.",
    "gpu": "Training, one job at a time.",
}


class _Schedule(NamedTuple):
    """Identifies a schedule when its deployment is applied again."""

    deployment: UUID
    slug: str | None


async def apply(settings: Mapping[str, str]) -> list[str]:
    """Bring the server up to date; returns the deployments by name.

    `settings` are Prefect's environment variables for the child processes. Raises `ServiceFailed`
    with the output of Prefect if it refuses a deployment.
    """
    async with get_client() as client:
        for name, description in POOLS.items():
            await _create_pool(client, name, description)
        for limit, slots in LIMITS.items():
            await client.upsert_global_concurrency_limit_by_name(limit, slots)
        switched = await _switched(client)
        _deploy(settings)
        await _close_schemas(client)
        await _restore(client, switched)
        deployments = {found.name: found.id for found in await client.read_deployments()}
    await apply_automations(deployments)
    return sorted(deployments)


async def _create_pool(client: PrefectClient, name: str, description: str) -> None:
    pool = WorkPoolCreate(
        name=name,
        type=ProcessWorker.type,
        description=description,
        base_job_template=ProcessWorker.get_default_base_job_template(),
    )
    try:
        await client.create_work_pool(pool)
    except ObjectAlreadyExists:
        return


def _deploy(settings: Mapping[str, str]) -> None:
    names = [option for name in _deployable() for option in ("--name", name)]
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", *names,
         "--prefect-file", str(DEPLOYMENTS)],
        env={**os.environ, **settings},
        cwd="/",  # no file there can be imported instead of a module
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise ServiceFailed(
            f"Prefect refused {DEPLOYMENTS}: {done.stdout}{done.stderr}",
            "correct the file and run tirgen up again",
        )


async def _close_schemas(client: PrefectClient) -> None:
    """Make the server refuse unknown parameters; by default it only fails the run."""
    for deployment in await client.read_deployments():
        if deployment.name in _deployable():
            schema = {**(deployment.parameter_openapi_schema or {}), "additionalProperties": False}
            change = DeploymentUpdate(
                parameter_openapi_schema=schema, enforce_parameter_schema=True
            )
            await client.update_deployment(deployment.id, change)


def _deployable() -> list[str]:
    """The names of the deployments, without those of training if torch is not installed."""
    found = yaml.safe_load(DEPLOYMENTS.read_text())["deployments"]
    trains = importlib.util.find_spec("torch") is not None
    return [one["name"] for one in found if trains or one["work_pool"]["name"] != "gpu"]


async def _switched(client: PrefectClient) -> dict[_Schedule, bool]:
    """Which schedules are on: a switch in the UI must survive a new `tirgen up`."""
    return {
        _Schedule(deployment.id, schedule.slug): schedule.active
        for deployment in await client.read_deployments()
        for schedule in deployment.schedules
    }


async def _restore(client: PrefectClient, switched: dict[_Schedule, bool]) -> None:
    for deployment in await client.read_deployments():
        for schedule in deployment.schedules:
            active = switched.get(_Schedule(deployment.id, schedule.slug), schedule.active)
            if active != schedule.active:
                await client.update_deployment_schedule(deployment.id, schedule.id, active=active)


def main() -> None:
    """Raises `ConfigError` without an address, since Prefect would start its own server then."""
    if not os.environ.get("PREFECT_API_URL"):
        raise ConfigError(
            "PREFECT_API_URL is not set: export the server's, e.g. http://127.0.0.1:4200/api, and "
            f"its secret as {CLIENT_AUTH}"
        )
    print("\n".join(asyncio.run(apply({}))))


if __name__ == "__main__":
    main()
