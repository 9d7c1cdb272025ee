"""Jobs spread over workers, of which one is killed with all that it started."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flows.service.home import ServiceInstance
from flows.service.stack import worker_command
from storage.calls import calls
from storage.datasets import Store
from tests.flows.service.comparing import committed, rows, undisturbed
from tests.flows.service.stack import Stack, descendants, wait_until
from tests.jobs.generating import comparable
from tirgen.jobs.evaluate import evaluate
from tirgen.jobs.evaluate_config import EvaluationConfig

pytestmark = pytest.mark.slow

GENERATION = {"dataset": "spread", "problems": {"limit": 200}, "attempts": 2, "cot_samples": 1}


def test_shards_of_a_killed_worker_go_on_elsewhere(stack: Stack, tmp_path: Path) -> None:
    settings = ServiceInstance(stack.store, stack.port).client_environment()
    with (tmp_path / "second.log").open("wb") as log:
        second = subprocess.Popen(
            [sys.executable, *worker_command("shards")],
            env={**os.environ, **settings}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        parameters = {"config": GENERATION, "shard_problems": 50, "spread": 2}
        run = stack.start("generate", parameters)
        wait_until(lambda: committed(stack.store, "spread") >= 20, 300, stack.tails)
        doomed = [second.pid, *descendants(second.pid)]
        for pid in doomed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        second.wait()
        assert stack.finish(run, 600)["state_type"] == "COMPLETED", stack.tails()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(second.pid, signal.SIGKILL)
        second.wait()
    assert [version.version for version in Store(stack.store).versions("spread")] == ["v1"]
    assert rows(stack.store, "spread") == undisturbed(GENERATION, tmp_path)
    [folder] = (stack.store / "datasets" / "spread" / "runs").iterdir()
    assert sum(call.progress["trajectories"] > 0 for call in calls(folder)) >= 4


def test_an_evaluation_is_spread_too(stack: Stack, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "dataset": "spread-eval",
        "benchmarks": [{"path": "pocket:test", "limit": 52}],
        "samples": 16,
        "loop": {"tokens": 200},
    }
    run = stack.start("evaluate", {"config": settings, "spread": 2})
    assert stack.finish(run, 600)["state_type"] == "COMPLETED", stack.tails()
    config, alone = EvaluationConfig.model_validate(settings), Store(tmp_path)
    asyncio.run(evaluate(config, alone))
    made, wanted = (
        [comparable(row) for row in store.version(config.dataset).read()]
        for store in (Store(stack.store), alone)
    )
    assert made == wanted
    [folder] = (stack.store / "datasets" / config.dataset / "runs").iterdir()
    assert len({call.pid for call in calls(folder) if call.progress["trajectories"]}) == 2
