"""The flows that make policies: fine-tuning, rounds of RL, and the whole loop.

Training runs in child processes (`trainer.job`, under torchrun if there are several), so that it
starts with fresh memory and ends with the run. A run that is started again continues from the last
checkpoint.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from prefect import State, flow, get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from flows.service.approval import Approval, approval
from flows.service.events import announce_policy
from flows.service.forms import filled_in, form_of
from flows.service.home import worker_store
from flows.service.policy_summary import show_improvement, show_policy, stage_line
from flows.service.running import ENGINE, GPU, Live, hinted, live_progress, live_steps, slot
from flows.service.spread import Patience, Spread, place_of
from flows.training.fine_tune import fine_tune
from flows.training.improve import ImproveConfig
from flows.training.improve import improve as run_loop
from flows.training.jobs import Hooks
from flows.training.models import find_model, recipe, training_names
from flows.training.rounds import reinforce
from flows.training.settings import RoundsConfig, rounds_settings, sft_settings
from storage.datasets import Store
from storage.policies import PolicyVersion
from tirgen.jobs.generate import generate
from tirgen.jobs.progress import Progress
from trainer.settings import SftConfig

if TYPE_CHECKING:
    SftForm: TypeAlias = Any
    RoundsForm: TypeAlias = Any
else:
    SftForm, RoundsForm = form_of(SftConfig), form_of(RoundsConfig)

Processes = Annotated[int, Field(ge=1, le=64)]
LoopName = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,48})?$")]
PolicyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


@flow(name="sft", flow_run_name="sft {policy} on {dataset}")
async def sft(
    dataset: str,
    policy: PolicyName = "policy",
    parent: str = "",
    processes: Processes = 1,
    ask_first: bool = False,
    config: SftForm | None = None,
) -> State[Any]:
    """Fine-tune a policy on the kept rows of a dataset version, and publish it.

    Args:
        dataset: A dataset version as NAME@v3, or the latest of a NAME.
        policy: The name under which the result becomes the next version.
        parent: A policy version as NAME@v3, or a model's folder; the pocket if empty.
        processes: Training processes on this machine, one for each GPU.
        ask_first: Suspend the run before it trains, show the version's yield, and wait for an
            answer.
        config: How to train. An empty setting is set as for `tirgen policy sft`: by the recipe of
            the embedded model for it and its descendants, else as in the paper.
    """
    with hinted():
        store, logger = worker_store(), get_run_logger()
        model = find_model(store, parent)
        names = training_names(store, policy, model, dataset)
        settings = sft_settings(model.folder, None, filled_in(config))
        if ask_first:
            answer = await approval(store, store.version(names.dataset))
            if not answer.train:
                return answer.refusal(names.dataset)
        async with slot(GPU), live_steps() as live:
            hooks = Hooks(steps=live.update, note=logger.info, log=logger.info)
            made = await fine_tune(names, settings, processes=processes, hooks=hooks)
        return await _finish(store, made.policy)


@flow(name="rl", flow_run_name="rl {policy}")
async def rl(
    parent: str,
    policy: PolicyName = "policy",
    processes: Processes = 1,
    patience_minutes: Patience = 4,
    spread: Spread = 0,
    config: RoundsForm | None = None,
) -> State[Any]:
    """Rounds of hierarchical RL: roll out, update, publish, and again with the new policy.

    Args:
        parent: A policy version as NAME@v3, or a model's folder; the pocket if empty.
        policy: The name under which the results become the next versions.
        processes: Training processes on this machine, one for each GPU.
        patience_minutes: With `spread`: how long to wait for an engine, sandbox or disk that fails.
        spread: Shards of rollouts to work on at once as runs of their own, on any worker of the
            pool `shards`; with 0 this run makes all of them itself.
        config: How to roll out and how to update; an empty setting is set as for `tirgen policy
            rl`. The embedded engine loads each policy itself.
    """
    with hinted():
        store, logger = worker_store(), get_run_logger()
        model = find_model(store, parent)
        settings = rounds_settings(model.folder, policy, None, filled_in(config))
        async with live_progress() as rollouts, live_steps() as steps:
            hooks = Hooks(
                rollouts=rollouts.update,
                steps=steps.update,
                round=lambda done: logger.info("round %d: %s", done.number, done.policy),
                log=logger.info,
                engine=partial(slot, ENGINE),
                gpu=partial(slot, GPU),
            )
            place = place_of(spread, patience_minutes)
            rounds = await reinforce(
                store, policy, model, settings, processes=processes, hooks=hooks, place=place
            )
        return await _finish(store, *(done.policy for done in rounds))


def _improve_name() -> str:
    given = flow_run.get_parameters()
    return f"improve {_loop(given.get('policy', ''), given.get('config')).policy}"


@flow(name="improve", flow_run_name=_improve_name)
async def improve(
    policy: LoopName = "",
    processes: Processes = 1,
    ask_first: bool = False,
    config: ImproveConfig | None = None,
) -> State[Any]:
    """Run the whole loop once; a repeated run continues.

    Args:
        policy: The name of the policy, after which the datasets are named. Empty: that of
            `config`.
        processes: Training processes on this machine, one for each GPU.
        ask_first: Suspend the run before it trains, show the version's yield, and wait for an
            answer.
        config: What to generate, how to train, sample and evaluate. Folded: the recipe of the
            embedded model.
    """
    with hinted():
        store, logger = worker_store(), get_run_logger()
        config = _loop(policy, config)
        async with live_progress() as counts, live_steps() as steps:
            if ask_first:
                answer, version = await _ask(store, config, counts)
                if not answer.train:
                    return answer.refusal(version)
            hooks = Hooks(
                part=lambda name: logger.info("-- %s", name),
                generation=counts.update,
                rollouts=counts.update,
                steps=steps.update,
                stage=lambda stage: logger.info("%s", stage_line(stage)),
                note=logger.info,
                log=logger.info,
                engine=partial(slot, ENGINE),
                gpu=partial(slot, GPU),
            )
            made = await run_loop(store, config, processes=processes, hooks=hooks)
        await show_improvement(store, config.policy, made)
    return Completed(message=f"{made.rounds[-1].policy} by way of {made.dataset}")


def _loop(policy: str, config: ImproveConfig | None) -> ImproveConfig:
    found = config or ImproveConfig.model_validate(recipe())
    return found.model_copy(update={"policy": policy}) if policy else found


async def _ask(store: Store, config: ImproveConfig, counts: Live[Progress]) -> tuple[Approval, str]:
    """Generate first, which the loop then reuses, and show the yield."""
    async with slot(ENGINE):
        report = await generate(config.named().generate, store, counts.update)
    return await approval(store, report.version), str(report.version)


async def _finish(store: Store, *published: PolicyVersion) -> State[Any]:
    """Show every new version and announce the last one."""
    for version in published:
        await show_policy(store, version)
    announce_policy(published[-1])
    manifest = published[-1].manifest
    return Completed(message=f"{published[-1]} from {manifest['parent']} and {manifest['dataset']}")
