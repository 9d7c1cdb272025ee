"""Starts the child processes of a training, follows what they print, and leaves none behind."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from flows.terminal.failures import FlowError
from tirgen.guardian import GRACE_SECONDS
from tirgen.process import Child
from trainer.launch import Meeting

QUOTED_LINES = 20
"""Lines of output in the message of a failed job."""
END_SECONDS = GRACE_SECONDS + 10
"""How long `tirgen.guardian` may take to end the job."""


class JobFailed(FlowError):
    """The job ended with a status other than 0; the message quotes its last lines."""

    kind = "training"


def trainer_command(job: Path, processes: int, meeting: Meeting | None = None) -> list[str]:
    """The command that runs a file for `trainer.job`; under torchrun for several processes.

    With a meeting it is one of those of several machines.
    """
    options = meeting.options if meeting else []
    launcher = ["-m", "trainer.launch", *options, str(processes)]
    alone = processes == 1 and meeting is None
    return [sys.executable, *([] if alone else launcher), "-m", "trainer.job", str(job)]


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
        raise JobFailed(
            f"the job ended with status {status}; its last lines were:\n" + "\n".join(last),
            "what was committed stays: remove the cause and run the same command to continue",
        )
    return result
