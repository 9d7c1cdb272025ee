"""The flows that make policies: fine-tuning on a dataset version, and one round of RL.

Training itself is a process of its own (`trainer.job`, under torchrun where several share it), so
that it starts with fresh memory and ends with the run. Started again, it goes on from its last
checkpoint.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

from prefect import State, flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.concurrency.asyncio import concurrency
from prefect.states import Completed
from pydantic import Field

from flows.service.events import announce_policy
from flows.service.hints import hinted
from flows.service.limits import ENGINE, GPU
from flows.service.live import LiveProgress
from flows.service.markdown import table
from flows.service.place import worker_store
from flows.service.steps import LiveSteps, step_rows
from flows.training.launch import run_supervised, trainer_command
from storage.datasets import Store
from storage.policies import Policies, PolicyVersion
from storage.records import Program
from storage.versions import DatasetVersion
from tirgen.config import GenerateConfig
from tirgen.engine.renderer import HfRenderer
from tirgen.pocket.names import MODEL_DIR
from tirgen.rollouts.collect import collect
from tirgen.rollouts.config import RolloutConfig
from tirgen.tir.prompts import PROMPT_SETS
from trainer.job import RlJob, SftJob
from trainer.rl import RlConfig
from trainer.run import HISTORY, Lineage, Names
from trainer.sft import SftConfig

SFT, ROLLOUTS, RL = SftConfig(), RolloutConfig(), RlConfig()
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
        names = _names(store, policy, parent, dataset)
        lineage = Lineage(names, config)
        prompts = _tool_prompts(lineage.dataset, lineage.parent_folder)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "prompts.json"
            path.write_text(json.dumps(prompts))
            job = SftJob(kind="sft", names=names, config=config, prompts=path if prompts else None)
            return await _train(job, processes)


@flow(name="rl", flow_run_name="rl {policy} after {parent}")
async def rl(
    parent: str,
    policy: PolicyName = "policy",
    rollouts: RolloutConfig = ROLLOUTS,
    config: RlConfig = RL,
    processes: Processes = 1,
) -> State[Any]:
    """One round of hierarchical RL: roll the parent out, update it, publish the next policy.

    Args:
        parent: A policy version as NAME@v3, or the latest of a NAME.
        policy: The name under which the result becomes the next version.
        rollouts: How to roll out; its embedded engine loads the parent, a server must serve it.
        config: How to update.
        processes: Training processes on this machine, one for each GPU.
    """
    with hinted():
        store = worker_store()
        version = Policies(store.root).version(parent)
        resolved = _serving(rollouts, version)
        async with concurrency(ENGINE, occupy=1), LiveProgress() as live:
            report = await collect(resolved, store, live.update)
        get_run_logger().info("rollouts: %s", report.version)
        names = _names(store, policy, str(version), str(report.version))
        return await _train(RlJob(kind="rl", names=names, config=config), processes)


def _names(store: Store, policy: str, parent: str, dataset: str) -> Names:
    """The references as the versions they stand for now, so that a retry means the same ones."""
    if not parent:
        parent = str(MODEL_DIR)
    elif not Path(parent).is_dir():
        parent = str(Policies(store.root).version(parent))
    return Names(
        store=store.root, policy=policy, parent=parent, dataset=str(store.version(dataset))
    )


def _serving(rollouts: RolloutConfig, policy: PolicyVersion) -> RolloutConfig:
    """The rollouts of this very policy, where the engine is one that we start."""
    update: dict[str, Any] = {"policy_version": str(policy)}
    if rollouts.policy.kind == "pocket":
        update["policy"] = rollouts.policy.model_copy(update={"model": str(policy.path)})
    return rollouts.model_copy(update=update)


def _tool_prompts(version: DatasetVersion, parent: Path) -> dict[str, list[int]] | None:
    """The prompt that asks for programs, by question, for what actor and critic made: the actor's
    own asked for none (spec §4). None for rows whose policy was asked as it will be."""
    kept = (row for row in version.read() if row.kept and row.program is Program.TIRGEN)
    questions = sorted({row.problem.question for row in kept})
    if not questions:
        return None
    made = GenerateConfig.model_validate(version.manifest["config"])
    prompts, renderer = PROMPT_SETS[made.prompt_set_name], HfRenderer.load(parent)
    return {
        question: list(renderer.prompt_ids(prompts.for_tir(question))) for question in questions
    }


async def _train(job: SftJob | RlJob, processes: int) -> State[Any]:
    names, logger = job.names, get_run_logger()
    policies = Policies(names.store)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(job.model_dump_json())
        async with concurrency(GPU, occupy=1), LiveSteps(policies.work(names.policy, "any").parent):
            last_line = await run_supervised(trainer_command(path, processes), logger.info)
    published = policies.version(last_line)
    history = policies.work(names.policy, published.manifest["config_hash"]) / HISTORY
    await _show(published, step_rows(history))
    announce_policy(published)
    manifest = published.manifest
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
