"""Training on the real worker of the gpu pool: the chain by events, and what ends with a run."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage.datasets import Store
from storage.policies import Policies
from tests.flows.service.stack import Stack, command_of, descendants, wait_until

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

SMALL = {"problems": {"limit": 60}, "attempts": 1, "cot_samples": 0}


CHAIN = [
    "fine-tune on a published version",
    "evaluate a fine-tuned policy",
    "reinforce a fine-tuned policy",
]


def test_a_schedule_leads_to_an_evaluated_policy_with_nobody_touching_it(stack: Stack) -> None:
    """Schedule, dataset version, SFT, evaluation; and RL begins, where it is asked for."""
    few = {"config": {"benchmarks": [{"path": "pocket:test", "limit": 20}], "samples": 1}}
    evaluation = stack.deployment("evaluate")["id"]
    stack.ask(f"/deployments/{evaluation}", {"parameters": few}, "PATCH")
    schedule = schedule_soon(stack, {"config": {"dataset": "lesson", **SMALL}})
    with switched_on(stack, CHAIN):
        wait_until(lambda: runs_of(stack, "rl"), 400, stack.tails)
        [reinforcing] = runs_of(stack, "rl")
        stack.cancel(reinforcing["id"])
        wait_until(lambda: Store(stack.store).versions("evaluation"), 200, stack.tails)
    stack.ask(schedule, method="DELETE")
    policy = Policies(stack.store).version("policy")
    assert policy.manifest["dataset"] == str(Store(stack.store).version("lesson@v1"))
    made = Store(stack.store).version("evaluation").manifest["config"]
    assert made["policy_version"] == str(policy)
    assert made["policy"]["model"] == str(policy.path)
    assert reinforcing["parameters"]["parent"] == str(policy)
    assert stack.finish(reinforcing["id"], 120)["state_type"] == "CANCELLED"


def runs_of(stack: Stack, name: str) -> list[dict[str, Any]]:
    """Runs of a deployment that an automation started."""
    chosen = {"deployments": {"name": {"any_": [name]}}}
    found = stack.ask("/flow_runs/filter", chosen)
    return [run for run in found if run["created_by"] and run["created_by"]["type"] == "AUTOMATION"]


def test_a_run_that_is_refused_trains_nothing(stack: Stack) -> None:
    """It waits for a word, and neither a worker's slot nor a process waits with it."""
    make_dataset(stack)
    run_id = stack.start("sft", {"dataset": "lesson", "policy": "refused", "ask_first": True})
    assert "Train from lesson@v1?" in question(stack, run_id)
    answer(stack, run_id, {"train": "perhaps"}, accepted=False)
    answer(stack, run_id, {"train": False, "note": "too few of level 5"})
    run = stack.finish(run_id, 120)
    assert (run["state_name"], run["state"]["message"]) == (
        "Refused", "not to train from lesson@v1: too few of level 5",
    )  # fmt: skip
    assert not Policies(stack.store).versions("refused")


def question(stack: Stack, run_id: str) -> str:
    """What a run that is suspended shows above its form."""
    stack.reach(run_id, "Suspended", 180)
    worker = stack.process("worker-gpu")
    wait_until(lambda: not descendants(worker), 60, stack.tails)
    page = str(stack.ask(f"/flow_runs/{run_id}/input/suspended-approval-description"))
    assert "| `infrastructure` | 60 |" in page, "every row enters the first rule"
    return page


def answer(stack: Stack, run_id: str, form: dict[str, Any], *, accepted: bool = True) -> None:
    """What the form of the UI's Resume button sends."""
    said = stack.ask(f"/flow_runs/{run_id}/resume", {"run_input": form})
    assert (said["status"] == "ACCEPT") is accepted, said


