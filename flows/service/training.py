"""The flows that make policies: fine-tuning on a dataset version, and rounds of RL.

Training itself is a process of its own (`trainer.job`, under torchrun where several share it), so
that it starts with fresh memory and ends with the run. Started again, it goes on from its last
checkpoint.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from prefect import State, flow, get_run_logger
from prefect.states import Completed
from pydantic import Field

from flows.service.approval import approval
from flows.service.events import announce_policy
from flows.service.forms import filled_in, form_of
from flows.service.hints import hinted
from flows.service.limits import ENGINE, GPU, slot
from flows.service.live import live_progress, live_steps
from flows.service.place import worker_store
from flows.service.trained import show_policy
from flows.training.fine_tune import fine_tune
from flows.training.names import find_model, training_names
from flows.training.recipe import rounds_settings, sft_settings
from flows.training.rounds import Hooks, RoundsConfig, reinforce
from storage.datasets import Store
from storage.policies import PolicyVersion
from trainer.sft import SftConfig

if TYPE_CHECKING:
    SftForm: TypeAlias = Any
    RoundsForm: TypeAlias = Any
else:
    SftForm, RoundsForm = form_of(SftConfig), form_of(RoundsConfig)
SFT, ROUNDS = SftForm(), RoundsForm()
"""What the run forms begin with: every setting follows the policy until it is filled in."""

Processes = Annotated[int, Field(ge=1, le=64)]
PolicyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


@flow(name="sft", flow_run_name="sft {policy} on {dataset}")
async def sft(
    dataset: str,
    policy: PolicyName = "policy",
    parent: str = "",
    config: SftForm = SFT,
    processes: Processes = 1,
    ask_first: bool = False,
) -> State[Any]:
    """Fine-tune a policy on the kept rows of a dataset version, and publish it.

    Args:
        dataset: A dataset version as NAME@v3, or the latest of a NAME.
        policy: The name under which the result becomes the next version.
        parent: A policy version as NAME@v3, or a model's folder; the pocket if empty.
        config: How to train. What is left empty is set as for `tirgen policy sft`: by the recipe of
            the embedded model for it and its descendants, else as in the paper.
        processes: Training processes on this machine, one for each GPU.
        ask_first: Suspend the run before it trains, show the version's yield, and wait for a word.
    """
    with hinted():
        store = worker_store()
        model = find_model(store, parent)
        names = training_names(store, policy, model, dataset)
        settings = sft_settings(model.folder, None, filled_in(config))
        if ask_first:
            answer = await approval(store, store.version(names.dataset))
            if not answer.train:
                return answer.refusal(names.dataset)
        async with slot(GPU), live_steps() as live:
            made = await fine_tune(
                names,
                settings,
                processes=processes,
                watch=live.update,
                say=get_run_logger().info,
                note=get_run_logger().info,
            )
        return await _finish(store, made.policy)


@flow(name="rl", flow_run_name="rl {policy}")
async def rl(
    parent: str,
    policy: PolicyName = "policy",
    config: RoundsForm = ROUNDS,
    processes: Processes = 1,
) -> State[Any]:
    """Rounds of hierarchical RL: roll out, update, publish, and again from there.

    Args:
        parent: A policy version as NAME@v3, or a model's folder; the pocket if empty.
        policy: The name under which the results become the next versions.
        config: How to roll out and how to update; what is left empty is set as for `tirgen policy
            rl`. The embedded engine loads each policy itself.
        processes: Training processes on this machine, one for each GPU.
    """
    with hinted():
        store, logger = worker_store(), get_run_logger()
        model = find_model(store, parent)
        settings = rounds_settings(model.folder, policy, None, filled_in(config))
        async with live_progress() as rollouts, live_steps() as steps:
            hooks = Hooks(
                rollouts=lambda _, progress: rollouts.update(progress),
                steps=lambda _, done: steps.update(done),
                done=lambda done: logger.info("round %d: %s", done.number, done.policy),
                say=logger.info,
                engine=partial(slot, ENGINE),
                gpu=partial(slot, GPU),
            )
            rounds = await reinforce(
                store, policy, model, settings, processes=processes, hooks=hooks
            )
        return await _finish(store, *(done.policy for done in rounds))


async def _finish(store: Store, *published: PolicyVersion) -> State[Any]:
    """Show what was made and announce the last of it."""
    for version in published:
        await show_policy(store, version)
    announce_policy(published[-1])
    manifest = published[-1].manifest
    return Completed(message=f"{published[-1]} from {manifest['parent']} and {manifest['dataset']}")
