"""An engine of another process, as vLLM would be, and a sandbox."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.flows.service.stack import TIRGEN, wait_until
from tirgen.embedded.models import MODEL_DIR


@contextmanager
def engine(log: Path, port: int) -> Iterator[str]:
    """Its address, while it runs; it takes any key."""
    with _served(log, port, "serve"):
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def sandbox(log: Path, port: int, *options: str) -> Iterator[None]:
    """The service of a sandbox, killed in the end."""
    with _served(log, port, "sandbox", "serve", *options):
        yield


@contextmanager
def _served(log: Path, port: int, *command: str) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*TIRGEN, *command, "--port", str(port)], stderr=output, stdout=output
        )
    try:
        wait_until(lambda: b"127.0.0.1" in log.read_bytes(), 120)
        yield
    finally:
        process.kill()
        process.wait()


def served_at(base_url: str, **settings: Any) -> dict[str, Any]:
    """That engine in a configuration."""
    return {
        "kind": "tokens", "base_urls": [base_url], "model": "pocket", "tokenizer": str(MODEL_DIR),
        **settings,
    }  # fmt: skip
