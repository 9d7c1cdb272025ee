"""The commands where nothing is up, and what they must not cost the others."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import run


def test_the_command_line_does_not_import_prefect() -> None:
    probe = "import sys, flows.cli; print([m for m in sys.modules if m.split('.')[0] == 'prefect'])"
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_guardian_imports_nothing_that_is_slow() -> None:
    probe = "import sys, tirgen.guardian; print({'prefect', 'asyncio'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_nothing_is_up_in_a_new_store(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["status", "--store", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert not list(tmp_path.iterdir())


def test_taking_down_nothing_is_no_failure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["down", "--store", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"stopped": []}


def neighbouring_sockets() -> tuple[socket.socket, socket.socket]:
    """Two sockets on a port and the next one; other tests take ports at the same time."""
    while True:
        first, second = socket.socket(), socket.socket()
        first.bind(("127.0.0.1", 0))
        try:
            second.bind(("127.0.0.1", first.getsockname()[1] + 1))
        except OSError:
            first.close()
            second.close()
        else:
            return first, second


@pytest.mark.parametrize("which", [0, 1])
def test_a_port_that_somebody_else_has_is_named_and_nothing_is_started(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, which: int
) -> None:
    first, second = neighbouring_sockets()
    with first, second:
        port = first.getsockname()[1]
        (first, second)[which].listen()
        (second, first)[which].close()
        code = run(["up", "--store", str(tmp_path), "--port", str(port), "--json"])
    error = json.loads(capsys.readouterr().out)["error"]
    assert (code, error["kind"]) == (1, "service")
    assert f"port {port + which}, where" in error["message"]
    assert "tirgen up --port" in error["hint"]
    assert not list(tmp_path.iterdir())
