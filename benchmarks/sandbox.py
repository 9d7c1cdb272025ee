"""The sandbox against the usual ways to run model-written Python, in CPU per snippet.

CPU, not wall time, is compared: it holds on a shared machine, and at full load it is what limits
throughput. Every process that works for a contender counts, our supervisor and zygote included.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks import Result, narrate
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.supervisor import LocalSandbox

CLAIM = (
    "A jailed sympy snippet costs a tenth or less of the CPU of a cold `python -c`, "
    "and a jailed trivial one costs less than an unjailed cold one."
)
SYMPY_ADVANTAGE = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")
_CLEAN = {"PATH": "/usr/bin"}
_REPORT = "\nimport sys, time\nprint(time.process_time(), file=sys.stderr)"
_LIMITS = Limits(cpu_seconds=30, wall_seconds=60)

Program = Callable[[int], str]


class Cost(NamedTuple):
    """Of one snippet, on average over a round."""

    cpu_ms: float
    per_second: float


def trivial(_: int) -> str:
    return "print(1 + 1)"


def sympy(number: int) -> str:
    """A new quadratic each time, so that no cache answers."""
    return (
        "from sympy import *\n"
        "x = symbols('x')\n"
        f"print(solve(x**2 - {2 * number + 5}*x + {number}, x))"
    )


PROGRAMS: dict[str, Program] = {"trivial": trivial, "sympy": sympy}


def run(quick: bool) -> Result:
    """Rounds of ours and the peers interleaved; medians over the rounds."""
    rounds, ours_count, peer_count = (1, 20, 3) if quick else (5, 150, 12)
    costs: dict[str, dict[str, list[Cost]]] = {}
    mode = asyncio.run(_measure(costs, rounds, ours_count, peer_count))
    figures = {who: _medians(by_program) for who, by_program in costs.items()}
    ours = figures.pop("ours")
    cold = figures["python -c"]
    gain = {name: cold[f"{name}_cpu_ms"] / ours[f"{name}_cpu_ms"] for name in PROGRAMS}
    return Result(
        ours={**ours, **{f"{name}_times_cheaper": round(by, 1) for name, by in gain.items()}},
        peers=figures,
        reached=gain["sympy"] >= SYMPY_ADVANTAGE and gain["trivial"] >= 1,
        note=f"ours is {mode}, one snippet at a time; only ours and bubblewrap are confined; "
        "'in this process' is the same code in a warm interpreter without any isolation: the floor",
    )


async def _measure(
    costs: dict[str, dict[str, list[Cost]]], rounds: int, ours_count: int, peer_count: int
) -> str:
    async with LocalSandbox() as sandbox:
        for number in range(rounds):
            narrate(f"round {number + 1} of {rounds}")
            for name, program in PROGRAMS.items():
                first = 1 + 1000 * number
                cost = await _ours(sandbox, program, first, ours_count)
                costs.setdefault("ours", {}).setdefault(name, []).append(cost)
                for peer, prefix in _peers().items():
                    cost = _cold(prefix, program, first, peer_count)
                    costs.setdefault(peer, {}).setdefault(name, []).append(cost)
                cost = _warm_floor(program, first, ours_count)
                costs.setdefault("in this process", {}).setdefault(name, []).append(cost)
        return sandbox.mode


def _peers() -> dict[str, list[str]]:
    """Command lines before `-c CODE`; bubblewrap only where it is installed."""
    peers = {"python -c": [sys.executable]}
    if bubblewrap := shutil.which("bwrap"):
        view = ["--ro-bind", "/", "/", "--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev"]
        peers["bubblewrap"] = [
            bubblewrap,
            *view,
            "--unshare-all",
            "--die-with-parent",
            sys.executable,
        ]
    return peers


async def _ours(sandbox: LocalSandbox, program: Program, first: int, count: int) -> Cost:
    before, started = _own_cpu() + _descendants_cpu(), time.perf_counter()
    for number in range(first, first + count):
        execution = await sandbox.run(program(number), _LIMITS)
        if not execution.outcome.passed:
            raise RuntimeError(f"a benchmark snippet ended as {execution}")
    cpu = _own_cpu() + _descendants_cpu() - before
    return Cost(cpu / count * 1e3, count / (time.perf_counter() - started))


def _cold(prefix: list[str], program: Program, first: int, count: int) -> Cost:
    """What it says of itself where that is more: bubblewrap does not wait for what it confines."""
    before, inside, started = _reaped_cpu(), 0.0, time.perf_counter()
    for number in range(first, first + count):
        command = [*prefix, "-c", program(number) + _REPORT]
        ended = subprocess.run(command, check=True, capture_output=True, text=True, env=_CLEAN)
        inside += float(ended.stderr)
    seconds = time.perf_counter() - started
    return Cost(max(inside, _reaped_cpu() - before) / count * 1e3, count / seconds)


def _warm_floor(program: Program, first: int, count: int) -> Cost:
    """The snippets' own work, in one warm interpreter, each in a namespace of its own."""
    code = "\n".join(
        [
            "import time, sympy, io, contextlib",
            "def go(sources):",
            "    with contextlib.redirect_stdout(io.StringIO()):",
            "        for source in sources: exec(source, {})",
            f"go({[program(number) for number in range(first + 500, first + 505)]!r})",
            "cpu, wall = time.process_time(), time.perf_counter()",
            f"go({[program(number) for number in range(first, first + count)]!r})",
            "print(time.process_time() - cpu, time.perf_counter() - wall)",
        ]
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    cpu, wall = map(float, out.stdout.split())
    return Cost(cpu / count * 1e3, count / wall)


def _medians(by_program: dict[str, list[Cost]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, costs in by_program.items():
        figures[f"{name}_cpu_ms"] = round(statistics.median(c.cpu_ms for c in costs), 2)
        figures[f"{name}_per_s"] = round(statistics.median(c.per_second for c in costs), 1)
    return figures


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _reaped_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _descendants_cpu() -> float:
    """Of every living descendant and of the children those have reaped: zygote and snippets."""
    return sum(_process_cpu(pid) for pid in _descendants(os.getpid()))


def _process_cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child, *_descendants(child)}
    return found
