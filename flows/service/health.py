"""Whether a generation came out as it should: what a person is told of before anybody trains."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from storage.records import Ending, Program
from storage.versions import DatasetVersion
from tirgen.settings import Settings


class Alarm(Settings):
    """When a published version is announced as drifting, so that nothing trains from it."""

    least_kept_share: float = Field(0.05, ge=0, le=1)
    """Share of the trajectories, 0 to 1, that must survive every filter; baselines are none."""
    most_lost_share: float = Field(0.02, ge=0, le=1)
    """Share of the trajectories, 0 to 1, that engine or sandbox may lose."""


@dataclass(frozen=True, slots=True)
class Health:
    """The counts of a version, held against the alarm."""

    rows: int
    kept: int
    lost: int
    """Ended in a fault of engine or sandbox."""
    alarm: Alarm

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
        """The verdict with its figures, for people."""
        found = (
            f"{self.kept_share:.1%} of {self.rows} trajectories were kept (at least "
            f"{self.alarm.least_kept_share:.1%} wanted), {self.lost_share:.1%} were lost to "
            f"infrastructure (at most {self.alarm.most_lost_share:.1%})"
        )
        if self.drifts:
            return f"Drifting: {found}. Nothing trains from this version by itself."
        return f"Healthy: {found}."


def examine(version: DatasetVersion, alarm: Alarm) -> Health:
    """Count the version's rows, without baselines."""
    rows = version.table(["ending", "program"]).to_pylist()
    lost = sum(
        Ending(row["ending"]).is_infrastructure for row in rows if row["program"] != Program.COT
    )
    return Health(version.samples, version.manifest["kept_rows"], lost, alarm)
