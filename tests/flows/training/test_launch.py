from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from flows.training.jobs import JobFailed, run_supervised, trainer_command
from tests.flows.training.waiting import wait_until


def python(code: str) -> list[str]:
    return [sys.executable, "-uc", code]


async def test_the_last_line_of_stdout_is_the_result_and_every_line_is_said() -> None:
    said: list[str] = []
    code = "import sys; print('one'); print('two'); print('noise', file=sys.stderr)"
    assert await run_supervised(python(code), said.append) == "two"
    assert sorted(said) == ["noise", "one", "two"]


async def test_a_job_that_fails_is_quoted() -> None:
    with pytest.raises(JobFailed, match=r"status 3[\s\S]*no such parent"):
        await run_supervised(python("print('no such parent'); exit(3)"), lambda line: None)


async def test_a_cancelled_job_is_ended() -> None:
    pid: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    code = "import os, time; print(os.getpid()); time.sleep(600)"
    task = asyncio.create_task(run_supervised(python(code), pid.set_result))
    process = Path("/proc") / await pid
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_until, lambda: not process.exists(), 30)


def test_several_processes_run_under_torchrun() -> None:
    command = trainer_command(Path("job.json"), 2)
    assert command[1:] == ["-m", "trainer.launch", "2", "-m", "trainer.job", "job.json"]
