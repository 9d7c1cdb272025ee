"""What becomes of a run when engine, sandbox, disk or server fails, or another does the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.service.home import ServiceInstance
from storage.datasets import Store
from tests.flows.service.comparing import committed, rows, undisturbed
from tests.flows.service.served import engine, sandbox, served_at
from tests.flows.service.stack import Stack, wait_until
from tests.ports import free_port

pytestmark = pytest.mark.slow

BRIEF = {"problems": {"limit": 60}, "attempts": 1, "cot_samples": 0}


def test_an_engine_that_goes_down_fails_the_run_and_the_next_one_goes_on(
    stack: Stack, tmp_path: Path
) -> None:
    port = free_port()
    with engine(tmp_path / "engine.log", port) as base_url:
        served = served_at(base_url, max_tries=1, patience_minutes=0.1)
        settings = {
            "dataset": "outage", "actor": served, "critic": served, "prompts": "pocket",
            "live_trajectories": 8, **BRIEF,
        }  # fmt: skip
        run_id = stack.start("generate", {"config": settings, "patience_minutes": 0})
        wait_until(lambda: committed(stack.store, "outage") >= 10, 180, stack.tails)
    assert stack.finish(run_id, 120)["state_type"] == "FAILED"
    wait_until(
        lambda: (
            "next: what is committed stays; remove the cause and run again" in stack.logs(run_id)
        ),
        30,
    )
    assert "trajectories in a row were lost to infrastructure" in stack.logs(run_id)
    assert not Store(stack.store).versions("outage")
    with engine(tmp_path / "engine.log", port):
        again = stack.start("generate", {"config": settings})
        assert stack.finish(again, 240)["state_type"] == "COMPLETED", stack.tails()
        assert "and reused 0 in" not in stack.artifacts(again)["outage-summary"]
        assert rows(stack.store, "outage") == undisturbed(settings, tmp_path)


def test_a_sandbox_that_goes_down_is_waited_for(stack: Stack, tmp_path: Path) -> None:
    port = free_port()
    settings = {
        **BRIEF, "dataset": "unboxed", "problems": {"limit": 120},
        "sandbox": {"services": [f"http://127.0.0.1:{port}"]},
    }  # fmt: skip
    with sandbox(tmp_path / "sandbox.log", port):
        run_id = stack.start("generate", {"config": settings})
        wait_until(lambda: committed(stack.store, "unboxed"), 180, stack.tails)
    wait_until(lambda: waits(stack, run_id), 180, stack.tails)
    assert not Store(stack.store).versions("unboxed")
    with sandbox(tmp_path / "sandbox.log", port):
        assert stack.finish(run_id, 240)["state_type"] == "COMPLETED", stack.tails()
        assert rows(stack.store, "unboxed") == undisturbed(settings, tmp_path)


def waits(stack: Stack, run_id: str) -> bool:
    """A shard is to be tried again."""
    chosen = {"flow_runs": {"id": {"any_": [run_id]}}}
    found = stack.ask("/task_runs/filter", chosen)
    return any(task["state_name"] == "AwaitingRetry" for task in found)


def test_a_restarted_server_finds_two_runs_of_one_dataset_where_they_were(
    stack: Stack, tmp_path: Path
) -> None:
    """The second waits for the first, and finds that all is done."""
    server = stack.process("server")
    settings = {**BRIEF, "dataset": "twice", "problems": {"limit": 120}}
    runs = [stack.start("generate", {"config": settings}) for _ in range(2)]
    wait_until(lambda: committed(stack.store, "twice"), 180, stack.tails)
    os.kill(server, signal.SIGKILL)
    assert not Store(stack.store).versions("twice")
    assert not stack.tirgen("up")["found_server"]
    ended = [stack.finish(run_id, 300) for run_id in runs]
    assert [run["state_name"] for run in ended] == ["Completed", "Completed"], stack.tails()
    assert [str(v) for v in Store(stack.store).versions("twice")] == ["twice@v1"]
    assert rows(stack.store, "twice") == undisturbed(settings, tmp_path)
    pages = [stack.artifacts(run_id)["twice-summary"] for run_id in runs]
    assert sum("All 120 trajectories were made before." in page for page in pages) == 1


RUN = """
import asyncio, json, sys
from flows.service.dataset_flows import generate
asyncio.run(generate(config=json.loads(sys.argv[1]), patience_minutes=0))
"""
FULL_DISK = """
mount -t tmpfs -o size=16m none "$TIRGEN_STORE"
head -c $((16 * 1024 * 1024 - ROOM)) /dev/zero > "$TIRGEN_STORE/ballast"
"$@" && exit 3
cp -r "$TIRGEN_STORE/datasets" "$OUT/full"
rm "$TIRGEN_STORE/ballast"
"$@" || exit 4
cp -r "$TIRGEN_STORE/datasets" "$OUT/mended"
"""


def test_a_full_disk_fails_the_run_and_with_more_room_it_goes_on(
    stack: Stack, tmp_path: Path
) -> None:
    """On a disk of its own, in this process's place of a worker's."""
    settings = {"dataset": "cramped", **BRIEF, "problems": {"limit": 240}}
    done = on_a_small_disk(stack, settings, tmp_path)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "No space left on device" in done.stdout
    assert "next: what is committed stays; free some space and run again" in done.stdout
    assert not list((tmp_path / "full").glob("cramped/versions/v*"))
    before = len(list((tmp_path / "full").glob("cramped/runs/*/batches/*.parquet")))
    assert before, "some rows were committed before the disk was full"
    (tmp_path / "copy").mkdir()
    shutil.move(tmp_path / "mended", tmp_path / "copy" / "datasets")
    assert rows(tmp_path / "copy", "cramped") == undisturbed(settings, tmp_path / "free")


def on_a_small_disk(
    stack: Stack, settings: dict[str, Any], folder: Path
) -> subprocess.CompletedProcess[str]:
    """The flow twice: on a full disk, which must fail, and with room, which must not."""
    store = folder / "disk"
    store.mkdir()
    environment = ServiceInstance(stack.store, stack.port).client_environment() | {
        "TIRGEN_STORE": str(store), "OUT": str(folder), "ROOM": "600000",
    }  # fmt: skip
    flow = [sys.executable, "-c", RUN, json.dumps(settings)]
    namespaces = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
    if subprocess.run(["unshare", *namespaces, "true"], check=False).returncode:
        pytest.skip("needs a mount of its own: root, or user namespaces")
    return subprocess.run(
        ["unshare", *namespaces, "sh", "-euc", FULL_DISK, "sh", *flow],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
