"""Runs the programs of a recorded response again and compares their outputs with the recording.

The recorded output stays in the step, because the response continues from it. The run here decides
the outcome. An output that its program does not print was invented, or cannot be reproduced; in
both cases the response must not be learned from.
"""

from __future__ import annotations

from collections.abc import Sequence

from storage.records import Ending, Outcome, Step
from tirgen.sandbox.contract import Execution
from tirgen.tir.builder import TrajectoryBuilder
from tirgen.tir.core import Loop, OffFormat, run_code
from tirgen.tir.markup import ParsedStep

TOLERANCE = 1e-6
"""Relative difference below which two floats are equal: versions of numpy print differently."""
LONG = 200
"""Length in characters from which a publisher may have cut a recorded output."""


def replay(builder: TrajectoryBuilder, parsed: Sequence[ParsedStep]) -> Loop[Ending]:
    """Run the programs in order, also after one that failed.

    Raises `OffFormat` at the end if the recording has an output that its program does not print.
    """
    invented: str | None = None
    for number, (thought, action, observation) in enumerate(parsed, start=1):
        if action is None:
            builder.steps.append(Step(thought=thought))
            continue
        execution = yield from run_code(action)
        builder.steps.append(
            Step(
                thought=thought,
                action=action,
                observation=observation,
                outcome=execution.outcome,
                sandbox_seconds=execution.wall_ms / 1000,
            )
        )
        if observation is not None and not agrees(observation, execution):
            invented = invented or _difference(number, observation, execution)
    if invented:
        raise OffFormat(invented)
    return Ending.FINISHED


def agrees(recorded: str, execution: Execution) -> bool:
    """Whether the program prints what was recorded; a failed program always agrees."""
    if execution.outcome not in (Outcome.OK, Outcome.NO_OUTPUT):
        return True
    then, now = recorded.split(), execution.stdout.split()
    if len(recorded) >= LONG and then[:10] == now[:10]:
        return True
    return len(then) == len(now) and all(map(_same, then, now))


def _same(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        a, b = (float(word.strip("[](),").replace(",", "")) for word in (one, other))
    except ValueError:
        return False
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def _difference(number: int, recorded: str, execution: Execution) -> str:
    now = execution.stdout.strip()
    return f"program {number} prints {_short(now)} here, {_short(recorded.strip())} was recorded"


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
