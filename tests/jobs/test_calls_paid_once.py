"""Jobs that are killed with many trajectories in progress, and what they ask their engine again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from storage.datasets import Store
from storage.journal import JOURNAL
from storage.records import Trajectory
from tests.jobs.counting_engine import CountingEngine, counting
from tests.jobs.generating import DATASET, command, comparable, served_at

PROBLEMS = 24


def kill_after(requests: int, started: list[str], engine: CountingEngine) -> None:
    """Run a command and kill it once it has sent this many requests."""
    process = subprocess.Popen(
        started, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wanted, deadline = engine.asked.total() + requests, time.monotonic() + 120
    while engine.asked.total() < wanted:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def journals(store: Store) -> list[Path]:
    return list(store.root.glob(f"datasets/*/runs/*/{JOURNAL}/*"))


def paid(row: Trajectory) -> tuple[int, ...]:
    cost = row.cost
    return (
        cost.actor_calls, cost.actor_prompt_tokens, cost.actor_completion_tokens,
        cost.critic_calls, cost.critic_prompt_tokens, cost.critic_completion_tokens,
    )  # fmt: skip


def test_a_killed_generation_asks_again_at_most_what_was_in_flight(
    tmp_path: Path, pocket_url: str, sandbox_url: str
) -> None:
    """One request of each trajectory. Rows and costs are those of a run that nobody killed."""
    asked = {
        "problems.limit": PROBLEMS,
        "attempts": 1,
        "cot_samples": 1,
        "live_trajectories": PROBLEMS,
    }
    found = {}
    for name, kills in (("straight", ()), ("killed", (70, 90))):
        store = Store(tmp_path / name)
        with counting(pocket_url, 0.3) as engine:
            started = command(store.root, {**asked, **served_at(pocket_url, "pocket", sandbox_url)})
            started = [word.replace(pocket_url, engine.url) for word in started]
            for requests in kills:
                kill_after(requests, started, engine)
                assert journals(store)
            done = subprocess.run(started, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert engine.repeated <= PROBLEMS * len(kills)
        assert not journals(store)
        rows = list(store.version(DATASET).read())
        assert len(rows) == len({row.key for row in rows})
        found[name] = {row.key: (comparable(row), paid(row)) for row in rows}
        for row in rows:
            assert row.cost.wall_seconds >= row.cost.llm_seconds - 0.01
    assert found["killed"] == found["straight"]
