"""A bucket on a real S3-compatible server, and what it was asked."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3  # type: ignore[import-untyped]
import pytest

from storage import places
from tests.ports import free_port

SERVER = Path(__file__).with_name("server.py")


@dataclass
class S3:
    """A server with an empty bucket for each test."""

    url: str
    log: Path

    def new_bucket(self) -> str:
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def client(self) -> Any:
        return boto3.client("s3", endpoint_url=self.url)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """The server knows nobody: it refuses every request."""
        self._ask_for_users(True)
        try:
            yield
        finally:
            self._ask_for_users(False)

    def _ask_for_users(self, asks: bool) -> None:
        allowed = b"0" if asks else b"inf"
        header = {"Content-Type": "text/plain"}
        urlopen(Request(f"{self.url}/moto-api/reset-auth", allowed, header)).close()

    def requests(self) -> list[str]:
        """Every request so far, as method, path and query."""
        return self.log.read_text().splitlines()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    port = free_port()
    log = tmp_path_factory.mktemp("s3") / "requests.log"
    log.touch()
    command = [sys.executable, str(SERVER), "127.0.0.1", str(port), str(log)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield S3(f"http://127.0.0.1:{port}", log)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def s3(s3_server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server, its credentials in the environment, and an empty folder for mirrors."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server.url,
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "kept-out-of-every-file",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "TIRGEN_BUCKET_PATIENCE": "20",
        places.VARIABLE: str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    places.mirrors.cache_clear()
    yield s3_server
    places.mirrors.cache_clear()
