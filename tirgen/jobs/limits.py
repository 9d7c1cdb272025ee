"""When a job ends although work is left: something is down, or tirgen itself keeps failing."""

from __future__ import annotations

from dataclasses import dataclass

from storage.records import Ending, Trajectory
from tirgen.engine.errors import EngineUnavailable

OUTAGE_ROWS = 20
"""After so many lost rows in a row something is down, and going on would waste attempts."""
INTERNAL_ERRORS = 20
"""Rows that may break tirgen in one call, whatever its size; beyond that one in fifty may."""


class TooManyInternalErrors(Exception):
    """Tirgen itself fails too often to go on; the message has the last error and where it was."""


@dataclass(slots=True)
class OutageWatch:
    """Counts the rows lost to infrastructure since the last that was not."""

    _lost: int = 0

    def look_at(self, row: Trajectory) -> None:
        """Take note of a row that is committed; counts from zero once an outage was raised.

        Raises `EngineUnavailable` at the last of `OUTAGE_ROWS` lost ones.
        """
        if row.ending is Ending.INTERNAL_ERROR:
            return
        self._lost = self._lost + 1 if row.ending.is_infrastructure else 0
        if self._lost < OUTAGE_ROWS:
            return
        self._lost = 0
        raise EngineUnavailable(
            f"{OUTAGE_ROWS} trajectories in a row were lost to infrastructure ({row.error}); "
            "what was finished is committed: mend it and run the same command to continue"
        )


@dataclass(slots=True)
class InternalErrorLimit:
    """Counts the rows on which tirgen itself failed, among all of a call."""

    _rows: int = 0
    _broken: int = 0

    def look_at(self, row: Trajectory) -> None:
        """Take note of a row. Raises `TooManyInternalErrors`."""
        self._rows += 1
        if row.ending is not Ending.INTERNAL_ERROR:
            return
        self._broken += 1
        if self._broken > INTERNAL_ERRORS + self._rows // 50:
            raise TooManyInternalErrors(
                f"{self._broken} of {self._rows} trajectories ended in an internal error of "
                f"tirgen, the last one, {row.trajectory_id}, in: {row.error}"
            )
