"""What orchestration costs: one generation as the Prefect flow against the same without Prefect."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import Figures, Result, narrate
from flows.service.home import HOST, Home
from flows.service.place import STORE_VARIABLE
from flows.service.processes import Process, Processes

CLAIM = "A generate flow takes at most 1.10 times the time of the same generation without Prefect."
LIMIT_RATIO = 1.10
PORT = 4291
TICKS = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """What one side took, imports included."""

    wall: float
    cpu: float
    """Of the process, its children and, for the flow, the server, in seconds."""


def run(quick: bool) -> Result:
    """Both sides in turns, against one server that was up before."""
    problems, rounds = (200, 1) if quick else (2000, 2)
    taken: dict[str, list[Cost]] = {"plain": [], "flow": []}
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as (home, server):
        for number in range(rounds):
            for side, costs in taken.items():
                store = Path(folder) / f"{side}-{number}"
                costs.append(_measure(side, problems, store, home, server))
                narrate(f"round {number + 1}: {side} {costs[-1].wall:.1f} s wall")
    ratios = [f.wall / p.wall for f, p in zip(taken["flow"], taken["plain"], strict=True)]
    cpu = [f.cpu / p.cpu for f, p in zip(taken["flow"], taken["plain"], strict=True)]
    wall_ratio = statistics.median(ratios)
    return Result(
        ours={
            "wall_ratio": round(wall_ratio, 3),
            "cpu_ratio": round(statistics.median(cpu), 3),
            "worst_wall_ratio": round(max(ratios), 3),
            **_figures(taken["flow"]),
        },
        peers={"tirgen generate without Prefect": _figures(taken["plain"])},
        reached=wall_ratio <= LIMIT_RATIO,
        note=(
            f"{rounds} rounds of {problems} pocket problems, one attempt each, in shards of 200; "
            "whole processes, imports included, the server up before; the CPU of the flow counts "
            "the server's too, until 10 s after the end"
        ),
    )


def _figures(costs: list[Cost]) -> Figures:
    return {
        "wall_s": round(statistics.median(cost.wall for cost in costs), 2),
        "cpu_s": round(statistics.median(cost.cpu for cost in costs), 2),
    }


def _measure(side: str, problems: int, store: Path, home: Home, server: Process) -> Cost:
    environment = {**os.environ, **home.client_environment(), STORE_VARIABLE: str(store)}
    started, cpu, served = time.monotonic(), _children_cpu(), _cpu_of(server)
    command = [sys.executable, "-m", "benchmarks._flow_run", side, str(problems), str(store)]
    subprocess.run(command, env=environment, check=True, stdout=sys.stderr)
    wall = time.monotonic() - started
    own = _children_cpu() - cpu
    if side == "flow":
        time.sleep(10)  # the server digests events after the run has ended
        own += _cpu_of(server) - served
    return Cost(wall, own)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_of(process: Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def _server(folder: Path) -> Iterator[tuple[Home, Process]]:
    """A Prefect server with the settings of `tirgen up`, warm."""
    home = Home(folder / "service", PORT)
    processes = Processes(home.folder)
    command = ["-m", "prefect", "server", "start", "--host", HOST, "--port", str(PORT)]
    server = processes.start(
        "server", [sys.executable, *command], home.server_environment(), home.ui_url
    )
    try:
        while not _answers(home):
            time.sleep(0.5)
            if not server.lives:
                raise RuntimeError(processes.log("server").read_text()[-2000:])
        yield home, server
    finally:
        server.stop()


def _answers(home: Home) -> bool:
    try:
        with urllib.request.urlopen(f"{home.api_url}/health", timeout=5):
            return True
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False
