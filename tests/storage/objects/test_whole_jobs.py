"""Whole jobs on a bucket, each command on its own machine: only the bucket is shared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage import places
from storage.datasets import Store
from storage.policies import Policies
from tests.flows.service.stack import Stack
from tests.ports import free_port
from tests.storage.objects.conftest import S3

pytestmark = pytest.mark.slow
GENERATE = ("generate", "--dataset", "demo", "--limit", "24", "--json")


@pytest.fixture
def tirgen(s3: S3, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a command as on the named machine, with a mirror of its own."""
    address = f"s3://{s3.new_bucket()}/store"

    def start(machine: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "flows", *arguments, "--store", address],
            env=os.environ | {places.VARIABLE: str(tmp_path / machine)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def test_a_killed_generation_goes_on_elsewhere_and_every_job_reads_it(
    tirgen: Callable[..., subprocess.Popen[str]], s3: S3, tmp_path: Path
) -> None:
    def run(machine: str, *arguments: str) -> Any:
        """What the command prints as JSON; no command may print a traceback."""
        process = tirgen(machine, *arguments)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, output + errors
        assert "Traceback" not in errors
        return json.loads(output) if "--json" in arguments else output

    def rows(machine: str, view: str) -> int:
        query = f"select count(distinct trajectory_id) as n, count(*) as all_rows from {view}"
        [found] = run(machine, "sql", query, "--json")
        assert found["n"] == found["all_rows"]
        return int(found["n"])

    killed = tirgen("first", *GENERATE)
    while rows("reader", "running") == 0:
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.2)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    made = run("second", *GENERATE)
    assert made["reused_rows"] > 0
    assert made["made_now"] > 0
    assert rows("reader", "trajectories") > 0
    assert rows("reader", "running") == 0

    assert run("second", "dataset", "curate", "demo", "--set", "filters.minimum_calls=2", "--json")
    run("reader", "dataset", "export", "demo@v1", str(tmp_path / "rows.jsonl"))
    assert (tmp_path / "rows.jsonl").read_text().count("\n") > 0
    run("third", "dataset", "tag", "demo@v1", "good")
    run("third", "policy", "sft", "demo@good", "--policy", "pupil")
    small = ("problems.limit=8", "groups=null", "samples=4")
    settings = [part for each in small for part in ("--set", f"rollouts.{each}")]
    run("first", "policy", "rl", "pupil", "--rounds", "1", "--set", "update.updates=1", *settings)
    run("second", "eval", "pupil", "--bench", "pocket:test", "--limit", "4")
    [found] = run("reader", "sql", "select count(*) as n from policies", "--json")
    assert found["n"] == 2
    run("reader", "dataset", "check")
    run("reader", "dataset", "gc", "--dry-run")
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if secret in path.read_bytes()]


FEW = {"path": "pocket:train", "limit": 40}
SMALL: dict[str, dict[str, Any]] = {
    "generate": {"config": {"dataset": "tir", "problems": FEW, "attempts": 1, "cot_samples": 0}},
    "curate": {"dataset": "tir", "config": {"filters": {"minimum_calls": 1}}},
    "sft": {"dataset": "tir", "policy": "pupil", "config": {"epochs": 1}},
    "rl": {
        "parent": "pupil",
        "policy": "pupil",
        "config": {
            "rounds": 1,
            "rollouts": {
                "problems": {**FEW, "limit": 8},
                "samples": 4,
                "groups": None,
                "branches": None,
            },
            "update": {"updates": 1},
        },
    },
    "evaluate": {
        "policy": "pupil",
        "config": {"benchmarks": [{"path": "pocket:test", "limit": 4}], "samples": 1},
    },
}
"""Small parameters of the deployments of the service."""


def test_the_flows_of_the_service_work_on_a_bucket(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generate, curate, fine-tune, reinforce, evaluate, as runs on real workers."""
    address = f"s3://{s3.new_bucket()}/store"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    service = Stack(Path(address), free_port(), {"PREFECT_WORKER_QUERY_SECONDS": "2"})
    try:
        service.tirgen("up")
        [secret] = tmp_path.glob("state/tirgen/*/service/secret")
        service.auth = secret.read_text().strip()
        made: dict[str, str] = {}
        for name, parameters in SMALL.items():
            made[name] = run_id = service.start(name, parameters)
            done = service.finish(run_id, 400)
            assert done["state_type"] == "COMPLETED", service.logs(run_id)
        shown = service.artifacts(made["evaluate"])
        assert str(tmp_path) not in str(shown), "a mirror's folder means nothing to a reader"
    finally:
        service.tirgen("down")
    store = Store(Path(address))
    assert {one.dataset for one in store.datasets()} == {"tir", "pupil-rollouts", "evaluation"}
    assert [str(one) for one in Policies(store.root).all()] == ["pupil@v1", "pupil@v2"]


def test_the_viewer_writes_the_pages_of_a_bucket(
    tirgen: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    for command in (
        ("generate", "--dataset", "demo", "--limit", "4"),
        ("view", "demo", "--bundle", str(tmp_path / "site")),
        ("report", "demo", "-o", str(tmp_path / "report.html")),
    ):
        process = tirgen("one", *command)
        assert process.communicate(timeout=300)[1] is not None
        assert process.returncode == 0
    assert (tmp_path / "site" / "trajectories" / "index.html").stat().st_size > 0


LOOP = (
    *("rl.rollouts.problems.limit=8", "rl.rollouts.groups=null", "rl.rollouts.samples=4"),
    *("rl.update.updates=1", "evaluation.samples=2", "evaluation.analysis.pass_at=[1,2]"),
    *("evaluation.analysis.best_of=2", 'evaluation.benchmarks=[{"path":"pocket:test","limit":6}]'),
)


def test_the_whole_loop_runs_on_a_bucket(
    tirgen: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    settings = [part for setting in LOOP for part in ("--set", setting)]
    small = ("--policy", "pi", "--limit", "12", "--rounds", "1", "--out", str(tmp_path / "out"))
    process = tirgen("one", "improve", *small, *settings, "--json")
    output, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    assert json.loads(output)["policy"] == "pi@v2"
    assert (tmp_path / "out" / "stages.svg").stat().st_size > 0
