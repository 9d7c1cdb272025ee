"""Runs a training job in processes of its own, which end with the flow run, however it ends."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from tirgen.guardian import GRACE_SECONDS
from tirgen.process import Child

QUOTED_LINES = 20
"""Of its output, in the message when the job fails."""
END_SECONDS = GRACE_SECONDS + 10
"""How long the guardian may take to end the job."""


class JobFailed(Exception):
    """The job ended with another status than 0; the message quotes its last lines."""


def trainer_command(job: Path, processes: int) -> list[str]:
    """How a file for `trainer.job` is run, under torchrun where more than one process shares it."""
    launcher = [] if processes == 1 else ["-m", "trainer.launch", str(processes)]
    return [sys.executable, *launcher, "-m", "trainer.job", str(job)]


async def run_supervised(command: Sequence[str], say: Callable[[str], None]) -> str:
    """Run the command to its end, `say` each line it prints, and return the last one of stdout.

    Leaves no process behind, whether it returns, fails, is cancelled, or this process is killed
    (`tirgen.guardian`). Raises `JobFailed`.
    """
    job = Child(command, stdout="pipe", stderr="pipe", guarded=True)
    last: deque[str] = deque(maxlen=QUOTED_LINES)

    async def follow(pipe: IO[bytes]) -> str:
        line = ""
        async for line in job.lines(pipe):
            last.append(line)
            say(line)
        return line

    try:
        result, _ = await asyncio.gather(follow(job.stdout), follow(job.stderr))
        status = await asyncio.to_thread(job.wait)
    finally:
        await asyncio.to_thread(job.end, END_SECONDS)
    if status:
        raise JobFailed(f"the job ended with status {status}; it said last:\n" + "\n".join(last))
    return result
