"""What /proc says about a running snippet: CPU, time spent waiting for a core, memory, files.

Read directly, not through psutil: it has no run-queue waits and no page tables, and these reads
are on the path of every snippet that takes longer than 10 ms.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """Seconds so far."""

    cpu: float
    waited: float
    """Runnable, but without a core: the longest such time among the threads.

    The kernel adds a wait only after its end; a thread may be waiting now.
    """
    runnable: bool
    """Some thread runs or waits for a core at this moment. If not, no wait is left to be added."""


def pid_of(pidfd: int) -> int | None:
    """The pid in our namespace, None once the process is gone."""
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
        fields = _stat(f"/proc/{pid}")
        ticks = (int(fields[11]) + int(fields[12])) / _TICKS
        threads = os.listdir(f"/proc/{pid}/task")
        times = [_schedule(pid, thread) for thread in threads]
        runnable = any(_is_runnable(pid, thread) for thread in threads)
        cpu = max(ticks, sum(ran for ran, _ in times))  # ticks are coarse, threads may have ended
        waited = max(wait for _, wait in times)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return Usage(cpu, waited, runnable)


def has_ended(pidfd: int) -> bool:
    """Whether the process has ended, reaped or not."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def only_child(pid: int) -> int:
    """Raises OSError where it has none, or /proc does not say."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if not children:
        raise ProcessLookupError(f"process {pid} has no child")
    return int(children[0])


def resident_bytes(pid: int) -> int:
    """Raises OSError once the process is gone."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def held_bytes(pid: int) -> int:
    """Memory and page tables of a process as of now, 0 once it is gone."""
    resident, tables = _status(pid, "VmRSS", "VmPTE")
    return (resident + tables) << 10


def peak_resident_kb(pid: int) -> int:
    """The most memory the process ever held, 0 once it is gone."""
    (kilobytes,) = _status(pid, "VmHWM")
    return kilobytes


def written_bytes(pid: int) -> int:
    """All that a process has written, by calls or through mapped files; to pipes too.

    Raises OSError where /proc does not say.
    """
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    counts = {name: int(value) for name, _, value in (line.partition(":") for line in lines)}
    return max(counts["wchar"], counts["write_bytes"])


def deleted_file_bytes(pid: int) -> int:
    """What a process holds in files that were deleted. Raises OSError once it is gone."""
    (shared_kb,) = _status(pid, "RssShmem")
    total = shared_kb << 10
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            known = os.stat(f"/proc/{pid}/fd/{descriptor}")
            total += known.st_blocks * 512 if known.st_nlink == 0 else 0
    return total


class Uncounted(NamedTuple):
    """What a process costs the kernel and no limit of the process counts."""

    threads: int
    page_table_bytes: int


def uncounted(pidfd: int) -> Uncounted:
    """As of now; zeros once the process is gone."""
    threads, table_kb = _status(pid_of(pidfd), "Threads", "VmPTE")
    return Uncounted(threads, table_kb << 10)


def _status(pid: int | None, *fields: str) -> list[int]:
    """Numbers of /proc/PID/status, 0 where the process or the field is gone.

    A main thread that has exited shows no memory; then another thread is read, which shows the
    same memory.
    """
    found: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        found = _numbers(Path(f"/proc/{pid}/status"), fields)
        threads = iter(os.listdir(f"/proc/{pid}/task")) if len(found) < len(fields) else iter("")
        while len(found) < len(fields) and (thread := next(threads, None)):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found |= _numbers(Path(f"/proc/{pid}/task/{thread}/status"), fields)
    return [found.get(field, 0) for field in fields]


def _numbers(status: Path, fields: tuple[str, ...]) -> dict[str, int]:
    lines = (line.partition(":") for line in status.read_text(errors="replace").splitlines())
    return {name: int(value.split()[0]) for name, _, value in lines if name in fields}


def _stat(process: str) -> list[str]:
    """The fields from the state on: the snippet chooses the name before it."""
    return Path(f"{process}/stat").read_text(errors="replace").rpartition(")")[2].split()


def _is_runnable(pid: int, thread: str) -> bool:
    try:
        return _stat(f"/proc/{pid}/task/{thread}")[0] == "R"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _schedule(pid: int, thread: str) -> tuple[float, float]:
    """Seconds a thread ran and seconds it waited for a core."""
    try:
        text = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0  # ended, or a kernel without schedstats: then only wall time is known
    ran, waited, _ = text.split()
    return int(ran) / 1e9, int(waited) / 1e9
