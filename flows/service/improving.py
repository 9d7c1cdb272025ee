"""The flow of the whole wheel: generate, fine-tune, rounds of RL, every stage evaluated."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefect import State, flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.states import Completed

from flows.plots import marks_plot
from flows.service.approval import Approval, approval
from flows.service.chart import data_uri
from flows.service.figures import Figure, Figures
from flows.service.hints import hinted
from flows.service.limits import ENGINE, GPU, slot
from flows.service.lineage import artifact_key
from flows.service.live import Live, live_progress, live_steps
from flows.service.markdown import inert
from flows.service.place import worker_store
from flows.service.summary import section
from flows.service.trained import show_policy
from flows.service.training import Processes
from flows.training.figures import stage_panels
from flows.training.improve import ImproveConfig, Improvement, Stage, Watchers
from flows.training.improve import improve as turn
from flows.training.recipe import recipe
from storage.datasets import Store
from tirgen.jobs.generate import generate
from tirgen.jobs.progress import Progress

CONFIG = ImproveConfig.model_validate(recipe())
"""What the run form begins with: the embedded model."""


@flow(name="improve", flow_run_name="improve {config.policy}")
async def improve(
    config: ImproveConfig = CONFIG, processes: Processes = 1, ask_first: bool = False
) -> State[Any]:
    """Turn the whole wheel once; run again, it goes on where it was.

    Args:
        config: What to generate, how to train, sample and evaluate.
        processes: Training processes on this machine, one for each GPU.
        ask_first: Suspend the run before it trains, show the version's yield, and wait for a word.
    """
    with hinted():
        store, logger = worker_store(), get_run_logger()
        async with live_progress() as counts, live_steps() as steps:
            if ask_first:
                answer, version = await _ask(store, config, counts)
                if not answer.train:
                    return answer.refusal(version)
            watchers = Watchers(
                part=lambda name: logger.info("-- %s", name),
                generation=counts.update,
                rollouts=counts.update,
                steps=steps.update,
                stage=lambda stage: logger.info("%s", _line(stage)),
                say=logger.info,
                engine=partial(slot, ENGINE),
                gpu=partial(slot, GPU),
            )
            made = await turn(store, config, processes=processes, watchers=watchers)
        await _show(store, config, made)
    return Completed(message=f"{made.rounds[-1].policy} by way of {made.dataset}")


async def _ask(store: Store, config: ImproveConfig, counts: Live[Progress]) -> tuple[Approval, str]:
    """Generate first, which the wheel then finds done, and show what came out."""
    async with slot(ENGINE):
        report = await generate(config.named().generate, store, counts.update)
    return await approval(store, report.version), str(report.version)


def _line(stage: Stage) -> str:
    parts = [f"{r.benchmark} {r.accuracy.value:.1%}" for r in stage.results if r.accuracy]
    return f"{stage.name}: {', '.join(parts)}"


async def _show(store: Store, config: ImproveConfig, made: Improvement) -> None:
    """The artifacts of the whole turn, and of every policy on the way."""
    for policy in (made.fine_tuned, *(each.policy for each in made.rounds)):
        await show_policy(store, policy)
    key = artifact_key(config.policy)
    page = "\n\n".join(_page(store, made))
    await acreate_markdown_artifact(page, key=f"{key}-stages", description=str(made.dataset))
    for stage in made.stages:
        found = _figures(store, stage)
        await acreate_table_artifact(
            inert(found.rows),
            key=f"{key}-{artifact_key(stage.name)}",
            description=f"{stage.name}: `{found.command}`",
        )


def _page(store: Store, made: Improvement) -> Iterator[str]:
    yield f"# {made.rounds[-1].policy}"
    yield "\n".join(f"- {_line(stage)}" for stage in made.stages)
    yield f"![by stage]({_plot(made.stages)})"
    for stage in made.stages:
        yield f"# {stage.name}\n\n{section(_figures(store, stage))}"


def _figures(store: Store, stage: Stage) -> Figure:
    return Figures(store, stage.samples).evaluation


def _plot(stages: Sequence[Stage]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stages.svg"
        marks_plot(path, stage_panels(stages))
        return data_uri(path.read_text())