def test_the_whole_wheel_is_one_run_which_goes_on_when_it_is_told_to(stack: Stack) -> None:
    few = {"path": "pocket:train", "limit": 60}
    config = {
        "policy": "wheel",
        "generate": {"problems": few, "attempts": 1, "cot_samples": 0},
        "sft": {"epochs": 1, "optimizer": {"learning_rate": 1e-4}},
        "rl": {
            "rounds": 1,
            "rollouts": {
                "problems": {**few, "limit": 16},
                "samples": 4,
                "groups": None,
                "branches": None,
            },
            "update": {"updates": 2, "optimizer": {"learning_rate": 1e-4}},
        },
        "evaluation": {"benchmarks": [{"path": "pocket:test", "limit": 10}], "samples": 1},
        "correction": None,
    }
    run_id = stack.start("improve", {"config": config, "ask_first": True})
    assert "Train from wheel-tir@v1?" in question(stack, run_id)
    answer(stack, run_id, {"train": True})
    assert stack.finish(run_id, 420)["state_type"] == "COMPLETED", stack.tails()
    assert Policies(stack.store).version("wheel@v2").manifest["parent"] == "wheel@v1"
    shown = stack.artifacts(run_id)
    for stage in ("base, chain of thought", "fine-tuned", "after RL"):
        assert f"# {stage}" in shown["wheel-stages"]
    _, led_to = shown["wheel-tir-lineage"].split("## Led to")
    assert "wheel@v1" in led_to
    made_from, _ = shown["wheel-policy-lineage"].split("## Led to")
    assert all(name in made_from for name in ("wheel@v1", "wheel-rollouts@v1", "wheel-tir@v1"))


def test_a_cancelled_run_of_two_processes_leaves_none(stack: Stack) -> None:
    run_id, started = training_for_long(stack, processes=2)
    stack.cancel(run_id)
    wait_until(lambda: not any(map(lives, started)), 90, stack.tails)
    assert stack.finish(run_id, 60)["state_type"] == "CANCELLED"


def test_a_run_whose_flow_process_is_killed_leaves_no_process(stack: Stack) -> None:
    run_id, started = training_for_long(stack)
    os.kill(started[0], signal.SIGKILL)
    wait_until(lambda: not any(map(lives, started)), 60, stack.tails)
    state = {"state": {"type": "CANCELLED"}, "force": True}
    stack.ask(f"/flow_runs/{run_id}/set_state", state)


def training_for_long(stack: Stack, processes: int = 1) -> tuple[str, list[int]]:
    """A run under way, and the processes it started below the worker, its own first."""
    make_dataset(stack)
    worker = stack.process("worker-gpu")
    before = set(descendants(worker))
    config = {"epochs": 100_000, "seed": processes}
    wanted = {"dataset": "lesson", "config": config, "processes": processes}
    run_id = stack.start("sft", wanted)
    wait_until(lambda: len(trainers(worker)) == processes, 180, stack.tails)
    return run_id, [pid for pid in descendants(worker) if pid not in before]


def make_dataset(stack: Stack) -> None:
    if not Store(stack.store).versions("lesson"):
        run_id = stack.start("generate", {"config": {"dataset": "lesson", **SMALL}})
        assert stack.finish(run_id, 240)["state_type"] == "COMPLETED", stack.tails()


def trainers(worker: int) -> list[int]:
    """Processes that train; under torchrun, its workers."""
    return [pid for pid in descendants(worker) if trains(command_of(pid))]


def trains(command: list[str]) -> bool:
    """Neither torchrun nor a guardian, which name the trainer among their arguments."""
    options = [word for word in command[1:4] if word != "-u"]
    return options[:2] == ["-m", "trainer.job"]


def lives(pid: int) -> bool:
    done = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(done.stdout.strip()) and not done.stdout.startswith("Z")


@contextmanager
def switched_on(stack: Stack, automations: list[str]) -> Iterator[None]:
    for name in automations:
        switch(stack, name, on=True)
    try:
        yield
    finally:
        for name in automations:
            switch(stack, name, on=False)


def switch(stack: Stack, name: str, *, on: bool) -> None:
    found = stack.ask("/automations/filter", {})
    [automation] = [one for one in found if one["name"] == f"tirgen: {name}"]
    stack.ask(f"/automations/{automation['id']}", {"enabled": on}, "PATCH")


def schedule_soon(stack: Stack, parameters: dict[str, Any]) -> str:
    """A schedule of `generate` that fires once, after the scheduler's next round; returns its
    address."""
    soon = (datetime.now(UTC) + timedelta(seconds=20)).isoformat()
    schedule = {"interval": 86_400, "anchor_date": soon}
    path = f"/deployments/{stack.deployment('generate')['id']}/schedules"
    body = [{"schedule": schedule, "active": True, "parameters": parameters, "slug": "soon"}]
    [made] = stack.ask(path, body)
    return f"{path}/{made['id']}"
