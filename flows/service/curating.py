"""The flow that filters a version again, without inference, into the dataset's next version."""

from __future__ import annotations

from typing import Any

from prefect import State, flow
from prefect.artifacts import acreate_markdown_artifact
from prefect.states import Completed

from flows.service.events import announce
from flows.service.figures import Figures
from flows.service.health import Alarm, examine
from flows.service.hints import hinted
from flows.service.lineage import show_lineage
from flows.service.markdown import fenced, table
from flows.service.place import worker_store
from tirgen.jobs.curate import CurateConfig, curate_version

CONFIG, ALARM = CurateConfig(), Alarm()
"""What the run form begins with."""


@flow(name="curate", flow_run_name="curate {dataset}")
async def curate(
    dataset: str,
    config: CurateConfig = CONFIG,
    verify_again: bool = False,
    alarm: Alarm = ALARM,
) -> State[Any]:
    """Filter a dataset version with other settings, and publish the result as the next version.

    Args:
        dataset: A dataset version as NAME@v3, or the latest of a NAME.
        config: The filters; they replace those of the version.
        verify_again: First judge every answer again with the verifier as it is now.
        alarm: When the version is announced as drifting instead of fit to train from.
    """
    with hinted():
        store = worker_store()
        source = store.version(dataset)
        curation = await curate_version(store, source, config, again=verify_again)
        version = curation.version
        assert version is not None
        health = examine(version, alarm)
        yields = Figures(store, version).yields
        lineage = f"Made from {source}, which kept {source.manifest['kept_rows']} rows."
        page = f"# {version}\n\n**{health.sentence}**\n\n{lineage}\n\n{table(yields.rows)}\n\n"
        await acreate_markdown_artifact(
            page + fenced(yields.command, "sh"), key="curation", description=health.sentence
        )
        await show_lineage(store, version)
        announce(version, health)
    return Completed(message=f"{version}: {health.sentence}")
