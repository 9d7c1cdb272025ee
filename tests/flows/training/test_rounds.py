"""Rounds of RL on the real pocket: killed anywhere, they end in the same weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from storage.datasets import Store
from storage.policies import Policies, PolicyVersion
from tests.flows.training.waiting import wait_until

pytest.importorskip("torch")

from flows.live.state import Watcher
from flows.live.work import find_work
from flows.page.report import policy_report
from flows.training.figures import rounds_plot
from flows.training.jobs import Hooks
from flows.training.models import find_model
from flows.training.rounds import reinforce
from flows.training.settings import RoundsConfig

SETTINGS = (
    *("rollouts.problems.limit=16", "rollouts.groups=null", "rollouts.samples=6"),
    *("rollouts.branches.samples=4", "update.updates=3", "rounds=2"),
)


def rounds_command(store: Path, sandbox: str) -> list[str]:
    command = [sys.executable, "-m", "flows", "policy", "rl", "", "--policy", "pi"]
    for setting in (*SETTINGS, f'rollouts.sandbox.services=["{sandbox}"]'):
        command += ["--set", setting]
    return [*command, "--store", str(store), "--json"]


def run(store: Path, sandbox: str) -> PolicyVersion:
    command = rounds_command(store, sandbox)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Policies(store).version("pi")


def run_and_kill(store: Path, sandbox: str, moment: Callable[[], object]) -> None:
    process = subprocess.Popen(
        rounds_command(store, sandbox),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: moment() or process.poll() is not None, 120)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def files(store: Store) -> set[tuple[str, int]]:
    """Every file that holds rows or weights, and when it was written."""
    kept = (*store.root.rglob("*.parquet"), *store.root.rglob("*.safetensors"))
    return {(str(path), path.stat().st_mtime_ns) for path in kept}


def weights(policy: PolicyVersion) -> bytes:
    return (policy.path / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, sandbox_url: str) -> PolicyVersion:
    return run(tmp_path_factory.mktemp("undisturbed"), sandbox_url)


@pytest.mark.slow
def test_rounds_killed_in_rollouts_and_in_an_update_end_in_the_same_bits(
    tmp_path: Path, undisturbed: PolicyVersion, sandbox_url: str
) -> None:
    def rolling() -> bool:
        return any(tmp_path.glob("datasets/pi-rollouts/runs/*/batches/*.parquet"))

    def updating() -> bool:
        histories = tmp_path.glob("policies/pi/work/*/history.jsonl")
        return any(len(path.read_text().splitlines()) >= 2 for path in histories)

    run_and_kill(tmp_path, sandbox_url, rolling)
    run_and_kill(tmp_path, sandbox_url, updating)
    killed = Watcher(Store(tmp_path), find_work(Store(tmp_path), "pi")).look()
    assert (killed.kind, killed.status, killed.unit) == ("training", "stopped", "optimiser steps")
    assert killed.done is not None
    assert killed.steps[0]["levels"]["trajectory"]["entropy"] > 0
    assert killed.resume is not None
    assert "policy rl" in killed.resume
    policy = run(tmp_path, sandbox_url)
    done = Watcher(Store(tmp_path), find_work(Store(tmp_path), "pi")).look()
    assert (done.status, done.published, done.done) == ("finished", "pi@v2", done.total)
    assert str(policy) == "pi@v2"
    assert weights(policy) == weights(undisturbed)


def test_a_round_begins_with_the_policy_of_the_one_before(undisturbed: PolicyVersion) -> None:
    assert undisturbed.manifest["parent"] == "pi@v1"
    store = Store(undisturbed.path.parents[3])
    [first, second] = store.versions("pi-rollouts")
    assert undisturbed.manifest["dataset"] == str(second)
    assert first.manifest["config"]["policy_version"] is None
    assert second.manifest["config"]["policy_version"] == "pi@v1"


def test_one_round_is_drawn_by_its_steps_and_two_by_round(undisturbed: PolicyVersion) -> None:
    store = Store(undisturbed.path.parents[3])
    for version, axis in (("pi@v1", "optimiser step"), ("pi@v2", "round")):
        plot = rounds_plot(store, Policies(store.root).version(version))
        assert plot is not None
        assert {axes.get_xlabel() for axes in plot.figure.axes if axes.get_visible()} == {axis}
        points = [len(line.get_xdata()) for axes in plot.figure.axes for line in axes.lines]
        assert min(points) > 1
        page = policy_report(store, Policies(store.root).version(version))
        assert "Entropy (nats)" in page
        assert "execution pass" in page


async def test_finished_rounds_are_found_again(undisturbed: PolicyVersion) -> None:
    store = Store(undisturbed.path.parents[3])
    made = Policies(store.root).version("pi@v1")
    config = RoundsConfig.model_validate(
        {
            "rounds": 1,
            "rollouts": store.version("pi-rollouts@v1").manifest["config"],
            "update": made.manifest["config"],
        }
    )
    before = files(store)
    [found] = await reinforce(store, "pi", find_model(store, ""), config)
    assert str(found.policy) == "pi@v1"
    assert files(store) == before
    assert [str(version) for version in Policies(store.root).versions("pi")] == ["pi@v1", "pi@v2"]


@pytest.mark.slow
async def test_the_next_round_is_sampled_while_one_is_trained(
    tmp_path: Path, sandbox_url: str
) -> None:
    """By the policy that the training began with; a repeated call finds the same versions."""
    rollouts = {
        "dataset": "pi-rollouts", "problems": {"path": "pocket:train"}, "groups": 2, "samples": 4,
        "branches": False, "sandbox": {"services": [sandbox_url]},
    }  # fmt: skip
    update = {"updates": 1, "optimizer": {"learning_rate": 1e-4}}
    config = RoundsConfig.model_validate(
        {"rounds": 3, "staleness": 1, "rollouts": rollouts, "update": update}
    )
    moments: list[str] = []

    @asynccontextmanager
    async def noted(name: str) -> AsyncIterator[None]:
        moments.append(f"{name} begins")
        yield
        moments.append(f"{name} ends")

    hooks = Hooks(engine=lambda: noted("sampling"), gpu=lambda: noted("training"))
    store = Store(tmp_path)
    rounds = await reinforce(store, "pi", find_model(store, ""), config, hooks=hooks)
    assert moments.index("sampling begins", 1) < moments.index("training ends")
    sampled_by = [each.rollouts.manifest["config"]["policy_version"] for each in rounds]
    assert sampled_by == [None, None, "pi@v1"]
    assert [each.policy.manifest["parent"] for each in rounds[1:]] == ["pi@v1", "pi@v2"]
    before = files(store)
    again = await reinforce(store, "pi", find_model(store, ""), config)
    assert [str(each.policy) for each in again] == [str(each.policy) for each in rounds]
    assert files(store) == before


def test_without_a_quota_two_rounds_would_ask_the_same_problems() -> None:
    with pytest.raises(ValidationError, match=r"staleness = 1 needs rollouts\.groups"):
        RoundsConfig.model_validate({"staleness": 1, "rollouts": {"dataset": "r", "groups": None}})
