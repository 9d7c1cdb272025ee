"""A machine that dies in the middle of generate and of rl, twice; nobody touches the runs."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import pytest
from comparing import committed, rows, undisturbed, weights
from stack import Stack, descendants, wait_until

from storage.datasets import Store

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

GENERATION = {"dataset": "killed", "problems": {"limit": 200}, "attempts": 2, "cot_samples": 1}
ROUNDS = {
    "rounds": 2,
    "rollouts": {
        "dataset": "killed-round",
        "problems": {"path": "pocket:train", "limit": 32},
        "samples": 4,
    },
    "update": {"updates": 12, "optimizer": {"learning_rate": 1e-4}},
}


def test_runs_whose_workers_are_killed_end_as_if_undisturbed(stack, tmp_path):
    """Worker and flow process die at once: first of both pools, then of one in its update."""
    learning = stack.start("rl", {"parent": "", "policy": "killed", "config": ROUNDS})
    stack.reach(learning, "Running", 120)
    generating = stack.start("generate", {"config": GENERATION, "shard_problems": 50})
    for dataset in ("killed", "killed-round"):
        wait_until(partial(committed, stack.store, dataset), 240, stack.tails)
    kill(stack, "cpu", "gpu")
    lost = committed(stack.store, "killed")
    assert not Store(stack.store).versions("killed")
    assert not Store(stack.store).versions("killed-round")
    stack.tirgen("up")  # workers again, as a machine's service manager would

    wait_until(lambda: steps(stack.store) >= 3, 420, stack.tails)
    kill(stack, "gpu")
    assert steps(stack.store) < 12
    assert not weights(stack.store, "killed")
    stack.tirgen("up")

    assert stack.finish(generating, 420)["state_type"] == "COMPLETED", stack.tails()
    assert stack.finish(learning, 600)["state_type"] == "COMPLETED", stack.tails()
    assert (stack.run(generating)["run_count"], stack.run(learning)["run_count"]) == (2, 3)
    assert f"reused {lost}" in stack.artifacts(generating)["killed-summary"]
    assert rows(stack.store, "killed") == undisturbed(GENERATION, tmp_path)
    assert weights(stack.store, "killed") == trained_undisturbed(tmp_path)


def kill(stack: Stack, *pools: str) -> None:
    """Workers, flow processes and all they started, at once."""
    found = {one["process"]: one["pid"] for one in stack.tirgen("status")}
    for pool in pools:
        worker = found[f"worker-{pool}"]
        for pid in [worker, *descendants(worker)]:
            os.kill(pid, signal.SIGKILL)


def steps(store: Path) -> int:
    """Optimiser steps that the first update has reported."""
    histories = sorted((store / "policies" / "killed" / "work").glob("*/history.jsonl"))
    return len(histories[0].read_text().splitlines()) if histories else 0


def trained_undisturbed(folder: Path) -> list[str]:
    """The weights of the same rounds without a service, in a store of its own."""
    from flows.training.names import find_model
    from flows.training.rounds import RoundsConfig, reinforce

    store, config = Store(folder), RoundsConfig.model_validate(ROUNDS)
    asyncio.run(reinforce(store, "killed", find_model(store, ""), config))
    return weights(folder, "killed")
