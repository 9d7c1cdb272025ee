"""The service with its history in PostgreSQL instead of SQLite."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.flows.service.stack import Stack, wait_until
from tests.ports import free_port

pytestmark = pytest.mark.slow

PASSWORD = "planted-password-4"


def test_the_history_of_runs_lies_in_postgresql(tmp_path: Path) -> None:
    with database() as address:
        stack = Stack(tmp_path, free_port(), {"TIRGEN_SERVICE_DATABASE": address})
        stack.tirgen("up")
        try:
            config = {"dataset": "kept", "problems": {"limit": 20}, "attempts": 1}
            run_id = stack.start("generate", {"config": config})
            assert stack.finish(run_id, 180)["state_type"] == "COMPLETED", stack.tails()
            assert "kept-summary" in stack.artifacts(run_id)
            assert stack.tirgen("up")["found_server"]
        finally:
            stack.tirgen("down")
    files = [path for path in (tmp_path / "service").rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix == ".db"]
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]


@contextmanager
def database() -> Iterator[str]:
    """The address of an empty database, whose server ends with the block."""
    if shutil.which("initdb") is None:
        pytest.skip("needs PostgreSQL's initdb and postgres on the path")
    # Not pytest's folder, which only its owner may enter: the server refuses to run as root.
    with tempfile.TemporaryDirectory() as folder:
        secret, data = Path(folder) / "password", Path(folder) / "data"
        secret.write_text(PASSWORD)
        owner = unprivileged(Path(folder))
        made = ["--auth=scram-sha-256", f"--pwfile={secret}", "--username=prefect", "--no-sync"]
        subprocess.run(
            ["initdb", *made, data], user=owner, check=True, capture_output=True, cwd=folder
        )
        port = free_port()
        server = subprocess.Popen(
            ["postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder],
            user=owner, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            ready = ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, 60)
            yield f"postgresql+asyncpg://prefect:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait(60)


def unprivileged(folder: Path) -> int:
    """Who runs the server and owns the folder: not root."""
    owner = os.geteuid() or pwd.getpwnam("nobody").pw_uid
    for path in (folder, *folder.iterdir()):
        os.chown(path, owner, -1)
    return owner
