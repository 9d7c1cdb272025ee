"""The automations (what happens by itself when a run dies, drifts or publishes), and the flow that
resumes crashed runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect import flow, get_client, get_run_logger
from prefect.automations import Automation
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, ChangeFlowRunState, RunDeployment, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.states import AwaitingRetry
from prefect.types import SecretDict

from flows.service.events import DRIFTING, FINE_TUNED, PUBLISHED, REINFORCED
from flows.service.home import NOTIFY, heartbeat_seconds

MISSED_HEARTBEATS = 4
"""Heartbeats that may be missed before a run counts as dead."""
MOST_STARTS = 5
"""After this many crashes a person should look, since the run will crash again."""
BLOCK = "tirgen-notify"
RUN_ID = "{{ event.resource.id | replace('prefect.flow-run.', '') }}"

_RUNS = ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]})
_ANYTHING_NOW = {"posture": Posture.Reactive, "threshold": 1, "within": timedelta(0)}


@flow(name="resume", flow_run_name="resume {flow_run_id}")
async def resume(flow_run_id: UUID) -> None:
    """Schedule a crashed run again with its own parameters, unless it crashed too often.

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


async def apply_automations(deployments: Mapping[str, UUID]) -> None:
    """Create or replace every automation; one that a person switched off stays off."""
    wanted = [_dead_runs(), _crashed_runs(deployments["resume"]), *_chain(deployments)]
    if address := os.environ.get(NOTIFY):
        wanted += _notifications(await _save_webhook(address))
    for automation in wanted:
        await _put(automation)


def _dead_runs() -> Automation:
    """Mark a run as crashed whose process or machine is gone (Prefect#22528 does not do it).

    The trigger waits after `Running` too: a run may die before its first heartbeat.
    """
    trigger = EventTrigger(
        after={"prefect.flow-run.heartbeat", "prefect.flow-run.Running"},
        expect={"prefect.flow-run.*"},
        match=_RUNS,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=MISSED_HEARTBEATS * heartbeat_seconds()),
    )
    action = ChangeFlowRunState(
        state=StateType.CRASHED,
        name="Crashed",
        message="no heartbeat: its worker was stopped, or its machine is gone",
    )
    return _automation("mark dead runs as crashed", trigger, action)


def _crashed_runs(resume: UUID) -> Automation:
    trigger = EventTrigger(
        expect={"prefect.flow-run.Crashed"},
        match=_RUNS,
        match_related=_tagged("resumable"),
        for_each={"prefect.resource.id"},
        **_ANYTHING_NOW,
    )
    action = RunDeployment(deployment_id=resume, parameters={"flow_run_id": _jinja(RUN_ID)})
    return _automation("resume crashed runs", trigger, action)


def _chain(deployments: Mapping[str, UUID]) -> Iterator[Automation]:
    """Each publication starts the next step; off until a person switches it on."""
    links = [
        (PUBLISHED, "sft", "dataset", "fine-tune on a published version"),
        (FINE_TUNED, "rl", "parent", "reinforce a fine-tuned policy"),
        (FINE_TUNED, "evaluate", "policy", "evaluate a fine-tuned policy"),
        (REINFORCED, "evaluate", "policy", "evaluate a reinforced policy"),
    ]
    for event, name, parameter, what in links:
        if name in deployments:
            trigger = EventTrigger(expect={event}, **_ANYTHING_NOW)
            value = _jinja("{{ event.payload.reference }}")
            action = RunDeployment(deployment_id=deployments[name], parameters={parameter: value})
            yield _automation(what, trigger, action, enabled=False)


def _notifications(block: UUID) -> Iterator[Automation]:
    drift = EventTrigger(expect={DRIFTING}, **_ANYTHING_NOW)
    yield _automation(
        "notify of a drifting version",
        drift,
        SendNotification(
            block_document_id=block,
            subject="{{ event.payload.reference }} is drifting",
            body="{{ event.payload.health }}",
        ),
    )
    failed = EventTrigger(
        expect={"prefect.flow-run.Failed"},
        match=_RUNS,
        match_related=_tagged("tirgen"),
        **_ANYTHING_NOW,
    )
    yield _automation(
        "notify of a failed run",
        failed,
        SendNotification(
            block_document_id=block,
            subject="{{ flow_run.name }} failed",
            body="{{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
        ),
    )


def _jinja(template: str) -> dict[str, str]:
    """A parameter that Prefect fills in from the event."""
    return {"__prefect_kind": "jinja", "template": template}


def _tagged(tag: str) -> ResourceSpecification:
    return ResourceSpecification(
        {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{tag}"}
    )


def _automation(
    what: str, trigger: EventTrigger, action: ActionTypes, *, enabled: bool = True
) -> Automation:
    return Automation(name=f"tirgen: {what}", trigger=trigger, actions=[action], enabled=enabled)


async def _save_webhook(address: str) -> UUID:
    """Keep the address in the block's secrets, which no page shows."""
    block = CustomWebhookNotificationBlock(
        name=BLOCK,
        url="{{address}}",
        json_data={"title": "{{subject}}", "text": "{{body}}"},
        secrets=SecretDict({"address": address}),
    )
    return UUID(str(await block.asave(BLOCK, overwrite=True)))


async def _put(automation: Automation) -> None:
    """Replace an automation only if it differs: a replaced one forgets which runs it watches."""
    try:
        known = await Automation.aread(name=automation.name)
    except ValueError:
        await automation.acreate()
        return
    replacement = automation.model_copy(update={"id": known.id, "enabled": known.enabled})
    if _meaning(replacement) != _meaning(known):
        await replacement.aupdate()


def _meaning(automation: Automation) -> dict[str, Any]:
    return automation.model_dump(include={"trigger", "actions"}, exclude={"trigger": {"id"}})
