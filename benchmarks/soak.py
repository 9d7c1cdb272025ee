"""Twenty thousand snippets through one sandbox: one in ten is hostile, eight run at a time."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks import Result, narrate
from storage.records import Outcome
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.local import LocalSandbox

CLAIM = (
    "In 20,000 snippets, one in ten hostile, eight at a time, no innocent one gets a wrong "
    "outcome, no process, descriptor or mount is left, and memory stays flat."
)
AT_ONCE = 8
GROWTH_MB = 20.0
"""The most that a process of tirgen may grow."""
_INNOCENT = Limits(cpu_seconds=4, wall_seconds=8, memory_mb=256)
_HOSTILE = Limits(cpu_seconds=0.3, wall_seconds=0.5, memory_mb=128)

HOSTILE = (
    "while True: pass",
    "import os\nwhile True: os.fork()",
    "bytearray(8 << 30)",
    "while True: print('x' * 1000)",
    "import ctypes; ctypes.string_at(0)",
    "import os; os.kill(os.getpid(), 9)",
    "import os\nfor fd in range(3): os.close(fd)",
    "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()",
    "import signal, time\nfor s in range(1, 32):\n"
    "    if s not in (9, 19): signal.signal(s, lambda *a: None)\ntime.sleep(99)",
    "n = 0\nwhile True:\n    n += 1\n    open(f'{n}', 'wb').write(b'x' * 100_000)",
    "def f(): f()\nimport sys; sys.setrecursionlimit(1 << 30); f()",
    "import os; os._exit(0)",
)
_STOPPED = (Outcome.ERROR, Outcome.TIMEOUT, Outcome.OOM, Outcome.NO_OUTPUT)
"""The outcomes that a hostile snippet may have: it failed, or it did nothing harmful."""


def innocent(number: int) -> tuple[str, str]:
    """A program and the only right output."""
    a = number % 97 + 1
    match number % 4:
        case 0:
            return f"print({number} ** 2)", f"{number**2}\n"
        case 1:
            code = f"from sympy import *\nx = symbols('x')\nprint(expand((x + {a})**2))"
            return code, f"x**2 + {2 * a}*x + {a * a}\n"
        case 2:
            return f"import numpy as np\nprint(int(np.arange({a}).sum()))", f"{a * (a - 1) // 2}\n"
        case _:
            code = f"total = 0\nfor i in range({number % 1000}): total += i\nprint(total)"
            return code, f"{sum(range(number % 1000))}\n"


@dataclass(slots=True)
class Tally:
    """Outcomes of the snippets so far."""

    done: int = 0
    wrong: list[str] = field(default_factory=list)
    """Harmless snippets with another outcome or output than the right one."""
    unstopped: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)


async def soak(sandbox: LocalSandbox, count: int, tally: Tally) -> None:
    """Run `count` snippets, `AT_ONCE` at a time."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await one(number)

    async def one(number: int) -> None:
        if number % 10 == 0:
            execution = await sandbox.run(HOSTILE[number // 10 % len(HOSTILE)], _HOSTILE)
            if execution.outcome not in _STOPPED:
                tally.unstopped.append(f"{number}: {execution}")
        else:
            code, right = innocent(number)
            execution = await sandbox.run(code, _INNOCENT)
            if (execution.outcome, execution.stdout) != (Outcome.OK, right):
                tally.wrong.append(f"{number}: {execution}")
        tally.outcomes[execution.outcome] += 1
        tally.done += 1
        if tally.done % 1000 == 0:
            narrate(f"{tally.done} of {count}, {len(tally.wrong)} wrong")

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


class Footprint(NamedTuple):
    """Everything that could leak, at one moment."""

    descriptors: int
    processes: frozenset[int]
    mounts: str
    megabytes: dict[int, float]

    @classmethod
    def take(cls) -> Footprint:
        family = frozenset(descendants(os.getpid()))
        return cls(
            len(os.listdir("/proc/self/fd")),
            family,
            Path("/proc/self/mounts").read_text(),
            {pid: _resident_mb(pid) for pid in family | {os.getpid()}},
        )

    def growth_mb(self, later: Footprint) -> dict[int, float]:
        """By process, of those that are still there."""
        both = self.megabytes.keys() & later.megabytes.keys()
        return {pid: later.megabytes[pid] - self.megabytes[pid] for pid in both}


async def settled(expected: frozenset[int]) -> Footprint:
    """The footprint once ended processes have left the process table; waits up to ten seconds."""
    for _ in range(200):
        if (now := Footprint.take()).processes == expected:
            return now
        await asyncio.sleep(0.05)
    return Footprint.take()


def descendants(pid: int) -> set[int]:
    """Every living process below this one."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child, *descendants(child)}
    return found


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def run(quick: bool) -> Result:
    return asyncio.run(_run(300 if quick else 20_000))


async def _run(count: int) -> Result:
    async with LocalSandbox(slots=AT_ONCE) as sandbox:
        await soak(sandbox, 50, Tally())
        before, tally, started = Footprint.take(), Tally(), time.monotonic()
        await soak(sandbox, count, tally)
        seconds = time.monotonic() - started
        after = await settled(before.processes)
        growth = before.growth_mb(after)
        for complaint in (*tally.wrong, *tally.unstopped):
            narrate(complaint[:400])
        figures = {
            "snippets": count,
            "hostile": -(-count // 10),
            "wrong_innocent": len(tally.wrong),
            "unstopped_hostile": len(tally.unstopped),
            "left_processes": len(after.processes) - len(before.processes),
            "left_descriptors": after.descriptors - before.descriptors,
            "left_mounts": len(after.mounts.splitlines()) - len(before.mounts.splitlines()),
            "supervisor_growth_mb": round(growth.pop(os.getpid()), 1),
            "zygote_growth_mb": round(max(growth.values()), 1),
            "zygote_restarts": sandbox.zygote_restarts,
            "zygote_retirements": sandbox.zygote_retirements,
            "per_s": round(count / seconds, 1),
        }
        clean = not any(
            figures[name] for name in ("wrong_innocent", "unstopped_hostile", "zygote_restarts")
        )
        flat = max(figures["supervisor_growth_mb"], figures["zygote_growth_mb"]) <= GROWTH_MB
        left = any(figures[f"left_{what}"] for what in ("processes", "descriptors", "mounts"))
        return Result(
            ours={**figures, **{f"outcome_{k}": v for k, v in sorted(tally.outcomes.items())}},
            peers={},
            reached=clean and not left and flat,
            note=f"{sandbox.mode}; load average {os.getloadavg()[1]:.0f} on {os.cpu_count()} "
            "cores at the end, of other work too",
        )
