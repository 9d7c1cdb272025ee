"""Decides how a snippet ended, from the kernel's facts and from why the sandbox killed it.

Nothing the snippet wrote is believed; of its output only the presence counts. A snippet can turn
one failure of its own into another (exit with the status of a MemoryError), but never into a
success, and never into an infrastructure fault.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from enum import Enum

from storage.records import Outcome
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.jail.limits import SCRATCH_BYTES
from tirgen.sandbox.jail.wire import MEMORY_ERROR_STATUS, PERHAPS_MEMORY_STATUS

MOST_OUTPUT = 8 << 20
"""Bytes in one stream; a snippet that prints more prints without end."""
MOST_THREADS = 256
"""Each costs kernel memory that no limit of the process counts."""
MOST_PAGE_TABLES = 64 << 20
"""Bytes of kernel memory that no limit counts: one used page in each gigabyte of addresses costs
two pages of tables."""


class Stop(Enum):
    """Why the sandbox killed a snippet."""

    TIMEOUT = "timeout"
    OUTPUT = "output"
    THREADS = "threads"
    PAGE_TABLES = "page tables"
    SCRATCH = "scratch"
    SESSION_MEMORY = "session memory"
    STARVED = "starved"
    """It never got a core."""
    CANCELLED = "cancelled"
    """The caller no longer waits for it."""


STOP_MESSAGES = {
    Stop.OUTPUT: f"Killed: it printed more than {MOST_OUTPUT >> 20} MB.",
    Stop.THREADS: f"Killed: it had more than {MOST_THREADS} threads at once.",
    Stop.PAGE_TABLES: f"Killed: its page tables took more than {MOST_PAGE_TABLES >> 20} MB.",
    Stop.SCRATCH: f"Killed: it put more than {SCRATCH_BYTES >> 20} MB into files.",
    Stop.SESSION_MEMORY: "Undone: all sessions together held more memory than they may, and this "
    "one the most.",
}
"""Added to the stderr of the snippet, where the outcome alone does not say why it was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one child after it ended."""

    wait_status: int
    jailed: bool
    """seccomp was on: the snippet could not send SIGKILL, not even to itself."""
    ready: bool
    """The jail was complete and the snippet's first line was reached."""
    stopped: Stop | None
    printed: bool
    """Something visible went to stdout."""
    cpu_seconds: float
    peak_memory_bytes: int
    """Above the zygote's own."""

    @property
    def raw_exit_code(self) -> int:
        """Negative for a signal."""
        return os.waitstatus_to_exitcode(self.wait_status)

    @property
    def exit_code(self) -> int | None:
        """As plain Python would have ended; None when the snippet never ran."""
        if not self.ready:
            return None
        code = self.raw_exit_code
        return 1 if code in (MEMORY_ERROR_STATUS, PERHAPS_MEMORY_STATUS) else code


def judge(facts: Facts, limits: Limits) -> Outcome:
    """The outcome (method A16). A stop by the sandbox counts only if it ended the process."""
    if not facts.ready:
        return Outcome.INFRA_ERROR
    code = facts.raw_exit_code
    if code == -signal.SIGKILL:
        return _judge_killed(facts, limits)
    if code == -signal.SIGXCPU:
        return Outcome.TIMEOUT
    if code == MEMORY_ERROR_STATUS:
        return Outcome.OOM
    if code == PERHAPS_MEMORY_STATUS:
        return Outcome.OOM if _used_much(facts, limits) else Outcome.ERROR
    if code != 0:
        return Outcome.ERROR
    return Outcome.OK if facts.printed else Outcome.NO_OUTPUT


def _judge_killed(facts: Facts, limits: Limits) -> Outcome:
    """In a jail, SIGKILL comes from the sandbox, the CPU limit or the OOM killer, never from the
    snippet."""
    match facts.stopped:
        case Stop.TIMEOUT:
            return Outcome.TIMEOUT
        case Stop.OUTPUT | Stop.THREADS | Stop.SCRATCH:
            return Outcome.ERROR
        case Stop.PAGE_TABLES | Stop.SESSION_MEMORY:
            return Outcome.OOM
        case Stop.STARVED | Stop.CANCELLED:
            return Outcome.INFRA_ERROR
    if facts.cpu_seconds >= limits.cpu_seconds:
        return Outcome.TIMEOUT
    if _used_much(facts, limits):
        return Outcome.OOM
    return Outcome.INFRA_ERROR if facts.jailed else Outcome.ERROR


def _used_much(facts: Facts, limits: Limits) -> bool:
    """Half its memory or more: then it ran out of memory by its own fault."""
    return facts.peak_memory_bytes >= limits.memory_mb << 19
