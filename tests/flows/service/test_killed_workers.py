"""A machine that dies in the middle of generate and of rl, twice; nobody touches the runs."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from storage.datasets import Store
from tests.flows.service.comparing import committed, rows, undisturbed, weights
from tests.flows.service.stack import Stack, descendants, wait_until

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

GENERATION = {"dataset": "killed", "problems": {"limit": 200}, "attempts": 2, "cot_samples": 1}
ROUNDS = {
    "rounds": 2,
    "rollouts": {
        "dataset": "killed-round",
        "problems": {"path": "pocket:train", "limit": 32},
        "groups": 6,
        "samples": 4,
    },
    "update": {"updates": 12, "optimizer": {"learning_rate": 1e-4}},
}


def test_runs_whose_workers_are_killed_end_as_if_undisturbed(stack: Stack, tmp_path: Path) -> None:
    """Worker and flow process die at once: in generate, in rollouts, then in an update."""
    doomed = {"killed": stack.process("worker-cpu"), "killed-round": stack.process("worker-gpu")}
    learning = stack.start("rl", {"parent": "", "policy": "killed", "config": ROUNDS})
    generating = stack.start("generate", {"config": GENERATION, "shard_problems": 50})
    wait_until(lambda: all_killed(stack, doomed), 300, stack.tails)
    lost = committed(stack.store, "killed")
    stack.tirgen("up")  # workers again, as a machine's service manager would
    assert not Store(stack.store).versions("killed")
    assert not Store(stack.store).versions("killed-round")

    worker = stack.process("worker-gpu")
    wait_until(lambda: steps(stack.store) >= 2, 420, stack.tails)
    kill(worker)
    taken = steps(stack.store)
    stack.tirgen("up")
    assert taken < 12
    assert not weights(stack.store, "killed")

    assert stack.finish(generating, 420)["state_type"] == "COMPLETED", stack.tails()
    assert stack.finish(learning, 600)["state_type"] == "COMPLETED", stack.tails()
    assert (stack.run(generating)["run_count"], stack.run(learning)["run_count"]) == (2, 3)
    assert f"reused {lost}" in stack.artifacts(generating)["killed-summary"]
    assert rows(stack.store, "killed") == undisturbed(GENERATION, tmp_path)
    assert weights(stack.store, "killed") == trained_undisturbed(tmp_path)


def all_killed(stack: Stack, doomed: dict[str, int]) -> bool:
    """Kill each worker as soon as its dataset has rows; True when none is left."""
    for dataset, worker in list(doomed.items()):
        if committed(stack.store, dataset):
            kill(worker)
            del doomed[dataset]
    return not doomed


def kill(worker: int) -> None:
    """A worker, its flow process and all that started, at once."""
    for pid in [worker, *descendants(worker)]:
        with suppress(ProcessLookupError):  # it ended by itself meanwhile
            os.kill(pid, signal.SIGKILL)


def steps(store: Path) -> int:
    """Optimiser steps that the first update has reported."""
    histories = sorted((store / "policies" / "killed" / "work").glob("*/history.jsonl"))
    return len(histories[0].read_text().splitlines()) if histories else 0


def trained_undisturbed(folder: Path) -> list[str]:
    """The weights of the same rounds without a service, in a store of its own."""
    from flows.service.forms import filled_in
    from flows.service.policy_flows import RoundsForm
    from flows.training.models import find_model
    from flows.training.rounds import reinforce
    from flows.training.settings import rounds_settings

    store = Store(folder)
    model, chosen = find_model(store, ""), filled_in(RoundsForm.model_validate(ROUNDS))
    config = rounds_settings(model.folder, "killed", None, chosen)
    asyncio.run(reinforce(store, "killed", model, config))
    return weights(folder, "killed")
