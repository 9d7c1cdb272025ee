"""A service with a password, a hosted engine's key and a webhook: none is to be found anywhere."""

from __future__ import annotations

import json
import threading
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.flows.service.served import engine, served_at
from tests.flows.service.stack import Stack, wait_until
from tests.ports import free_port

pytestmark = pytest.mark.slow

PASSWORD, KEY, TOKEN = "planted-password-1", "planted-key-2", "planted-token-3"


class Inbox(ThreadingHTTPServer):
    """Takes notifications."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.messages: list[tuple[str, dict[str, str]]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.messages.append((self.path, json.loads(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        return


@contextmanager
def serving(server: Inbox) -> Iterator[Inbox]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_no_secret_is_written_down_and_drifting_and_failed_runs_notify(tmp_path: Path) -> None:
    with serving(Inbox()) as inbox, engine(tmp_path / "engine.log", free_port()) as base_url:
        environment = {
            "TIRGEN_SERVICE_AUTH": f"tirgen:{PASSWORD}",
            "TIRGEN_SERVICE_NOTIFY": f"http://127.0.0.1:{inbox.server_port}/hook/{TOKEN}",
            "TIRGEN_TEST_KEY": KEY,
        }
        stack = Stack(tmp_path / "store", free_port(), environment, f"tirgen:{PASSWORD}")
        stack.tirgen("up")
        try:
            run_id = stack.start("generate", drifting(base_url))
            run = stack.finish(run_id, 300)
            assert run["state_name"] == "Drifting", stack.tails()
            absent = {"config": {"dataset": "absent", "problems": {"path": "/absent.jsonl"}}}
            failed = stack.start("generate", absent)
            assert stack.finish(failed, 120)["state_type"] == "FAILED"
            wait_until(lambda: len(inbox.messages) == 2, 60, stack.tails)
            said = json.dumps([stack.artifacts(run_id), stack.ask("/logs/filter", {}), run])
            refuse_strangers(stack)
        finally:
            stack.tirgen("down")
    assert all(TOKEN in path for path, _ in inbox.messages), "the address that was planted"
    drift, failure = (message for _, message in inbox.messages)
    assert drift["title"] == "watched@v1 is drifting"
    assert "were kept (at least 100.0% wanted)" in drift["text"]
    assert failure["title"] == "generate absent failed"
    assert "/absent.jsonl" in failure["text"]
    for secret in (PASSWORD, KEY, TOKEN):
        assert secret not in said
        assert not found_in(tmp_path / "store", secret)


def drifting(base_url: str) -> dict[str, object]:
    """A small run that is to keep more than it can."""
    served = served_at(base_url, api_key_env="TIRGEN_TEST_KEY")
    config = {
        "dataset": "watched", "problems": {"limit": 20}, "attempts": 1, "cot_samples": 1,
        "actor": served, "critic": served, "prompts": "pocket",
    }  # fmt: skip
    return {"config": config, "alarm": {"least_kept_share": 1.0}}


def refuse_strangers(stack: Stack) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        Stack(stack.store, stack.port).ask("/flow_runs/filter", {})
    with refused.value as answer:
        assert answer.code == 401


def found_in(folder: Path, secret: str) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.suffix == ".db" for path in files)
    return [path for path in files if secret.encode() in path.read_bytes()]
