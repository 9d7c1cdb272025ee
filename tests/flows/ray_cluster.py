"""A Ray cluster of node processes on this machine, which tests start and kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.ports import free_port
from tirgen.process import descendants
from tirgen.sockets.secret import new_secret

START = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1"]
AGENTS = ("dashboard-agent-grpc", "dashboard-agent-listen", "metrics-export", "runtime-env-agent")


class Node:
    """The processes of one node: its raylet, its agents, its workers."""

    def __init__(self, environment: dict[str, str], log: Path, *arguments: str) -> None:
        """Its agents get ports beforehand: a raylet waits 15 seconds only for those they choose."""
        self._log = log
        ports = [word for name in AGENTS for word in (f"--{name}-port", str(free_port()))]
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [*START, *ports, *arguments], env=environment, stdout=out, stderr=out
            )

    def wait_until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not ready():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.2)

    def wait_started(self) -> None:
        self.wait_until(lambda: "Ray runtime started" in self._log.read_text())

    def pids(self) -> set[int]:
        return {self._process.pid, *(one.pid for one in descendants(self._process.pid))}

    def kill(self) -> set[int]:
        """SIGKILL for every process at once, as when the machine loses its power."""
        killed = self.pids()
        for pid in killed:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
        self._process.wait()
        return killed


class RayCluster:
    """A head and a second node, each with one CPU; both ask for a token."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": new_secret(),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        port, client = free_port(), free_port()
        self.url = f"ray://127.0.0.1:{client}"
        self.head = Node(
            self.environment, folder / "head.log", "--head", "--port", str(port),
            "--ray-client-server-port", str(client), "--include-dashboard", "false",
            "--temp-dir", str(folder),
        )  # fmt: skip
        try:
            self.head.wait_started()
            self.second = Node(
                self.environment, folder / "second.log", "--address", f"127.0.0.1:{port}"
            )
        except BaseException:
            self.head.kill()
            raise

    def kill(self) -> None:
        self.second.kill()
        self.head.kill()


@contextmanager
def ray_cluster(folder: Path) -> Iterator[RayCluster]:
    """Two nodes that run; `folder` has a short path, since sockets are below it."""
    cluster = RayCluster(folder)
    try:
        cluster.second.wait_started()
        yield cluster
    finally:
        cluster.kill()
