"""A training on two machines, which are network namespaces here; one is killed and comes back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import torch

from storage.datasets import Store
from storage.policies import Policies
from tests.trainer.tiny_policy import publish, round_rows, weights_of
from tirgen.embedded.models import MODEL_DIR
from tirgen.process import descendants
from trainer.checkpoint import newest
from trainer.distributed import World
from trainer.job import RlJob, SftJob
from trainer.launch import Meeting
from trainer.run import CHECKPOINTS
from trainer.settings import Names, OptimizerConfig, RlConfig, SftConfig

ADDRESSES = ("10.213.0.1", "10.213.0.2")
PORT = 29411


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextmanager
def two_namespaces() -> Iterator[list[str]]:
    """Two namespaces, each with its own loopback, and one cable between them."""
    names = [f"tirgen-{os.getpid()}-{number}" for number in (1, 2)]
    cable = [f"tg{os.getpid() % 10**6}v{number}" for number in (1, 2)]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", cable[0], "type", "veth", "peer", "name", cable[1])
        for name, end, address in zip(names, cable, ADDRESSES, strict=True):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", end, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


class Machine:
    """What runs in one namespace."""

    def __init__(self, namespace: str, job: Path, log: Path) -> None:
        meeting = ["--machines", "2", "--meet", f"{ADDRESSES[0]}:{PORT}"]
        program = ["-m", "trainer.job", str(job)]
        command = [sys.executable, "-m", "trainer.launch", *meeting, "1", *program]
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *command], stdout=out, stderr=out
            )

    def kill(self) -> None:
        """SIGKILL for all of it at once."""
        for process in (psutil.Process(self.process.pid), *descendants(self.process.pid)):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            self.kill()


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"
)
def test_a_machine_that_is_killed_and_rejoins_changes_no_weight(
    policy: Path, store: Store, world: World, tmp_path: Path
) -> None:
    config = SftConfig(
        optimizer=OptimizerConfig(learning_rate=1e-3),
        batch_samples=4, epochs=20, checkpoint_every=1,
    )  # fmt: skip
    dataset = publish(store, round_rows(policy, groups=5, step_groups=3))
    names = Names(store=store.root, policy="two", parent=str(policy), dataset=str(dataset))
    job = tmp_path / "job.json"
    job.write_text(SftJob(kind="sft", names=names, config=config).model_dump_json())
    policies = Policies(store.root)
    logs = [tmp_path / "first.log", tmp_path / "second.log"]

    def steps() -> int:
        work = store.root / "policies" / "two" / "work"
        found = [newest(folder / CHECKPOINTS) for folder in work.glob("*")]
        return max((one[0] for one in found if one), default=0)

    with two_namespaces() as namespaces, ExitStack() as stack:
        first, second = (
            Machine(name, job, log) for name, log in zip(namespaces, logs, strict=True)
        )
        stack.callback(first.end)
        stack.callback(second.end)
        deadline = time.monotonic() + 300
        while steps() < 3:
            assert first.process.poll() is None, logs[0].read_text()
            assert second.process.poll() is None, logs[1].read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        second.kill()
        reached = steps()
        assert first.process.poll() is None, "the other machine waits"
        again = Machine(namespaces[1], job, logs[1])
        stack.callback(again.end)
        assert [first.process.wait(300), again.process.wait(300)] == [0, 0], logs[0].read_text()
    said = [json.loads(line) for line in logs[0].read_text().splitlines() if line[:2] == '{"']
    began = [event for event in said if event["event"] == "began"]
    assert len(began) == 2
    assert reached <= began[1]["done"] < began[1]["steps"]
    alone = names.model_copy(update={"policy": "one"})
    wanted = weights_of(SftJob(kind="sft", names=alone, config=config).run(world).path)
    found = weights_of(policies.version("two").path)
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"
)
def test_one_command_on_each_machine_trains_together(tmp_path: Path, world: World) -> None:
    """The machine that the meeting names leads two rounds of RL; the other one trains with it."""
    store = tmp_path / "store"
    command = [sys.executable, "-m", "flows", "policy", "rl", "", "--policy", "pi"]
    for setting in (
        *("rollouts.problems.limit=16", "rollouts.groups=null", "rollouts.samples=6"),
        *("rollouts.branches.samples=4", "update.updates=3", "rounds=2"),
    ):
        command += ["--set", setting]
    command += ["--machines", "2", "--meet", f"{ADDRESSES[0]}:{PORT}"]
    command += ["--store", str(store), "--json"]
    with two_namespaces() as namespaces:
        ran = [
            subprocess.Popen(
                ["ip", "netns", "exec", name, *command],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for name in reversed(namespaces)
        ]  # fmt: skip
        try:
            out, err = ran[1].communicate(timeout=500)
            followed, said = ran[0].communicate(timeout=60)
        finally:
            for one in ran:
                one.kill()
                one.wait()
    assert [one.returncode for one in ran] == [0, 0], out + err + followed + said
    assert json.loads(followed) == {"trainings": 2, "led_by": ADDRESSES[0]}
    first, last = Policies(store).versions("pi")
    assert json.loads(out)["policy"] == str(last)
    dataset = first.manifest["dataset"]
    alone = Names(store=store, policy="one", parent=str(MODEL_DIR), dataset=dataset)
    config = RlConfig.model_validate(first.manifest["config"])
    wanted = weights_of(RlJob(kind="rl", names=alone, config=config).run(world).path)
    for name, weight in weights_of(first.path).items():
        torch.testing.assert_close(weight, wanted[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("endpoint", ["head", "head:", ":29400", "head:99999"])
def test_a_place_without_host_or_port_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        Meeting.parse(2, endpoint)


def test_one_machine_meets_nobody() -> None:
    with pytest.raises(ValueError, match="two or more"):
        Meeting.parse(1, "head:29400")


def test_on_this_machine_the_meeting_is_hosted_here_and_stays_on_its_interface(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "none")
    arguments = Meeting.parse(2, "127.0.0.1:29400").arguments(["-m", "trainer.job"])
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"
    assert "--nnodes=2" in arguments
    assert any("is_host=true" in argument for argument in arguments)
