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
        cpu = (int(fields[11]) + int(fields[12])) / _TICKS
        threads = os.listdir(f"/proc/{pid}/task")
        waited = max(_run_queue_wait(pid, thread) for thread in threads)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return Usage(cpu, waited)


def _run_queue_wait(pid: int, thread: str) -> float:
    try:
        text = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # ended meanwhile, or a kernel without schedstats: then wall time is all we have
    return int(text.split()[1]) / 1e9
