from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from flows.training.launching import JobFailed, run_supervised, trainer_command
from flows.training.machines import Machines
from storage.datasets import Store
from tests.flows.training.waiting import wait_until
from tirgen.jobs.shards import POLL_SECONDS
from tirgen.settings import ConfigError
from trainer.launch import Meeting

pytest.importorskip("torch")

from trainer.job import RlJob
from trainer.settings import Names


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


def test_the_processes_of_one_machine_of_several_meet_the_others() -> None:
    command = trainer_command(Path("job.json"), 1, Meeting.parse(2, "[fd00::1]:29400"))
    meeting = ["--machines", "2", "--meet", "[fd00::1]:29400"]
    assert command[1:] == ["-m", "trainer.launch", *meeting, "1", "-m", "trainer.job", "job.json"]


@pytest.mark.parametrize(
    ("machines", "meet", "why"),
    [
        (2, None, "belong together"),
        (1, "127.0.0.1:29400", "belong together"),
        (2, "127.0.0.1", "HOST:PORT"),
        (2, "no-such-host.invalid:29400", "no-such-host"),
    ],
)
def test_settings_of_machines_that_do_not_fit_are_refused(
    tmp_path: Path, machines: int, meet: str | None, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        Machines.of(Store(tmp_path), "pi", machines, meet)
    assert not list(tmp_path.iterdir())


async def test_a_machine_that_follows_ends_with_the_command_that_leads(tmp_path: Path) -> None:
    meeting = Meeting.parse(2, "127.0.0.1:29400")
    lead, follow = (Machines(meeting, tmp_path / "machines") for _ in range(2))
    names = Names(store=tmp_path, policy="pi", parent="p", dataset="d@v1")
    job, said = RlJob(kind="rl", names=names), list[str]()
    async with lead.leading(said.append):
        following = asyncio.create_task(follow.follow(1, said.append))
        with lead.handed_out(job) as path:
            assert RlJob.model_validate_json(path.read_bytes()) == job
        await asyncio.sleep(2 * POLL_SECONDS)
    assert await following == 0
