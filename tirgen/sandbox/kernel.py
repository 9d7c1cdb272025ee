"""What the kernel tells about a running process: CPU used, and time kept waiting for a core."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """Seconds so far."""

    cpu: float
    waited: float
    """Runnable, but without a core: the longest such time among the threads."""


def pid_of(pidfd: int) -> int | None:
    """The process's pid in our namespace, None once it is gone."""
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            pid = int(line.split()[1])
            return pid if pid > 0 else None
    return None


def usage(pidfd: int) -> Usage | None:
    """None once the process is gone."""
    try:
        pid = pid_of(pidfd)
        if pid is None:
            return None
        # the name in parentheses is the snippet's to choose; the numbers follow the last one
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        ticks = (int(fields[11]) + int(fields[12])) / _TICKS
        times = [_schedule(pid, thread) for thread in os.listdir(f"/proc/{pid}/task")]
        cpu = max(ticks, sum(ran for ran, _ in times))  # ticks are coarse, threads may have ended
        waited = max(wait for _, wait in times)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return Usage(cpu, waited)


def peak_resident_kb(pid: int) -> int:
    """The most memory the process ever held, 0 once it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def _schedule(pid: int, thread: str) -> tuple[float, float]:
    """Seconds a thread ran and seconds it waited for a core."""
    try:
        text = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0  # ended, or a kernel without schedstats: wall time is all we have then
    ran, waited, _ = text.split()
    return int(ran) / 1e9, int(waited) / 1e9
