"""The flows that make policies: fine-tuning on a dataset version, and rounds of RL.

Training itself is a process of its own (`trainer.job`, under torchrun where several share it), so
that it starts with fresh memory and ends with the run. Started again, it goes on from its last
checkpoint.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated, Any

from prefect import State, flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.concurrency.asyncio import concurrency
from prefect.states import Completed
from pydantic import Field

from flows.service.events import announce_policy
from flows.service.hints import hinted
from flows.service.limits import ENGINE, GPU
from flows.service.live import live_progress, live_steps
from flows.service.markdown import table
from flows.service.place import worker_store
from flows.training.fine_tune import fine_tune
from flows.training.names import find_model, training_names
from flows.training.rounds import Hooks, RoundsConfig, reinforce
from storage.policies import Policies, PolicyVersion
from trainer.history import read_history
from trainer.run import HISTORY
from trainer.sft import SftConfig

SFT, ROUNDS = SftConfig(), RoundsConfig()
"""What the run forms begin with."""

Processes = Annotated[int, Field(ge=1, le=64)]
PolicyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


@flow(name="sft", flow_run_name="sft {policy} on {dataset}")
async def sft(
    dataset: str,
    policy: PolicyName = "policy",
    parent: str = "",
    config: SftConfig = SFT,
    processes: Processes = 1,
) -> State[Any]:
    """Fine-tune a policy on the kept rows of a dataset version, and publish it.

    Args:
        dataset: A dataset version as NAME@v3, or the latest of a NAME.
        policy: The name under which the result becomes the next version.
        parent: A policy version as NAME@v3, or a model's folder; the pocket if empty.
        config: How to train.
        processes: Training processes on this machine, one for each GPU.
    """
    with hinted():
        store = worker_store()
        names = training_names(store, policy, find_model(store, parent), dataset)
        async with concurrency(GPU, occupy=1), live_steps() as live:
            made = await fine_tune(
                names, config, processes=processes, watch=live.update, say=get_run_logger().info
            )
        return await _finish(made.policy)


@flow(name="rl", flow_run_name="rl {policy} after {parent}")
async def rl(
    parent: str,
    policy: PolicyName = "policy",
    config: RoundsConfig = ROUNDS,
    processes: Processes = 1,
) -> State[Any]:
    """Rounds of hierarchical RL: roll out, update, publish, and again from there.

    Args:
        parent: A policy version as NAME@v3, or the latest of a NAME.
        policy: The name under which the results become the next versions.
        config: How to roll out and how to update. The embedded engine loads each policy itself.
        processes: Training processes on this machine, one for each GPU.
    """
    with hinted():
        store, logger = worker_store(), get_run_logger()
        async with live_progress() as rollouts, live_steps() as steps:
            hooks = Hooks(
                rollouts=lambda _, progress: rollouts.update(progress),
                steps=lambda _, done: steps.update(done),
                done=lambda done: logger.info("round %d: %s", done.number, done.policy),
                say=logger.info,
                engine=partial(concurrency, ENGINE, occupy=1),
                gpu=partial(concurrency, GPU, occupy=1),
            )
            model = find_model(store, parent)
            rounds = await reinforce(store, policy, model, config, processes=processes, hooks=hooks)
        return await _finish(rounds[-1].policy)


async def _finish(published: PolicyVersion) -> State[Any]:
    """Show what was made and announce it."""
    manifest = published.manifest
    policies = Policies(worker_store().root)
    history = policies.work(published.policy, manifest["config_hash"]) / HISTORY
    await _show(published, [_flat(step) for step in read_history(history)])
    announce_policy(published)
    return Completed(message=f"{published} from {manifest['parent']} and {manifest['dataset']}")


async def _show(published: PolicyVersion, steps: list[dict[str, Any]]) -> None:
    manifest = published.manifest
    facts = {
        "policy version": str(published),
        "made by": manifest["kind"],
        "parent": manifest["parent"],
        "dataset version": manifest["dataset"],
        "configuration": manifest["config_hash"],
        "files": str(published.path),
    }
    lineage = [{"what": what, "which": which} for what, which in facts.items()]
    key = published.policy.lower().replace(".", "-").replace("_", "-")
    page = f"# {published}\n\n{table(lineage)}\n\n## Last steps\n\n{table(steps[-20:])}"
    await acreate_markdown_artifact(page, key=f"{key}-policy", description=str(published))
    await acreate_table_artifact(steps, key=f"{key}-steps", description="Every optimiser step")


def _flat(step: dict[str, Any]) -> dict[str, Any]:
    """One step as a row of a table, its figures by level as text."""
    return {n: json.dumps(v) if isinstance(v, dict) else v for n, v in step.items()}
