"""The events that tie flows together: what is published, with its counts.

A run that is repeated after a crash announces its version again, so whoever listens must bear
hearing of the same version twice; training does, since its result is named by what it reads.
"""

from __future__ import annotations

from prefect.events import emit_event

from flows.service.health import Health
from storage.policies import PolicyVersion
from storage.versions import DatasetVersion

PUBLISHED = "tirgen.dataset.published"
"""A version came out as it should: training may start."""
DRIFTING = "tirgen.dataset.drifting"
"""A version was published that somebody should look at first."""
FINE_TUNED, REINFORCED = "tirgen.policy.fine-tuned", "tirgen.policy.reinforced"
"""A policy version was published by SFT, or by a round of RL."""


def announce(version: DatasetVersion, health: Health) -> str:
    """Emit the event of a published version; returns its name."""
    event = DRIFTING if health.drifts else PUBLISHED
    emit_event(
        event=event,
        resource={
            "prefect.resource.id": f"tirgen.dataset.{version.dataset}",
            "prefect.resource.name": version.dataset,
            "tirgen.version": version.version,
        },
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
        resource={
            "prefect.resource.id": f"tirgen.policy.{version.policy}",
            "prefect.resource.name": version.policy,
            "tirgen.version": version.version,
        },
        payload={
            "policy": version.policy,
            "version": version.version,
            "reference": str(version),
            "parent": manifest["parent"],
            "dataset": manifest["dataset"],
            "metrics": manifest["metrics"],
        },
    )
