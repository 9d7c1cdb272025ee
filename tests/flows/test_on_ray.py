"""Jobs on Ray: two real nodes, one of them killed while it works; and what goes wrong."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from flows.cli import run
from flows.on_ray import OnRay
from storage.calls import calls
from storage.datasets import Store
from storage.leases import LEASES, holders
from tests.flows.ray_cluster import Node, ray_cluster
from tests.jobs import writing_policy
from tests.jobs.counting_engine import counting
from tests.jobs.generating import DATASET, command, committed, comparable, served_at
from tirgen.jobs.evaluate import SpreadEvaluation
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.progress import unwatched
from tirgen.jobs.rollout import SpreadRollouts
from tirgen.jobs.spreading import here

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed (the extra `ray`)"
)
PROBLEMS = 48


def working(store: Store, node: Node, dataset: str = DATASET) -> bool:
    """A process of the node holds a shard, and has committed rows of it."""
    pids = node.pids()
    return any(
        call.pid in pids and call.progress.get("trajectories", 0) > 2
        for folder in (store.root / "datasets" / dataset / "runs").glob("*")
        if any(holder.pid in pids for holder in holders(folder / LEASES).values())
        for call in calls(folder)
    )


@needs_ray
@pytest.mark.slow
def test_the_shards_of_a_killed_node_go_on_elsewhere(
    tmp_path: Path, pocket_url: str, sandbox_url: str
) -> None:
    """Nothing is lost and nothing doubled; only calls in flight on the dead node are repeated."""
    asked: dict[str, object] = {"problems.limit": PROBLEMS, "attempts": 2, "cot_samples": 1}
    straight = Store(tmp_path / "straight")
    settings = asked | served_at(pocket_url, "pocket", sandbox_url)
    subprocess.run(command(straight.root, settings), check=True, capture_output=True)
    store = Store(tmp_path / "ray")
    with (
        TemporaryDirectory(prefix="ray-") as short,
        counting(pocket_url, 0.5) as engine,
        ray_cluster(Path(short)) as cluster,
    ):
        started = command(store.root, asked | served_at(engine.url, "pocket", sandbox_url))
        started += ["--on", cluster.url, "--shard-problems", "12"]
        with subprocess.Popen(
            started, env=cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            deadline = time.monotonic() + 200
            while not working(store, cluster.second):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            before, killed = len(committed(store)), cluster.second.kill()
            out, err = process.communicate()
        assert process.returncode == 0, err.decode()
        assert engine.repeated <= PROBLEMS
    report = json.loads(out)
    [version] = store.versions(DATASET)
    assert (report["version"], report["settled"]) == (version.version, PROBLEMS)
    [folder] = (store.root / "datasets" / DATASET / "runs").iterdir()
    dead = [call for call in calls(folder) if call.pid in killed]
    assert any(call.progress["trajectories"] and not call.ended for call in dead)
    made = list(version.read())
    assert before < len(made) == len({row.key for row in made}) == len(committed(store))
    expected = straight.version(DATASET).read()
    assert [comparable(row) for row in made] == [comparable(row) for row in expected]


@needs_ray
@pytest.mark.slow
async def test_rollouts_and_an_evaluation_on_ray_are_those_of_one_process(
    tmp_path: Path, pocket_url: str, sandbox_url: str
) -> None:
    """A round with both quotas, in waves; a node is killed in the midst of it."""
    texts = replace(writing_policy.WRITER, name="texts")  # a worker knows no set of this process
    problems = writing_policy.write_steps(tmp_path / "steps.jsonl", 40)
    fixed: dict[str, Any] = {"prompts": texts, "sandbox": {"services": [sandbox_url]}, "samples": 4}
    fixed["live_rollouts"] = 3  # so that a shard lasts

    def served(url: str) -> dict[str, Any]:
        return fixed | {"policy": {"kind": "tokens", "base_urls": [url], "model": "pocket"}}

    def rollouts(url: str, store: Path) -> SpreadRollouts:
        branches = {"samples": 4, "suffix_tokens": 3, "tokens": 200, "groups": 3}
        asked = writing_policy.settings(problems, **served(url), groups=14, branches=branches)
        return SpreadRollouts(asked, Store(store))

    def evaluation(url: str, store: Path) -> SpreadEvaluation:
        bench = [{"path": str(problems)}]
        asked = EvaluationConfig.model_validate({**served(url), "benchmarks": bench})
        return SpreadEvaluation(asked, Store(store))

    alone = tmp_path / "alone"
    straight = await here(rollouts(pocket_url, alone), unwatched)
    measured = await here(evaluation(pocket_url, alone), unwatched)
    with (
        TemporaryDirectory(prefix="ray-") as short,
        counting(pocket_url, 0.3) as engine,
        ray_cluster(Path(short)) as cluster,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED"):
            patch.setenv(name, cluster.environment[name])
        job = rollouts(engine.url, tmp_path / "ray")
        with OnRay(cluster.url, 12) as place:
            working_on = asyncio.create_task(place(job, unwatched))
            deadline = time.monotonic() + 200
            while not working(job.store, cluster.second, job.config.dataset):
                assert not working_on.done(), await working_on
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
            killed = cluster.second.kill()
            made = await working_on
            evaluated = await place(evaluation(engine.url, tmp_path / "ray"), unwatched)
    assert job.run is not None
    noted = calls(job.run.folder)
    assert any(call.pid in killed and not call.ended for call in noted)
    assert len({call.pid for call in noted}) > 2
    rows = [writing_policy.comparable(row) for row in made.version.read()]
    assert rows == [writing_policy.comparable(row) for row in straight.version.read()]
    assert (made.levels, made.full, made.next_start) == (
        straight.levels, straight.full, straight.next_start,
    )  # fmt: skip
    assert evaluated.mean_accuracy == measured.mean_accuracy
    assert evaluated.version.samples == measured.version.samples == 160


def failing(
    capsys: pytest.CaptureFixture[str], *arguments: str, command: Sequence[str] = ("generate",)
) -> tuple[int, str, str]:
    code = run([*command, "--limit", "2", "--json", *arguments])
    error = json.loads(capsys.readouterr().out)["error"]
    return code, error["message"], error["hint"]


@pytest.mark.parametrize("address", ["http://head:10001", "ray://head", "ray://me:key@head:1"])
def test_an_address_of_another_kind_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, address: str
) -> None:
    code, message, _ = failing(capsys, "--on", address, "--store", str(tmp_path))
    assert code == 2
    assert "ray://HOST:PORT" in message
    assert "key" not in message


@pytest.mark.parametrize("command", ["generate", "eval"])
def test_one_shard_and_all_shards_exclude_each_other(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    options = ["--on", "ray", "--shard", "1/2", "--store", str(tmp_path)]
    code, message, _ = failing(capsys, *options, command=[command])
    assert code == 2
    assert "one of the two" in message


def test_no_shard_loads_a_policy_into_a_server_that_others_sample(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = [
        "--engine",
        "http://127.0.0.1:9/v1",
        "--engine-model",
        "m",
        "--shard",
        "1/2",
        "--store",
        str(tmp_path),
    ]
    code, message, _ = failing(capsys, *options, command=["eval", "thor@v3"])
    assert code == 2
    assert "policy_version" in message


def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None; from flows.cli import run; run(sys.argv[1:])"
    arguments = ["generate", "--limit", "2", "--on", "ray", "--json", "--store", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "prerequisite"
    assert "tirgen[ray]" in error["hint"]
    assert not list(tmp_path.iterdir())


@needs_ray
def test_an_address_that_does_not_answer_is_said_at_once(tmp_path: Path) -> None:
    arguments = ["generate", "--limit", "2", "--on", "ray://127.0.0.1:9", "--store", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "flows", *arguments, "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 4
    assert "no Ray cluster at ray://127.0.0.1:9" in error["message"]
    assert "ray start --head" in error["hint"]
