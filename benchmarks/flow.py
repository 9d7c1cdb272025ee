"""The cost of orchestration: one generation as a run of the service, and the same without it."""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import Figures, Result, narrate
from benchmarks._flow_run import config
from flows.service.home import ServiceInstance
from flows.service.processes import Process
from flows.service.stack import ServiceProcesses

CLAIM = "A generate flow takes at most 1.10 times the time of the same generation without Prefect."
LIMIT_RATIO = 1.10
PORT = 4291
TICKS = os.sysconf("SC_CLK_TCK")
IDLE_SECONDS = 30.0
"""How long the service is watched without any run, for its own CPU use."""
START_SECONDS = 30.0
"""Workers still import for a while after `up` has started them; that is not idle."""
DIGEST_SECONDS = 10.0
"""The server still handles events after a run has ended."""


class RunCost(NamedTuple):
    """What one side took."""

    wall: float
    """Of its process from start to end, imports included, in seconds."""
    cpu: float
    """Of its process and children; for the flow also of server and worker, less their idle use."""


def run(quick: bool) -> Result:
    """Both sides alternate, against one running service."""
    problems, rounds = (200, 1) if quick else (2000, 2)
    taken: dict[str, list[RunCost]] = {"plain": [], "flow": []}
    with tempfile.TemporaryDirectory() as folder:
        stack = _Stack(Path(folder))
        try:
            for number in range(rounds):
                taken["plain"].append(_plain(problems, Path(folder) / f"plain-{number}"))
                taken["flow"].append(stack.generate(problems, f"bench-{number}"))
                costs = ", ".join(
                    f"{side} {found[-1].wall:.1f} s wall {found[-1].cpu:.1f} s CPU"
                    for side, found in taken.items()
                )
                narrate(f"round {number + 1}: {costs}")
        finally:
            stack.down()
    return _result(taken, stack.idle_cores, f"{rounds} rounds of {problems} pocket problems")


def _result(taken: dict[str, list[RunCost]], idle_cores: float, size: str) -> Result:
    pairs = list(zip(taken["flow"], taken["plain"], strict=True))
    wall = statistics.median(flow.wall / plain.wall for flow, plain in pairs)
    cpu = statistics.median(flow.cpu / plain.cpu for flow, plain in pairs)
    return Result(
        ours={
            "wall_ratio": round(wall, 3),
            "cpu_ratio": round(cpu, 3),
            "worst_wall_ratio": round(max(flow.wall / plain.wall for flow, plain in pairs), 3),
            "idle_stack_cores": round(idle_cores, 4),
            **_figures(taken["flow"]),
        },
        peers={"tirgen generate without Prefect": _figures(taken["plain"])},
        reached=max(wall, cpu) <= LIMIT_RATIO,
        note=(
            f"{size}, one attempt each, in shards of 200, both sides in turns; whole processes, "
            "imports included, the stack up before; the wall time of the flow is from the worker's "
            "taking the run to the run's end, its CPU that of server, worker and flow until "
            f"{DIGEST_SECONDS:.0f} s after the end, less what the stack uses idle"
        ),
    )


def _figures(costs: Sequence[RunCost]) -> Figures:
    return {
        "wall_s": round(statistics.median(cost.wall for cost in costs), 2),
        "cpu_s": round(statistics.median(cost.cpu for cost in costs), 2),
    }


def _plain(problems: int, store: Path) -> RunCost:
    started, before = time.monotonic(), _children_cpu()
    command = [sys.executable, "-m", "benchmarks._flow_run", str(problems), str(store)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return RunCost(time.monotonic() - started, _children_cpu() - before)


class _Stack:
    """The service as `tirgen up` starts it, already warm."""

    def __init__(self, folder: Path) -> None:
        self._home = ServiceInstance(folder / "service-store", PORT)
        self._service = ServiceProcesses(self._home)
        asyncio.run(self._service.up())
        self._processes = self._service.running()
        time.sleep(START_SECONDS)
        before = self._cpu()
        time.sleep(IDLE_SECONDS)
        self.idle_cores = (self._cpu() - before) / IDLE_SECONDS

    def generate(self, problems: int, dataset: str) -> RunCost:
        """One run on a worker."""
        settings = {**config(problems).model_dump(mode="json"), "dataset": dataset}
        started, before = time.monotonic(), self._cpu()
        with self._service.settings():
            wall = asyncio.run(_run_deployment({"config": settings}))
        time.sleep(DIGEST_SECONDS)
        idle = self.idle_cores * (time.monotonic() - started)
        return RunCost(wall, self._cpu() - before - idle)

    def down(self) -> None:
        asyncio.run(self._service.down())

    def _cpu(self) -> float:
        return sum(map(_cpu_of, self._processes))


async def _run_deployment(parameters: dict[str, Any]) -> float:
    """Seconds from the moment a worker takes a run of `generate` to its end."""
    from prefect import get_client
    from prefect.deployments import arun_deployment

    run = await arun_deployment("generate/generate", parameters=parameters, poll_interval=1)
    async with get_client() as client:
        states = await client.read_flow_run_states(run.id)
    if not states[-1].is_completed():
        raise RuntimeError(f"the run ended as {states[-1]}")
    begun = next(state for state in states if state.is_pending())
    return (states[-1].timestamp - begun.timestamp).total_seconds()


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_of(process: Process) -> float:
    """Of a process and of those it started that have ended."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS
