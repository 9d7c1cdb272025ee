"""A person's word before a training: the run suspends, its worker is free, and the UI asks.

The answer is kept with the run, so that a run that crashes later and starts again asks no second
time.
"""

from __future__ import annotations

from typing import Any

from prefect import State
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.states import Completed
from pydantic import Field

from flows.service.figures import Figures
from flows.service.health import Alarm, examine
from flows.service.markdown import fenced, table
from storage.datasets import Store
from storage.versions import DatasetVersion

WAIT_SECONDS = 7 * 24 * 3600
"""After a week without an answer the run fails."""


class Approval(RunInput):
    """What the form of a suspended run asks."""

    train: bool = Field(description="Train from this version; otherwise the run ends without.")
    note: str = Field("", description="Kept with the run, for whoever reads it later.")

    def refusal(self, version: str) -> State[Any]:
        """How a run ends that was not to train."""
        note = f": {self.note}" if self.note else ""
        return Completed(name="Refused", message=f"not to train from {version}{note}")


async def approval(store: Store, version: DatasetVersion) -> Approval:
    """Suspend the run until somebody has looked at the version's yield and answered."""
    form = Approval.with_initial_data(description=_question(store, version))
    return await asuspend_flow_run(wait_for_input=form, timeout=WAIT_SECONDS, key="approval")


def _question(store: Store, version: DatasetVersion) -> str:
    health, figures = examine(version, Alarm()), Figures(store, version)
    parts = [f"# Train from {version}?", f"**{health.sentence}**"]
    for figure in (figures.yields, figures.outcomes):
        parts += [f"## {figure.title}", table(figure.rows), fenced(figure.command, "sh")]
    return "\n\n".join(parts)
