"""Decides how a snippet ended, from the kernel's facts and from what we did to it.

Nothing the snippet wrote is believed: of its output only the presence counts. A snippet can turn
one failure of its own into another (exit with the status of a MemoryError), never into a success
it was not, and never into an infrastructure fault.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from enum import Enum

from storage.records import Outcome
from tirgen.sandbox.contract import Limits
from tirgen.sandbox.jail.wire import MEMORY_ERROR_STATUS, PERHAPS_MEMORY_STATUS


class Stop(Enum):
    """Why we killed a snippet."""

    TIMEOUT = "over its time"
    OUTPUT = "printed without end"
    THREADS = "started threads without end"
    PAGE_TABLES = "scattered its memory over all addresses"
    SCRATCH = "wrote more than its scratch may hold"
    CROWDED = "its session held the most when all of them held too much"
    STARVED = "never got a core"
    CANCELLED = "nobody waits for it any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one child once it is reaped."""

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
    """The outcome (method A16). A stop of ours counts only if it is what ended the process."""
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
    """In a jail a SIGKILL is ours, the CPU limit's or the OOM killer's, never the snippet's."""
    match facts.stopped:
        case Stop.TIMEOUT:
            return Outcome.TIMEOUT
        case Stop.OUTPUT | Stop.THREADS | Stop.SCRATCH:
            return Outcome.ERROR
        case Stop.PAGE_TABLES | Stop.CROWDED:
            return Outcome.OOM
        case Stop.STARVED | Stop.CANCELLED:
            return Outcome.INFRA_ERROR
    if facts.cpu_seconds >= limits.cpu_seconds:
        return Outcome.TIMEOUT
    if _used_much(facts, limits):
        return Outcome.OOM
    return Outcome.INFRA_ERROR if facts.jailed else Outcome.ERROR


def _used_much(facts: Facts, limits: Limits) -> bool:
    """Half its memory or more: running out of it was the snippet's own doing."""
    return facts.peak_memory_bytes >= limits.memory_mb << 19
