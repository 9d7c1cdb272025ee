"""Runs a training job as a process of its own, which ends with the flow run however that ends."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

LONGEST_LINE = 1 << 20
LAST_WORDS = 20
"""Lines that are quoted when the job fails."""


class JobFailed(Exception):
    """The job ended with another status than 0; the message quotes its last lines."""


def trainer_command(job: Path, processes: int) -> list[str]:
    """How a file for `trainer.job` is run, under torchrun where more than one process shares it."""
    launcher = [] if processes == 1 else ["-m", "trainer.launch", str(processes)]
    return [sys.executable, *launcher, "-m", "trainer.job", str(job)]


async def run_supervised(command: Sequence[str], say: Callable[[str], None]) -> str:
    """Run the command to its end, `say` each line it prints, and return the last one of stdout.

    Leaves no process behind, whether it returns, fails, is cancelled, or its own process is killed
    (`flows.training.supervise`). Raises `JobFailed`.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flows.training.supervise", *command,
        stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=LONGEST_LINE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    last: deque[str] = deque(maxlen=LAST_WORDS)
    try:
        result, _ = await asyncio.gather(
            _follow(process.stdout, say, last), _follow(process.stderr, say, last)
        )
        status = await process.wait()
    finally:
        process.stdin.close()
        await process.communicate()  # its end, and that of the pipes
    if status:
        raise JobFailed(f"the job ended with status {status}; it said last:\n" + "\n".join(last))
    return result


async def _follow(
    stream: asyncio.StreamReader, say: Callable[[str], None], last: deque[str]
) -> str:
    """Say every line to the stream's end, and return the last."""
    line = ""
    async for raw in stream:
        line = raw.decode(errors="replace").rstrip()
        last.append(line)
        say(line)
    return line
