"""A full `tirgen up`, sandbox and pocket against a web page of another origin: it reads nothing,
runs nothing, and no name that it points at loopback helps. Whoever has the link gets in.
"""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from storage.datasets import Store
from tests.flows.service.browser import Browser, chromium
from tests.flows.service.served import engine, sandbox
from tests.flows.service.stack import Stack
from tests.ports import free_port
from tests.rows import row

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


@contextmanager
def hostile_page() -> Iterator[str]:
    """Its address, on another loopback address than everything of ours."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(HERE))
    server = ThreadingHTTPServer(("127.0.0.2", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.2:{server.server_port}/hostile.html"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def targets(stack: Stack, sandbox_url: str, pocket_url: str, marker: Path) -> dict[str, Any]:
    """Everything worth asking, with all that only a friend could know but the secret."""
    api = f"{stack.url}/api"
    run = f"{api}/deployments/{stack.deployment('generate')['id']}/create_flow_run"
    command = json.dumps({"job_variables": {"command": f"touch {marker}"}})
    snippet = json.dumps({"code": f"open({str(marker)!r}, 'w')"})
    prompt = json.dumps({"model": "pocket", "prompt": "1", "max_tokens": 1})
    pages = f"http://127.0.0.1:{stack.port + 1}"
    return {
        "post": [
            (run, command),
            (f"{api}/flow_runs/filter", "{}"),
            (f"{api}/deployments/filter", "{}"),
            (f"{sandbox_url}/run_code", snippet),
            (f"{sandbox_url}/run_batch", json.dumps({"items": [json.loads(snippet)]})),
            (f"{sandbox_url}/sessions", "{}"),
            (f"{pocket_url}/v1/completions", prompt),
            (f"{pocket_url}/pause?mode=wait", "{}"),
        ],
        "get": [
            f"{api}/admin/settings", f"{api}/csrf-token?client=x", f"{stack.url}/ui-settings",
            f"{pages}/trajectories/{row().trajectory_id}", f"{pocket_url}/v1/models",
            f"{pocket_url}/metrics", f"{sandbox_url}/metrics",
        ],
        "sockets": [
            f"{path}".replace("http", "ws", 1)
            for path in (f"{api}/events/out", f"{api}/events/in", f"{api}/logs/out")
        ],
    }  # fmt: skip


def test_a_page_of_another_origin_reads_nothing_and_runs_nothing(
    stack: Stack, tmp_path: Path
) -> None:
    Store(stack.store).open_run("strangers", {}, "c0ffee").publish([row()], {})
    sandbox_port, pocket_port = free_port(), free_port()
    marker = tmp_path / "ran"
    with (
        sandbox(tmp_path / "sandbox.log", sandbox_port, "--floor", "posix"),
        engine(tmp_path / "pocket.log", pocket_port),
        hostile_page() as page,
        chromium() as browser,
    ):
        log_in(browser, stack)
        urls = [f"http://127.0.0.1:{port}" for port in (sandbox_port, pocket_port)]
        browser.open(page)
        before = stack.ask("/flow_runs/count", {})
        browser.run("attack(arguments[0])", targets(stack, urls[0], urls[1], marker))
        browser.wait_until("got.done", 300)
        got = browser.run("return got")
        assert stack.ask("/flow_runs/count", {}) == before
        with urllib.request.urlopen(f"{urls[1]}/is_paused") as answer:
            assert json.load(answer) == {"is_paused": False}
    assert got["sent"] > 100
    assert got["read"] == []
    assert not marker.exists()


def log_in(browser: Browser, stack: Stack) -> None:
    """What a user does, so that whatever a browser sends by itself is there to be sent."""
    browser.enter(stack.tirgen("up")["link"])
    browser.open(f"http://127.0.0.1:{stack.port + 1}/trajectories/{row().trajectory_id}")
    browser.wait_for("verifier")


def test_a_name_that_is_pointed_at_loopback_is_refused(stack: Stack) -> None:
    with chromium() as browser:
        for port, path in ((stack.port, "/api/health"), (stack.port, "/"), (stack.port + 1, "/")):
            browser.open(f"http://evil.example:{port}{path}")
            assert "does not have that host name" in browser.text()


def test_a_link_opens_once_and_the_password_always(stack: Stack) -> None:
    link = stack.tirgen("up")["link"]
    assert str(stack.secret()).partition(":")[2] not in link
    with chromium() as browser:
        browser.open(stack.url)
        browser.wait_for("Login")
        browser.enter(link)
    with chromium() as browser:
        browser.open(link)
        browser.wait_for("This link was used or is too old.")


@pytest.mark.parametrize("path", ["/flow_runs/filter", "/deployments/filter", "/logs/filter"])
def test_who_knows_no_secret_is_refused(stack: Stack, path: str) -> None:
    request = urllib.request.Request(
        f"{stack.url}/api{path}", b"{}", {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    with refused.value as answer:
        assert answer.code == 401


def test_everything_listens_on_loopback_only(stack: Stack) -> None:
    own = socket.gethostbyname(socket.gethostname())
    if own.startswith("127."):
        pytest.skip("this machine has no other address")
    for port in (stack.port, stack.port + 1):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((own, port), 5).close()
