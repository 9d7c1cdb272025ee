"""Servers as processes that a test can kill and start again: the embedded engine and vLLM."""

from __future__ import annotations

import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.ports import free_port

VLLM_PYTHON = os.environ.get("TIRGEN_VLLM_PYTHON")
"""The interpreter of an environment with vLLM; `make test-vllm` sets it."""
VLLM_FLAGS = (
    "--dtype", "float32", "--max-model-len", "2048", "--generation-config", "vllm",
    "--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192",
    "--max-num-seqs", "64",
)  # fmt: skip
"""Chunked prefill crashes vLLM 0.32 on a processor when requests have seeds."""
VLLM_ENVIRONMENT = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
START_SECONDS = 300


class ServerProcess:
    """One server on a port of its own, which it keeps when it is started again."""

    def __init__(self, kind: str, model: Path, log: Path) -> None:
        self.kind, self.model, self._log = kind, model, log
        self._port = free_port()
        self._process: psutil.Popen | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    def start(self) -> None:
        """Returns when the server answers."""
        with self._log.open("ab") as log:
            self._process = psutil.Popen(
                self._command(), env=os.environ | VLLM_ENVIRONMENT, stdout=log, stderr=log
            )
        ends = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > ends:
                raise AssertionError(self._log.read_text()[-4000:])
            time.sleep(0.5)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.root}/health", timeout=5) as answer:
                return int(answer.status) == 200
        except (urllib.error.URLError, OSError):
            return False

    def kill(self, part: str = "") -> None:
        """SIGKILL the process whose command line has `part`, by default the whole tree."""
        assert self._process is not None
        family: list[psutil.Process] = [self._process]
        with suppress(psutil.NoSuchProcess):  # it was killed before
            family += self._process.children(recursive=True)
        for each in family:
            with suppress(psutil.NoSuchProcess):
                if not part or part in " ".join([each.name(), *each.cmdline()]):
                    each.kill()
        if not part:
            psutil.wait_procs(family, 30)

    def _command(self) -> list[str]:
        shared = ["--port", str(self._port)]
        if self.kind == "embedded":
            options = ["serve", str(self.model), "--name", "model", "--context", "2048"]
            return [sys.executable, "-m", "flows", *options, *shared]
        assert VLLM_PYTHON is not None
        module = ["-m", "vllm.entrypoints.openai.api_server", "--served-model-name", "model"]
        return [VLLM_PYTHON, *module, "--model", str(self.model), *VLLM_FLAGS, *shared]


@contextmanager
def running(kind: str, model: Path, folder: Path) -> Iterator[ServerProcess]:
    """A server during the block; its output is in `folder`."""
    server = ServerProcess(kind, model, folder / f"{kind}.log")
    try:
        server.start()
        yield server
    finally:
        server.kill()
