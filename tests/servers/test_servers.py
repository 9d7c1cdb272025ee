"""Whole jobs on servers in processes of their own: the embedded engine and vLLM."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from safetensors.torch import load_file, save_file

from flows.training.models import find_model
from flows.training.rounds import reinforce
from flows.training.settings import RoundsConfig
from storage.datasets import Store
from tests.served_weights import served_version
from tests.servers.processes import VLLM_PYTHON, ServerProcess, running
from tirgen.embedded.local import MODEL_DIR
from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.errors import PublicationFailed
from tirgen.engine.publication import publish

pytestmark = pytest.mark.slow
SMOLLM2 = Path(__file__).parents[2] / ".models/smollm2"
needs_vllm = pytest.mark.skipif(VLLM_PYTHON is None, reason="no vLLM; use make test-vllm")
ENGINES = ["embedded", pytest.param("vllm", marks=needs_vllm)]


@pytest.fixture(scope="module", params=ENGINES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    with running(request.param, MODEL_DIR, tmp_path_factory.mktemp("server")) as started:
        yield started


def engine(server: ServerProcess) -> EngineConfig:
    return EngineConfig(
        kind="tokens", base_urls=(server.url,), model="model", tokenizer=str(server.model)
    )


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "flows", *arguments]


def generate(server: ServerProcess, store: Path, limit: int, *more: str) -> list[str]:
    url = server.url
    tokenizer = str(server.model)
    return command(
        "generate", "--dataset", "d", "--problems", "pocket:train", "--limit", str(limit),
        "--actor", url, "--actor-model", "model", "--actor-tokenizer", tokenizer,
        "--critic", url, "--critic-model", "model", "--critic-tokenizer", tokenizer,
        "--store", str(store), *more,
    )  # fmt: skip


def done(arguments: list[str], seconds: float = 600) -> str:
    """The output of a command that succeeds."""
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=seconds)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return ran.stdout


def row(store: Path, sql: str) -> dict[str, Any]:
    [found] = json.loads(done(command("sql", sql, "--store", str(store), "--json")))
    return dict(found)


def post(url: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
    data = json.dumps(document or {}).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.loads(answer.read() or b"{}"))


def test_it_conforms(server: ServerProcess) -> None:
    suite = Path(__file__).parents[1] / "embedded/test_conformance.py"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(suite)],
        env=os.environ | {"TIRGEN_CONFORMANCE_URL": server.url},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]


def test_a_dataset_is_generated(server: ServerProcess, tmp_path: Path) -> None:
    done(generate(server, tmp_path, 8))
    found = row(
        tmp_path,
        "select count(*) as n, count(*) filter (correct) as n_right, "
        "bool_and(exact_tokens) as exact from trajectories",
    )
    assert found["n"] >= 8
    assert found["n_right"] >= 4
    assert found["exact"]


def test_a_policy_is_evaluated(server: ServerProcess, tmp_path: Path) -> None:
    found = done(
        command(
            "eval", "--engine", server.url, "--engine-model", "model", "--engine-tokenizer",
            str(server.model), "--bench", "pocket:test", "--limit", "12", "--store",
            str(tmp_path), "--json", "--set", "prompts=pocket",
        )
    )  # fmt: skip
    [result] = json.loads(found)["results"]
    assert result["lost"] == 0


def test_two_rounds_of_rl_are_published_into_it(server: ServerProcess, tmp_path: Path) -> None:
    store = Store(tmp_path)
    config = RoundsConfig.model_validate(
        {
            "rounds": 2,
            "rollouts": {
                "policy": engine(server).model_dump(),
                "prompts": "pocket",
                "problems": {"path": "pocket:train", "limit": 8},
                "samples": 6,
                "groups": None,
                "branches": None,
            },
            "update": {"updates": 1, "optimizer": {"learning_rate": 3e-3}},
        }
    )

    async def run() -> tuple[list[float], str]:
        rounds = await reinforce(store, "pi", find_model(store, ""), config)
        gaps = [each.policy.manifest["metrics"]["sampler_gap"] for each in rounds]
        return gaps, await served_version(engine(server))

    gaps, served = asyncio.run(run())
    assert max(gaps) < 1e-3
    assert served == "pi@v1"
    asyncio.run(publish(engine(server), MODEL_DIR, "default"))


def test_a_bad_folder_is_named_and_the_old_policy_goes_on(
    server: ServerProcess, tmp_path: Path
) -> None:
    weights = "model.safetensors"
    for name in ("empty", "no weights", "cut weights"):
        folder = tmp_path / name
        shutil.copytree(MODEL_DIR, folder)
        if name == "empty":
            shutil.rmtree(folder)
            folder.mkdir()
        elif name == "no weights":
            (folder / weights).unlink()
        else:
            (folder / weights).write_bytes((folder / weights).read_bytes()[:1000])
        with pytest.raises(PublicationFailed, match="continues with its old policy"):
            asyncio.run(publish(engine(server), folder, "bad"))
    with urllib.request.urlopen(f"{server.root}/is_paused", timeout=10) as answer:
        assert json.loads(answer.read())["is_paused"] is False
    asked = {"model": "model", "prompt": "1", "max_tokens": 2}
    assert post(f"{server.url}/completions", asked)["choices"]


def test_doctor_sees_in_seconds_that_it_is_paused(server: ServerProcess, tmp_path: Path) -> None:
    post(f"{server.root}/pause?mode=wait")
    try:
        arguments = command(
            "doctor", "--actor", server.url, "--actor-model", "model", "--actor-tokenizer",
            str(server.model), "--store", str(tmp_path), "--json",
        )  # fmt: skip
        found = subprocess.run(arguments, capture_output=True, text=True, timeout=90)
    finally:
        post(f"{server.root}/resume")
    assert found.returncode != 0
    assert "paused" in found.stdout


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("embedded", ""),
        pytest.param("vllm", "", marks=needs_vllm),
        pytest.param("vllm", "EngineCore", marks=needs_vllm),
    ],
)
def test_a_run_outlives_the_engine(kind: str, part: str, tmp_path: Path) -> None:
    """The engine is killed under a run and started again: the run ends by itself, whole."""
    with running(kind, MODEL_DIR, tmp_path) as server:
        run = subprocess.Popen(
            generate(server, tmp_path / "store", 40, "--set", "seed=3"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not [path for path in tmp_path.rglob("batches/*") if path.stem != "empty"]:
            assert run.poll() is None, run.communicate()
            time.sleep(0.2)
        server.kill(part)
        time.sleep(3)
        server.kill()
        server.start()
        _, errors = run.communicate(timeout=600)
    assert run.returncode == 0, errors[-4000:]
    found = row(
        tmp_path / "store",
        "select count(distinct problem_id) as problems, "
        "count(*) filter (ending like '%engine%') as lost from trajectories",
    )
    assert found == {"problems": 40, "lost": 0}


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.skipif(not SMOLLM2.exists(), reason="no SmolLM2; run make smollm2")
def test_weights_with_a_tied_head_are_replaced_whole(kind: str, tmp_path: Path) -> None:
    """Log-probabilities after a publication are those of the new folder, head included."""
    changed = tmp_path / "changed"
    shutil.copytree(SMOLLM2, changed)
    weights = load_file(changed / "model.safetensors")
    weights["model.embed_tokens.weight"] *= 1.05
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()  # as the trainer does
    save_file(weights, changed / "model.safetensors", {"format": "pt"})
    asked = {
        "model": "model", "prompt": "Two plus two is", "max_tokens": 8, "temperature": 0,
        "logprobs": 0, "ignore_eos": True,
    }  # fmt: skip

    def scores(server: ServerProcess) -> list[float]:
        [choice] = post(f"{server.url}/completions", asked)["choices"]
        return [float(value) for value in choice["logprobs"]["token_logprobs"]]

    with running(kind, SMOLLM2, tmp_path) as server:
        old = scores(server)
        asyncio.run(publish(engine(server), changed, "changed"))
        published = scores(server)
    with running(kind, changed, tmp_path) as server:
        fresh = scores(server)
    assert published == pytest.approx(fresh, abs=1e-4)
    assert published != pytest.approx(old, abs=1e-3)
