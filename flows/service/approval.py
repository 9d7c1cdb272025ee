"""Approval of a training by a person: the run is suspended, its worker is free, and the UI asks.

The answer is kept with the run, so that a run that crashes later does not ask again.
"""

from __future__ import annotations

from typing import Any

from prefect import State
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.states import Completed
from pydantic import Field

from flows.service.events import DriftLimits, examine
from flows.service.figures import Figures
from flows.service.markdown import fenced, table
from storage.datasets import Store
from storage.versions import DatasetVersion

WAIT_SECONDS = 7 * 24 * 3600
"""After a week without an answer the run fails."""


class Approval(RunInput):
    """The form of a suspended run."""

    train: bool = Field(description="Train from this version; otherwise the run just ends.")
    note: str = Field("", description="A remark, kept with the run.")

    def refusal(self, version: str) -> State[Any]:
        """The final state of a run that must not train."""
        note = f": {self.note}" if self.note else ""
        return Completed(name="Refused", message=f"not to train from {version}{note}")


async def approval(store: Store, version: DatasetVersion) -> Approval:
    """Suspend the run until a person has seen the version's yield and answered."""
    form = Approval.with_initial_data(description=_question(store, version))
    return await asuspend_flow_run(wait_for_input=form, timeout=WAIT_SECONDS, key="approval")


def _question(store: Store, version: DatasetVersion) -> str:
    health, figures = examine(version, DriftLimits()), Figures(store, version)
    parts = [f"# Train from {version}?", f"**{health.sentence}**"]
    for figure in (figures.yields, figures.outcomes):
        parts += [f"## {figure.title}", table(figure.rows), fenced(figure.command, "sh")]
    return "\n\n".join(parts)
