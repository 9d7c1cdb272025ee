"""The sandbox and the usual ways to run model-written Python, in CPU per snippet.

CPU is compared, not wall time: it holds on a shared machine, and it limits throughput at full load.
Every process that works for a contender counts, tirgen's supervisor and zygote included.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from benchmarks import Result, narrate
from benchmarks._sandbox_peers import PeerSandbox, SnippetCost, peers
from benchmarks.soak import descendants
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.local import LocalSandbox

CLAIM = (
    "A jailed trivial snippet costs at most 6 CPU-ms, a jailed sympy one at most 18, and a "
    "twentieth of what SandboxFusion's runner takes for it without any isolation."
)
TRIVIAL_MS, SYMPY_MS, TIMES_SANDBOX_FUSION = 6.0, 18.0, 20.0
AT_ONCE = (1, 2, 8)
_WARM = 8
_TICKS = os.sysconf("SC_CLK_TCK")
_LIMITS = Limits(cpu_seconds=60, wall_seconds=120)

Program = Callable[[int], str]
SnippetCosts = dict[str, dict[str, list[SnippetCost]]]
"""By contender, then by program and how many at once."""


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
    """Rounds of tirgen and the peers alternate; medians over the rounds."""
    rounds, warm_count, cold_count = (1, 16, 2) if quick else (2, 32, 4)
    costs: SnippetCosts = defaultdict(lambda: defaultdict(list))
    here = [peer for peer in peers() if not peer.missing]
    mode = asyncio.run(_measure(costs, here, rounds, warm_count, cold_count))
    figures = {who: _medians(by_case) for who, by_case in costs.items()}
    ours = figures.pop("ours")
    rival = figures["SandboxFusion's runner, reproduced"]
    gain = rival["sympy_1_cpu_ms"] / ours["sympy_1_cpu_ms"]
    goals = {
        "trivial_goal_reached": ours["trivial_1_cpu_ms"] <= TRIVIAL_MS,
        "sympy_goal_reached": ours["sympy_1_cpu_ms"] <= SYMPY_MS,
        "times_sandboxfusion_goal_reached": gain >= TIMES_SANDBOX_FUSION,
    }
    missing = {peer.name: {"skipped": peer.missing} for peer in peers() if peer.missing}
    return Result(
        ours={**ours, "sympy_times_sandboxfusion": round(gain, 1), **goals},
        peers={**figures, **missing},
        reached=all(goals.values()),
        note=f"ours is {mode}; PROGRAM_N is with N at once; confined are only ours, bubblewrap "
        "and nsjail; 'unjailed fork' is any fork for each snippet, 'in process' the snippets' own "
        f"work: the floors. Load average {os.getloadavg()[1]:.0f} on {os.cpu_count()} cores",
    )


async def _measure(
    costs: SnippetCosts, here: list[PeerSandbox], rounds: int, warm_count: int, cold_count: int
) -> str:
    async with LocalSandbox(slots=max(AT_ONCE)) as sandbox:
        for number in range(rounds):
            for case, program in PROGRAMS.items():
                for at_once in AT_ONCE:
                    narrate(f"round {number + 1} of {rounds}: {case}, {at_once} at once")
                    name, first = f"{case}_{at_once}", 1 + 1000 * number
                    sources = [program(n) for n in range(first, first + warm_count)]
                    costs["ours"][name].append(await _ours(sandbox, sources, at_once))
                    warm = ["#warm\n" + program(first + 500 + n) for n in range(_WARM)]
                    for peer in here:
                        some = sources[: max(cold_count, at_once)] if peer.is_cold else sources
                        cost = await asyncio.to_thread(peer.measure, warm, some, at_once)
                        costs[peer.name][name].append(cost)
        return sandbox.mode


async def _ours(sandbox: LocalSandbox, sources: list[str], at_once: int) -> SnippetCost:
    todo = iter(sources)

    async def work() -> None:
        for source in todo:
            execution = await sandbox.run(source, _LIMITS)
            if not execution.outcome.passed:
                raise RuntimeError(f"a benchmark snippet ended as {execution}")

    before, started = _family_cpu(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    seconds = time.perf_counter() - started
    cpu = _family_cpu() - before
    return SnippetCost(cpu / len(sources) * 1e3, len(sources) / seconds)


def _medians(by_case: dict[str, list[SnippetCost]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, costs in by_case.items():
        figures[f"{name}_cpu_ms"] = round(statistics.median(c.cpu_ms for c in costs), 2)
        figures[f"{name}_per_s"] = round(statistics.median(c.per_second for c in costs), 1)
    return figures


def _family_cpu() -> float:
    """Of this process and of every living descendant, with the children those have waited for."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime + sum(map(_process_cpu, descendants(os.getpid())))


def _process_cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS
