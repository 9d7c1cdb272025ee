"""Tells rows that are lost now and then from an engine or a sandbox that is down."""

from __future__ import annotations

from dataclasses import dataclass

from storage.records import Trajectory
from tirgen.engine.errors import EngineUnavailable

OUTAGE_ROWS = 20
"""After so many lost rows in a row something is down, and going on would waste attempts."""


@dataclass(slots=True)
class OutageWatch:
    """Counts the rows lost to infrastructure since the last that was not."""

    _lost: int = 0

    def look_at(self, row: Trajectory) -> None:
        """Take note of a row that is committed; counts anew after an outage was told.

        Raises `EngineUnavailable` at the last of `OUTAGE_ROWS` lost ones.
        """
        self._lost = self._lost + 1 if row.ending.is_infrastructure else 0
        if self._lost < OUTAGE_ROWS:
            return
        self._lost = 0
        raise EngineUnavailable(
            f"{OUTAGE_ROWS} trajectories in a row were lost to infrastructure ({row.error}); "
            "what was finished is committed: mend it and run the same command to continue"
        )
