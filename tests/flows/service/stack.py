"""A real service for tests: `tirgen up` on a free port, and its API as JSON over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tirgen.sockets.rule import basic
from tirgen.sockets.secret import read_secret

TIRGEN = [sys.executable, "-m", "flows"]
FINAL = {"COMPLETED", "FAILED", "CANCELLED"}
"""A crashed run is not at its end: it is resumed."""
BUSY = 503
SLOWNESS = 4
"""How many times slower than a quiet one the machine may be before a wait is given up."""


@dataclass
class Stack:
    """One store, its server and its workers."""

    store: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    auth: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tirgen(self, *arguments: str) -> Any:
        """The JSON document that a command prints."""
        port = ["--port", str(self.port)] if arguments[0] == "up" else []
        done = subprocess.run(
            [*TIRGEN, *arguments, *port, "--store", str(self.store), "--json"],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """What the API answers."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/api{path}", data, {"Content-Type": "application/json"}, method=method
        )
        if login := self.auth or self.secret():
            request.add_header("Authorization", basic(login))
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    content = answer.read()
                return json.loads(content) if content else None
            except urllib.error.HTTPError as refused:
                if refused.code != BUSY:
                    raise
                with refused:  # SQLite was locked, and nothing is written: clients ask again
                    time.sleep(1)

    def secret(self) -> str | None:
        """The ``user:password`` that `tirgen up` made."""
        return read_secret(self.store / "service" / "secret")

    def deployment(self, name: str) -> dict[str, Any]:
        [found] = [d for d in self.ask("/deployments/filter", {}) if d["name"] == name]
        return dict(found)

    def start(self, name: str, parameters: dict[str, Any]) -> str:
        """Start a run of a deployment; returns its id."""
        path = f"/deployments/{self.deployment(name)['id']}/create_flow_run"
        return str(self.ask(path, {"parameters": parameters})["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        return dict(self.ask(f"/flow_runs/{run_id}"))

    def finish(self, run_id: str, seconds: float) -> dict[str, Any]:
        """Wait for the run's end, and return it."""
        wait_until(lambda: self.run(run_id)["state_type"] in FINAL, seconds, self.tails)
        return self.run(run_id)

    def cancel(self, run_id: str) -> None:
        """What the UI's Cancel does."""
        state = {"state": {"type": "CANCELLING"}, "force": False}
        self.ask(f"/flow_runs/{run_id}/set_state", state)

    def reach(self, run_id: str, state: str, seconds: float) -> None:
        """Wait until the run is in a state on its way."""
        wait_until(lambda: self.run(run_id)["state_name"] == state, seconds, self.tails)

    def logs(self, run_id: str) -> str:
        """What the run has said, oldest first."""
        chosen = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC"}
        return "\n".join(line["message"] for line in self.ask("/logs/filter", chosen))

    def process(self, name: str) -> int:
        """The id of a process that `tirgen up` started."""
        [found] = [one["pid"] for one in self.tirgen("status") if one["process"] == name]
        return int(found)

    def artifacts(self, run_id: str) -> dict[str, Any]:
        """What the run left, by key."""
        chosen = {"artifacts": {"flow_run_id": {"any_": [run_id]}}}
        found = self.ask("/artifacts/filter", chosen)
        return {artifact["key"]: artifact["data"] for artifact in found}

    def table(self, run_id: str, key: str) -> list[dict[str, Any]]:
        """The rows of a table that the run left."""
        rows: list[dict[str, Any]] = json.loads(self.artifacts(run_id)[key])
        return rows

    def tails(self) -> str:
        """The ends of all logs."""
        logs = sorted((self.store / "service" / "logs").glob("*"))
        return "\n".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in logs)


def wait_until(
    condition: Callable[[], Any], seconds: float, explain: Callable[[], str] = str
) -> None:
    """Until the condition holds; fails the test with an explanation when it never does.

    `seconds` are those of a quiet machine.
    """
    deadline = time.monotonic() + SLOWNESS * seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s\n{explain()}"
        time.sleep(0.5)


def descendants(root: int) -> list[int]:
    """All processes below one."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], check=True, capture_output=True, text=True)
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    found, queue = [], [root]
    while queue:
        parent = queue.pop()
        below = [pid for pid, its_parent in pairs if its_parent == parent]
        found += below
        queue += below
    return found


def command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
