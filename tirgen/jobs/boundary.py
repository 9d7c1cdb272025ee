"""The boundary of every job: an error of tirgen itself ends one row, and never the job."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from storage.records import Trajectory
from tirgen.engine.errors import EngineError
from tirgen.sandbox.contract import SandboxUnavailable
from tirgen.verification import VerifierUnavailable

ENDS_THE_JOB = (EngineError, SandboxUnavailable, VerifierUnavailable, OSError)
"""What the next row would meet too: it is raised, and a later call goes on from the commits."""
_ROOT = Path(__file__).parents[2]
_SHOWN = 200
"""Characters of an exception's own words that are kept."""


async def guarded(
    row: Awaitable[Trajectory], broken: Callable[[Exception], Trajectory]
) -> Trajectory:
    """The row, or what `broken` makes of an exception that nothing foresaw.

    Models and data can write anything, and no review finds every text that some line of ours does
    not bear. Raises `ENDS_THE_JOB`.
    """
    try:
        return await row
    except ENDS_THE_JOB:
        raise
    except Exception as error:  # noqa: BLE001
        return broken(error)


def where(error: Exception) -> str:
    """The type of an exception, the deepest line of tirgen that it passed, and its own words."""
    passed = [
        (Path(frame.f_code.co_filename), line, frame.f_code.co_name)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    ours = [place for place in passed if place[0].is_relative_to(_ROOT / "tirgen")]
    place = ""
    if ours:
        path, line, name = ours[-1]
        place = f" in {path.relative_to(_ROOT)}:{line} ({name})"
    words = str(error)[:_SHOWN]
    return f"internal error of tirgen: {type(error).__name__}{place}: {words}".removesuffix(": ")
