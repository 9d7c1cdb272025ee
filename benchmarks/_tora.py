"""ToRA's recorded trajectories run again: the same output, and the same verdict?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from storage.records import Outcome, Verdict
from tirgen.sandbox.contract import Execution, Limits, Sandbox
from tirgen.tir.markup import ParsedStep, parse_trajectory
from tirgen.verification import Verifier

AT_ONCE = 16
TOLERANCE = 1e-9
"""Relative; smaller differences of floats come from other versions of Python or numpy."""


class ProgramComparison(StrEnum):
    """What a program printed now, compared with the recording."""

    SAME_OUTPUT = "same_output"
    SAME_NUMBERS = "same_numbers"
    """Equal as numbers, but not as text."""
    SAME_ERROR = "same_error"
    """Failed as before; the recording has the last line of the traceback only."""
    NOTHING_RECORDED = "nothing_recorded"
    LIMIT = "limit"
    """Stopped here at a limit of time or memory."""
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded trajectory."""

    idx: int
    text: str
    gold: str
    prediction: str
    """The answer ToRA's own evaluation extracted."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """What tirgen made of it."""

    recorded: Recorded
    steps: list[ParsedStep]
    comparisons: list[ProgramComparison]
    """One per program."""
    verdict: Verdict

    @property
    def was_right(self) -> bool:
        """Judged as ToRA's evaluation does, by equal numbers."""
        return as_number(self.recorded.prediction) == as_number(self.recorded.gold)


def read(path: Path) -> list[Recorded]:
    rows = map(json.loads, path.read_text().splitlines())
    return [Recorded(r["idx"], r["code"][0], r["gt"], r["pred"][0]) for r in rows]


async def rerun(recorded: Sequence[Recorded], sandbox: Sandbox, verifier: Verifier) -> list[Rerun]:
    """Parse, run and verify each trajectory, in the order given."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(trajectory: Recorded) -> Rerun:
        steps = parse_trajectory(trajectory.text)
        async with gate:
            comparisons = [
                compare(step.observation, await sandbox.run(step.action, Limits()))
                for step in steps
                if step.action is not None
            ]
            verdict = await verifier.verify(trajectory.gold, trajectory.text)
        return Rerun(trajectory, steps, comparisons, verdict)

    return await asyncio.gather(*map(one, recorded))


def compare(observation: str | None, execution: Execution) -> ProgramComparison:
    """Why a program printed another text than when it was recorded."""
    if execution.outcome is Outcome.INFRA_ERROR:
        raise RuntimeError(f"the sandbox broke: {execution.stderr.strip()}")
    printed = execution.stdout.strip()
    last = execution.stderr.strip().rpartition("\n")[2]
    if observation is None:
        return ProgramComparison.NOTHING_RECORDED
    if execution.outcome in (Outcome.TIMEOUT, Outcome.OOM):
        return ProgramComparison.LIMIT
    if printed == observation.strip():
        return ProgramComparison.SAME_OUTPUT
    if execution.outcome is Outcome.ERROR and last.startswith(observation.strip()):
        return ProgramComparison.SAME_ERROR
    if _same_numbers(printed.split(), observation.split()):
        return ProgramComparison.SAME_NUMBERS
    return ProgramComparison.DIFFERENT


def as_number(text: str) -> float | str:
    """The number a text is, thousands separators or not; the text itself if it is none."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return text


def _same_numbers(printed: Sequence[str], recorded: Sequence[str]) -> bool:
    return len(printed) == len(recorded) and all(map(_same, printed, recorded))


def _same(one: str, other: str) -> bool:
    a, b = as_number(one), as_number(other)
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))
