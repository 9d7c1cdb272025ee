"""`tirgen view`: the viewer itself, started by the command and asked over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.cli import run
from storage.datasets import Store
from tests.rows import row


@pytest.fixture
def store(tmp_path: Path) -> Path:
    rows = [row(f"p{number}", attempt) for number in range(3) for attempt in range(4)]
    Store(tmp_path / "store").open_run("d", {}, "h").publish(rows, {})
    return tmp_path / "store"


@contextmanager
def view(store: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The command and what it told; killed at the end, if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "flows", "view", "d@v1", "--store", str(store), "--json"],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_interruptible,
    ) as process:
        assert process.stdout
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def _interruptible() -> None:
    """Where the tests run as a background job of a shell, it would ignore interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def get(url: str, cookie: str = "") -> str:
    request = urllib.request.Request(url, headers={"Cookie": cookie})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


def enter(link: str) -> str:
    """What a browser does with the link: the cookie it then has."""
    address, _, code = link.partition("#")
    body = json.dumps({"code": code}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.headers["Set-Cookie"]).partition(";")[0]


def viewers(folder: str) -> list[int]:
    """Processes that serve logs of this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == folder:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_the_viewer_serves_the_best_and_the_worst_until_it_is_interrupted(store: Path) -> None:
    with view(store) as (process, told):
        assert (told["trajectories"], told["logs"]) == (6, 1)
        for stranger in ("", "tirgen-viewer=guess"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                get(f"{told['url']}/api/logs", stranger)
        cookie = enter(told["link"])
        assert "<title>Inspect View</title>" in get(told["url"], cookie)
        [log] = json.loads(get(f"{told['url']}/api/logs", cookie))["files"]
        [viewer] = psutil.Process(process.pid).children()
        folder = viewer.cwd()
        assert viewers(folder)
        assert log["name"] == "file:///d-v1/01-d-v1-tirgen.eval", "not where it lies for now"
        name = urllib.parse.quote(log["name"], safe="")
        size = json.loads(get(f"{told['url']}/api/log-size/{name}", cookie))
        assert size == Path(folder, "d-v1", "01-d-v1-tirgen.eval").stat().st_size
        [header] = json.loads(get(f"{told['url']}/api/log-headers?file={name}", cookie))
        assert header["eval"]["task"] == "d@v1 tirgen"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert not viewers(folder)
    assert not Path(folder).exists()


def test_the_viewer_ends_with_a_command_that_is_killed(store: Path) -> None:
    with view(store) as (process, told):
        process.kill()
    for _ in range(100):
        try:
            get(told["url"])
        except urllib.error.HTTPError:
            time.sleep(0.1)
        except OSError:
            return
        time.sleep(0.1)
    pytest.fail("it still answers")


def test_a_taken_port_is_told(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run(["view", "d@v1", "--store", str(store), "--port", port]) == 1
        assert f"port {port} is taken" in capsys.readouterr().err


def test_a_bundle_is_a_folder_of_pages(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["view", "d@v1", "--store", str(store), "--where", "attempt = 0", "--json"]
    assert run([*asked, "--bundle", str(tmp_path / "site")]) == 0
    site = tmp_path / "site"
    assert json.loads(capsys.readouterr().out) == {
        "trajectories": 3,
        "logs": 1,
        "bundle": str(site),
    }
    assert (site / "index.html").is_file()
    assert (site / "logs" / "01-d-v1-tirgen.eval").is_file()
    pages = site / "trajectories"
    links = re.findall(r'<a href="([^"]+)"', (pages / "index.html").read_text())
    assert len(links) == 3
    assert all((pages / link).is_file() for link in links)
    assert run([*asked, "--bundle", str(site)]) == 2


def test_nothing_to_see_is_not_found(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["view", "d", "--where", "attempt > 9", "--store", str(store)]) == 3
    assert "no trajectory meets the condition" in capsys.readouterr().err
