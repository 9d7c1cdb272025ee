"""Training on the real worker of the gpu pool: the chain by events, and what ends with a run."""

from __future__ import annotations

import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from stack import Stack, descendants, wait_until

from storage.datasets import Store
from storage.policies import Policies

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

SMALL = {"problems": {"limit": 60}, "attempts": 1, "cot_samples": 0}


def test_a_schedule_leads_to_an_evaluated_policy_with_nobody_touching_it(stack):
    """Schedule, dataset version, SFT, evaluation."""
    switch(stack, "tirgen: fine-tune on a published version", on=True)
    switch(stack, "tirgen: evaluate a fine-tuned policy", on=True)
    few = {"config": {"benchmarks": [{"path": "pocket:test", "limit": 20}], "samples": 1}}
    evaluation = stack.deployment("evaluate")["id"]
    stack.ask(f"/deployments/{evaluation}", {"parameters": few}, "PATCH")
    schedule = schedule_soon(stack, {"config": {"dataset": "nightly", **SMALL}})
    try:
        wait_until(lambda: Store(stack.store).versions("evaluation"), 400, stack.tails)
    finally:
        stack.ask(schedule, method="DELETE")
        switch(stack, "tirgen: fine-tune on a published version", on=False)
        switch(stack, "tirgen: evaluate a fine-tuned policy", on=False)
    policy = Policies(stack.store).version("policy")
    assert policy.manifest["dataset"] == str(Store(stack.store).version("nightly", "v1"))
    made = Store(stack.store).version("evaluation").manifest["config"]
    assert made["policy_version"] == str(policy)
    assert made["policy"]["model"] == str(policy.path)


def test_rounds_of_rl_are_one_run(stack):
    make_dataset(stack)
    fine_tuned = stack.start("sft", {"dataset": "lesson", "policy": "pupil"})
    assert stack.finish(fine_tuned, 240)["state_type"] == "COMPLETED", stack.tails()
    rollouts = {"dataset": "round", "problems": {"path": "pocket:train", "limit": 16}, "samples": 4}
    run_id = stack.start(
        "rl",
        {
            "parent": "pupil@v1",
            "policy": "pupil",
            "config": {"rounds": 2, "rollouts": rollouts, "update": {"updates": 1}},
        },
    )
    assert stack.finish(run_id, 300)["state_type"] == "COMPLETED", stack.tails()
    policy = Policies(stack.store).version("pupil@v3")
    assert policy.manifest["parent"] == "pupil@v2"
    assert policy.manifest["dataset"] == "round@v2"
    assert policy.manifest["metrics"]["sampler_gap"] < 0.05
    [step] = stack.table(run_id, "pupil-steps")
    assert step["step"] == 1


def test_a_cancelled_run_leaves_no_process(stack):
    run_id, started = training_for_long(stack)
    state = {"state": {"type": "CANCELLING"}, "force": False}
    stack.ask(f"/flow_runs/{run_id}/set_state", state)
    wait_until(lambda: not any(map(lives, started)), 90, stack.tails)
    assert stack.finish(run_id, 60)["state_type"] == "CANCELLED"


def test_a_run_whose_flow_process_is_killed_leaves_no_process(stack):
    run_id, started = training_for_long(stack)
    os.kill(started[0], signal.SIGKILL)
    wait_until(lambda: not any(map(lives, started)), 60, stack.tails)
    state = {"state": {"type": "CANCELLED"}, "force": True}
    stack.ask(f"/flow_runs/{run_id}/set_state", state)


def training_for_long(stack: Stack) -> tuple[str, list[int]]:
    """A run under way, and the processes it started below the worker, its own first."""
    make_dataset(stack)
    [worker] = [one["pid"] for one in stack.tirgen("status") if one["process"] == "worker-gpu"]
    before = set(descendants(worker))
    run_id = stack.start("sft", {"dataset": "lesson", "config": {"epochs": 100_000}})
    wait_until(lambda: trainers(worker), 120, stack.tails)
    return run_id, [pid for pid in descendants(worker) if pid not in before]


def make_dataset(stack: Stack) -> None:
    if not Store(stack.store).versions("lesson"):
        run_id = stack.start("generate", {"config": {"dataset": "lesson", **SMALL}})
        assert stack.finish(run_id, 240)["state_type"] == "COMPLETED", stack.tails()


def trainers(worker: int) -> list[int]:
    """Processes that train and have been at it for long enough to have threads of their own."""
    return [pid for pid in descendants(worker) if command_of(pid)[1:3] == ["-m", "trainer.job"]]


def command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def lives(pid: int) -> bool:
    done = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(done.stdout.strip()) and not done.stdout.startswith("Z")


def switch(stack: Stack, name: str, *, on: bool) -> None:
    [automation] = [a for a in stack.ask("/automations/filter", {}) if a["name"] == name]
    stack.ask(f"/automations/{automation['id']}", {"enabled": on}, "PATCH")


def schedule_soon(stack: Stack, parameters: dict[str, Any]) -> str:
    """A schedule of `generate` that fires once, after the scheduler's next round, which comes
    every minute; returns its address."""
    soon = (datetime.now(UTC) + timedelta(seconds=75)).isoformat()
    schedule = {"interval": 86_400, "anchor_date": soon}
    path = f"/deployments/{stack.deployment('generate')['id']}/schedules"
    body = [{"schedule": schedule, "active": True, "parameters": parameters, "slug": "soon"}]
    [made] = stack.ask(path, body)
    return f"{path}/{made['id']}"
