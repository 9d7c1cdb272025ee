"""Whether a published version is healthy, and the events that announce versions to automations.

A run that is repeated after a crash announces its version again, so a listener must accept the same
version twice. Training does: its result is named by its inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

from prefect.events import emit_event
from pydantic import Field

from storage.policies import PolicyVersion
from storage.records import Ending, Program
from storage.versions import DatasetVersion
from tirgen.settings import Settings

PUBLISHED = "tirgen.dataset.published"
"""A healthy version was published: training may start."""
DRIFTING = "tirgen.dataset.drifting"
"""A version was published that a person should look at first."""
FINE_TUNED, REINFORCED = "tirgen.policy.fine-tuned", "tirgen.policy.reinforced"
"""A policy version was published by SFT, or by a round of RL."""


class DriftLimits(Settings):
    """When a published version is announced as drifting, so that nothing trains from it."""

    least_kept_share: float = Field(0.05, ge=0, le=1)
    """Share of the trajectories, 0 to 1, that every filter must keep; baselines do not count."""
    most_lost_share: float = Field(0.02, ge=0, le=1)
    """Share of the trajectories, 0 to 1, that may be lost to engine or sandbox."""


@dataclass(frozen=True, slots=True)
class Health:
    """The counts of a version, compared with the alarm."""

    rows: int
    kept: int
    lost: int
    """Ended by a fault of engine or sandbox."""
    alarm: DriftLimits

    @property
    def kept_share(self) -> float:
        return self.kept / max(self.rows, 1)

    @property
    def lost_share(self) -> float:
        return self.lost / max(self.rows, 1)

    @property
    def drifts(self) -> bool:
        too_few = self.kept_share < self.alarm.least_kept_share
        return too_few or self.lost_share > self.alarm.most_lost_share

    @property
    def sentence(self) -> str:
        """The result with its figures, for people."""
        found = (
            f"{self.kept_share:.1%} of {self.rows} trajectories were kept (at least "
            f"{self.alarm.least_kept_share:.1%} wanted), {self.lost_share:.1%} were lost to "
            f"infrastructure (at most {self.alarm.most_lost_share:.1%})"
        )
        if self.drifts:
            return f"Drifting: {found}. No training starts from this version by itself."
        return f"Healthy: {found}."


def examine(version: DatasetVersion, alarm: DriftLimits) -> Health:
    """Count the version's rows, without baselines."""
    columns = ["ending", "program"]
    counts = version.table(columns).group_by(columns).aggregate([([], "count_all")]).to_pylist()
    lost = sum(
        row["count_all"]
        for row in counts
        if row["program"] != Program.COT and Ending(row["ending"]).is_infrastructure
    )
    return Health(version.samples, version.manifest["kept_rows"], lost, alarm)


def announce(version: DatasetVersion, health: Health) -> str:
    """Emit the event of a published version; returns its name."""
    event = DRIFTING if health.drifts else PUBLISHED
    emit_event(
        event=event,
        resource=_resource("dataset", version.dataset, version.version),
        payload={
            "dataset": version.dataset,
            "version": version.version,
            "reference": str(version),
            "rows": health.rows,
            "kept": health.kept,
            "lost": health.lost,
            "kept_share": round(health.kept_share, 6),
            "lost_share": round(health.lost_share, 6),
            "health": health.sentence,
            "config_hash": version.manifest["config_hash"],
        },
    )
    return event


def announce_policy(version: PolicyVersion) -> None:
    """Emit the event of a published policy."""
    manifest = version.manifest
    emit_event(
        event=FINE_TUNED if manifest["kind"] == "sft" else REINFORCED,
        resource=_resource("policy", version.policy, version.version),
        payload={
            "policy": version.policy,
            "version": version.version,
            "reference": str(version),
            "parent": manifest["parent"],
            "dataset": manifest["dataset"],
            "metrics": manifest["metrics"],
        },
    )


def _resource(kind: str, name: str, version: str) -> dict[str, str]:
    return {
        "prefect.resource.id": f"tirgen.{kind}.{name}",
        "prefect.resource.name": name,
        "tirgen.version": version,
    }
